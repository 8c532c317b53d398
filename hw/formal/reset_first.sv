// SPDX-License-Identifier: Apache-2.0
// Assumes that a proof starts in reset; later resets come at any time.

module reset_first (
  input logic clk_i,
  input logic rst_ni
);
  logic started_q = 1'b0;

  always_ff @(posedge clk_i) started_q <= 1'b1;

  always_comb if (!started_q) assume (!rst_ni);
endmodule
