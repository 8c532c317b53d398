// SPDX-License-Identifier: Apache-2.0
// Cuts runs of consecutive beats into AXI4 INCR bursts.
//
// A run starts at byte address `run_addr_i` (a multiple of `BeatBytes`) and has `run_beats_i`
// beats, at least one.  Its bursts have at most 256 beats and never cross a 4 KiB boundary.  The
// first one is valid one cycle after the run was taken; bursts of one run follow without a gap, and
// the next run is taken in the cycle after the last one left, so that `run_ready_o` is a register.
// `burst_last_o` marks the last burst of a run that was taken with `run_last_i`.

module axi_burst_split #(
  parameter int AddrBits  = 40,
  parameter int RunBits   = 28,
  parameter int BeatBytes = 16,
  localparam int Shift    = $clog2(BeatBytes),
  localparam int PageBits = 12 - Shift
) (
  input  logic                clk_i,
  input  logic                rst_ni,

  input  logic                run_valid_i,
  output logic                run_ready_o,
  input  logic [AddrBits-1:0] run_addr_i,
  input  logic [RunBits-1:0]  run_beats_i,
  input  logic                run_last_i,

  output logic                burst_valid_o,
  input  logic                burst_ready_i,
  output logic [AddrBits-1:0] burst_addr_o,
  output logic [8:0]          burst_beats_o,
  output logic                burst_last_o
);
  if (BeatBytes < 4 || BeatBytes > 128 || 2 ** Shift != BeatBytes) begin : gen_check_beat
    initial $fatal(1, "axi_burst_split: BeatBytes must be a power of two from 4 to 128");
  end

  localparam int Most    = PageBits < 8 ? 2 ** PageBits : 256;
  localparam int SumBits = (PageBits > 9 ? PageBits : 9) + 1;

  // The burst at hand, the beats from its first one to the end of the run and of the page.  What it
  // holds is worked out a cycle ahead.
  logic [AddrBits-1:0] addr_q;
  logic [RunBits-1:0] left_q;
  logic [PageBits:0] page_left_q;
  logic [8:0] beats_q;
  logic valid_q, final_q, last_q, take, leave;

  assign burst_valid_o = valid_q;
  assign burst_addr_o  = addr_q;
  assign burst_beats_o = beats_q;
  assign burst_last_o  = final_q && last_q;
  assign run_ready_o   = !valid_q;
  assign take          = run_valid_i && run_ready_o;
  assign leave         = valid_q && burst_ready_i;

  // The first burst of the run that is offered.
  logic [PageBits:0] first_page_left;
  logic [SumBits-1:0] first_end;
  logic [8:0] first_beats;
  logic first_final;

  assign first_page_left = {1'b1, {PageBits{1'b0}}} - {1'b0, run_addr_i[11:Shift]};
  assign first_end   = SumBits'(run_addr_i[11:Shift]) + SumBits'(run_beats_i[8:0]);
  assign first_final = run_beats_i <= RunBits'(256) && first_end <= SumBits'(2 ** PageBits);
  assign first_beats = first_final ? run_beats_i[8:0]
                     : first_page_left > (PageBits + 1)'(Most) ? 9'(Most) : 9'(first_page_left);

  // The burst after the one at hand: what follows one that is not the run's last begins a page, or
  // follows 256 beats in the same page.
  logic [PageBits:0] next_page_left;
  logic [8:0] next_beats;
  logic page_end, next_near, next_final;

  assign page_end       = page_left_q == (PageBits + 1)'(beats_q);
  assign next_page_left = page_end ? (PageBits + 1)'(2 ** PageBits)
                                   : page_left_q - (PageBits + 1)'(beats_q);
  assign next_near      = left_q <= RunBits'(beats_q) + RunBits'(Most);
  assign next_final     = next_near && (page_end || left_q <= RunBits'(page_left_q));
  assign next_beats     = next_final ? 9'(left_q - RunBits'(beats_q))
                        : next_page_left > (PageBits + 1)'(Most) ? 9'(Most) : 9'(next_page_left);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      left_q  <= '0;
    end else begin
      valid_q <= take || (valid_q && !(leave && final_q));
      if (take) left_q <= run_beats_i;
      else if (leave) left_q <= left_q - RunBits'(beats_q);
    end
  end

  always_ff @(posedge clk_i) begin
    if (run_ready_o) begin
      addr_q      <= run_addr_i;
      last_q      <= run_last_i;
      page_left_q <= first_page_left;
      beats_q     <= first_beats;
      final_q     <= first_final;
    end else if (leave) begin
      addr_q      <= addr_q + (AddrBits'(beats_q) << Shift);
      page_left_q <= next_page_left;
      beats_q     <= next_beats;
      final_q     <= next_final;
    end
  end
endmodule
