// SPDX-License-Identifier: Apache-2.0
// A stream's register that holds two beats, so that no handshake passes through it in one cycle.
//
// A beat is offered one cycle after it was taken; both sides move one beat a cycle.  `ready_o` is a
// register: it falls in the cycle after a beat was taken that could not be passed on.

module register_slice #(
  parameter int Width = 8
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,

  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);
  logic valid_q, spare_valid_q;
  logic [Width-1:0] spare_q;

  assign ready_o = !spare_valid_q;
  assign valid_o = valid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q       <= 1'b0;
      spare_valid_q <= 1'b0;
    end else begin
      valid_q       <= valid_i || spare_valid_q || (valid_q && !ready_i);
      spare_valid_q <= valid_q && !ready_i && (valid_i || spare_valid_q);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!spare_valid_q) spare_q <= data_i;
    if (!valid_q || ready_i) data_o <= spare_valid_q ? spare_q : data_i;
  end
endmodule
