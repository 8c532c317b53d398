// SPDX-License-Identifier: Apache-2.0
// register_slice: no beat is lost, doubled, changed or overtaken, whatever both sides do, and one
// that is inside is offered.

module slice_proof #(
  parameter int Width = 4
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             mark_i,
  input logic             valid_i,
  input logic [Width-1:0] data_i,
  input logic             ready_i
);
  logic ready, valid;
  logic [Width-1:0] data;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  register_slice #(.Width(Width)) u_dut (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (valid_i),
    .ready_o (ready),
    .data_i  (data_i),
    .valid_o (valid),
    .ready_i (ready_i),
    .data_o  (data)
  );

  stream_order #(.Width(Width), .Most(2), .Latency(0)) u_order (
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
