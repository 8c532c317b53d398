// SPDX-License-Identifier: Apache-2.0
// axi_burst_split: the bursts of a run are its beats, in order and no others, none of them empty,
// longer than 256 beats or across a 4 KiB boundary; no run is taken before the last one has left.

module burst_proof #(
  parameter int AddrBits  = 40,
  parameter int RunBits   = 28,
  parameter int BeatBytes = 16
) (
  input logic                clk_i,
  input logic                rst_ni,
  input logic                run_valid_i,
  input logic [AddrBits-1:0] run_addr_i,
  input logic [RunBits-1:0]  run_beats_i,
  input logic                run_last_i,
  input logic                burst_ready_i
);
  logic run_ready, burst_valid, burst_last, run, burst;
  logic [AddrBits-1:0] burst_addr;
  logic [8:0] burst_beats;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  axi_burst_split #(.AddrBits(AddrBits), .RunBits(RunBits), .BeatBytes(BeatBytes)) u_dut (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .run_valid_i   (run_valid_i),
    .run_ready_o   (run_ready),
    .run_addr_i    (run_addr_i),
    .run_beats_i   (run_beats_i),
    .run_last_i    (run_last_i),
    .burst_valid_o (burst_valid),
    .burst_ready_i (burst_ready_i),
    .burst_addr_o  (burst_addr),
    .burst_beats_o (burst_beats),
    .burst_last_o  (burst_last)
  );

  // What of the run is still to be sent: its next address, its beats.
  logic [AddrBits-1:0] next_q;
  logic [RunBits-1:0] left_q, after;
  logic last_q;
  logic [12:0] page_end;

  assign run      = run_valid_i && run_ready;
  assign burst    = burst_valid && burst_ready_i;
  assign after    = left_q - (burst ? RunBits'(burst_beats) : '0);
  assign page_end = 13'(burst_addr[11:0]) + 13'(32'(burst_beats) * BeatBytes);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) left_q <= '0;
    else left_q <= run ? run_beats_i : after;
  end

  always_ff @(posedge clk_i) begin
    if (run) next_q <= run_addr_i;
    else if (burst) next_q <= next_q + AddrBits'(32'(burst_beats) * BeatBytes);
    if (run) last_q <= run_last_i;
  end

  always_comb begin
    if (run_valid_i) assume (32'(run_addr_i[11:0]) % BeatBytes == 0 && run_beats_i != '0);
    if (rst_ni) begin
      sent_while_left: assert (burst_valid == (left_q != '0));
      if (run) one_run: assert (after == '0);
      if (burst_valid) begin
        address: assert (burst_addr == next_q);
        length: assert (burst_beats != '0 && burst_beats <= 9'd256);
        no_beat_added: assert (RunBits'(burst_beats) <= left_q);
        page: assert (page_end <= 13'd4096);
        last: assert (burst_last == (last_q && RunBits'(burst_beats) == left_q));
      end
    end
  end
endmodule
