// SPDX-License-Identifier: Apache-2.0
// npu_tokens: for any pair of units, tokens there are those given less those taken, never fewer
// than none nor more than 255, and `available_o` and `full_o` say so.
//
// Assumes what issue_proof asserts of the units: none takes a token that is not available or gives
// one where `full_o` is high.

module tokens_proof (
  input logic        clk_i,
  input logic        rst_ni,
  input logic [1:0]  from_i,
  input logic [1:0]  to_i,
  input logic [15:0] pop_i,
  input logic [15:0] push_i
);
  logic [15:0] available, full;
  logic [1:0] from_q, to_q;
  logic given, taken, started_q = 1'b0;
  logic [9:0] tokens_q;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  npu_tokens u_dut (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .pop_i       (pop_i),
    .push_i      (push_i),
    .available_o (available),
    .full_o      (full)
  );

  // The pair is chosen once and kept.
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    from_q    <= started_q ? from_q : from_i;
    to_q      <= started_q ? to_q : to_i;
  end

  assign given = push_i[{from_q, to_q}];
  assign taken = pop_i[{to_q, from_q}];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) tokens_q <= '0;
    else tokens_q <= tokens_q + 10'(given) - 10'(taken);
  end

  always_comb begin
    assume ((pop_i & ~available) == '0 && (push_i & full) == '0);
    if (rst_ni && started_q && from_q != to_q) begin
      bounded: assert (tokens_q <= 10'd255);
      available_when_there: assert (available[{to_q, from_q}] == (tokens_q != '0));
      full_at_255: assert (full[{from_q, to_q}] == (tokens_q == 10'd255));
    end
  end
endmodule
