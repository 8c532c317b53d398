// SPDX-License-Identifier: Apache-2.0
// Cuts runs of consecutive beats into AXI4 INCR bursts.
//
// A run starts at byte address `run_addr_i` (a multiple of `BeatBytes`) and has `run_beats_i`
// beats, at least one.  Its bursts have at most 256 beats and never cross a 4 KiB boundary.  The
// first one is valid one cycle after the run was taken; bursts of one run, and the next run's,
// follow without a gap. `burst_last_o` marks the last burst of a run that was taken with
// `run_last_i`.

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

  logic [AddrBits-1:0] addr_q;
  logic [RunBits-1:0] left_q;
  logic last_q;
  logic [PageBits:0] page_left;
  logic [8:0] limit;
  logic final_burst;

  assign page_left = {1'b1, {PageBits{1'b0}}} - {1'b0, addr_q[11:Shift]};
  assign limit     = (32'(page_left) > 32'd256) ? 9'd256 : 9'(page_left);

  assign final_burst   = left_q <= RunBits'(limit);
  assign burst_valid_o = left_q != '0;
  assign burst_addr_o  = addr_q;
  assign burst_beats_o = final_burst ? 9'(left_q) : limit;
  assign burst_last_o  = final_burst && last_q;
  assign run_ready_o   = !burst_valid_o || (final_burst && burst_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
    end else if (run_valid_i && run_ready_o) begin
      left_q <= run_beats_i;
    end else if (burst_valid_o && burst_ready_i) begin
      left_q <= left_q - RunBits'(burst_beats_o);
    end
  end

  always_ff @(posedge clk_i) begin
    if (run_valid_i && run_ready_o) begin
      addr_q <= run_addr_i;
      last_q <= run_last_i;
    end else if (burst_valid_o && burst_ready_i) begin
      addr_q <= addr_q + (AddrBits'(burst_beats_o) << Shift);
    end
  end
endmodule
