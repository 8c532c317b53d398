// SPDX-License-Identifier: Apache-2.0
// stream_narrow: every wide beat leaves as its narrow ones, lowest first, none lost or doubled.

module narrow_proof #(
  parameter int OutBits = 3,
  parameter int Ratio   = 4,
  localparam int LaneBits = $clog2(Ratio + 1)
) (
  input logic                     clk_i,
  input logic                     rst_ni,
  input logic                     mark_i,
  input logic [LaneBits-1:0]      lane_i,
  input logic                     valid_i,
  input logic [Ratio*OutBits-1:0] data_i,
  input logic                     ready_i
);
  logic ready, valid;
  logic [OutBits-1:0] data;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  stream_narrow #(.InBits(Ratio * OutBits), .OutBits(OutBits)) u_dut (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (valid_i),
    .ready_o (ready),
    .data_i  (data_i),
    .valid_o (valid),
    .ready_i (ready_i),
    .data_o  (data)
  );

  stream_order #(.Width(OutBits), .PushBeats(Ratio), .Most(Ratio), .Latency(0)) u_order (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .mark_i      (mark_i),
    .lane_i      (lane_i),
    .push_i      (valid_i && ready),
    .push_data_i (data_i),
    .valid_i     (valid),
    .pop_i       (valid && ready_i),
    .pop_data_i  (data)
  );
endmodule
