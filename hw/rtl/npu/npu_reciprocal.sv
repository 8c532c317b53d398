// SPDX-License-Identifier: Apache-2.0
// Reciprocal of a softmax's sum, one at a time.
//
//   S = max(sum, 2^30),  n = bits of S,  u = S >> (n - 31),  M = (L * 2^39 + u) / (2 * u)
//
// Contract: `start_i` takes `sum_i` (below 2^47) and `largest_i` (L) when nothing is under way;
// `done_o` is high in the 23rd cycle after, when `reciprocal_o` (M) and `shift_o` (n - 31) are
// valid; they hold until the next start.

module npu_reciprocal (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        start_i,
  input  logic [46:0] sum_i,
  input  logic [7:0]  largest_i,
  output logic        done_o,
  output logic [15:0] reciprocal_o,
  output logic [4:0]  shift_o
);

  localparam int Halvings = 5;
  localparam int Digits = 16;
  localparam int Last = Halvings + Digits;

  logic [4:0]  cycle_q;
  logic        busy_q;
  logic        halving;
  logic        is_first_digit;

  assign halving = cycle_q < 5'(Halvings);
  assign is_first_digit = cycle_q == 5'(Halvings);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      done_o <= 1'b0;
    end else begin
      if (start_i) busy_q <= 1'b1;
      else if (cycle_q == 5'(Last)) busy_q <= 1'b0;
      done_o <= busy_q && cycle_q == 5'(Last);
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) cycle_q <= '0;
    else cycle_q <= cycle_q + 5'd1;
  end

  // The sum goes down by 16, 8, 4, 2, 1 places as long as it has more than 31 bits.
  logic [46:0] sum_q;
  logic [4:0]  places;
  logic        is_long;

  assign places = 5'd16 >> cycle_q[2:0];

  assign is_long = (sum_q[46:31] >> (places - 5'd1)) != '0;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      sum_q <= sum_i[46:30] == '0 ? 47'd1 << 30 : sum_i;
      shift_o <= '0;
    end else if (busy_q && halving && is_long) begin
      sum_q <= sum_q >> places;
      shift_o <= shift_o | places;
    end
  end

  // A restoring division, one digit a cycle.  All but its last 16 bits are less than 2 * u.
  logic [31:0] rest_q;
  logic [15:0] digits_q;
  logic [32:0] longer;
  logic [32:0] divisor;
  logic        fits;
  logic [47:0] numerator;

  assign numerator = {1'b0, rest_q[7:0], 39'b0} + 48'(sum_q[30:0]);
  assign divisor = {1'b0, sum_q[30:0], 1'b0};
  assign longer = {rest_q, digits_q[15]};
  assign fits = longer >= divisor;

  always_ff @(posedge clk_i) begin
    if (start_i) rest_q <= {24'b0, largest_i};
    else if (busy_q && is_first_digit) {rest_q, digits_q} <= numerator;
    else if (busy_q && !halving) begin
      rest_q <= 32'(fits ? longer - divisor : longer);
      digits_q <= {digits_q[14:0], fits};
    end
  end

  assign reciprocal_o = digits_q;

endmodule
