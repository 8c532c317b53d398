// SPDX-License-Identifier: Apache-2.0
// stream_widen: narrow beats leave joined, the first one lowest, none lost or doubled.

module widen_proof #(
  parameter int InBits = 3,
  parameter int Ratio  = 4
) (
  input logic              clk_i,
  input logic              rst_ni,
  input logic              mark_i,
  input logic              valid_i,
  input logic [InBits-1:0] data_i,
  input logic              ready_i
);
  logic ready, valid;
  logic [Ratio*InBits-1:0] data;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  stream_widen #(.InBits(InBits), .OutBits(Ratio * InBits)) u_dut (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (valid_i),
    .ready_o (ready),
    .data_i  (data_i),
    .valid_o (valid),
    .ready_i (ready_i),
    .data_o  (data)
  );

  stream_order #(.Width(InBits), .PopBeats(Ratio), .Most(Ratio), .Latency(0)) u_order (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .mark_i      (mark_i),
    .lane_i      (1'b0),
    .push_i      (valid_i && ready),
    .push_data_i (data_i),
    .valid_i     (valid),
    .pop_i       (valid && ready_i),
    .pop_data_i  (data)
  );
endmodule
