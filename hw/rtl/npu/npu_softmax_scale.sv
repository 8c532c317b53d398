// SPDX-License-Identifier: Apache-2.0
// Results of a softmax: powers times the reciprocal of their row's sum.
//
//   y = (e*M + 2^(n+6)) >> (n + 7), with M and n of the sum (npu_reciprocal)
//
// Contract
// - `clear_i` comes before the first sum of an instruction, when nothing is under way.  `start_i`
//   takes `sum_i` and `largest_i` as npu_reciprocal does; `done_o` is high in the 23rd cycle after.
//   The reciprocals of rows 0, 1, 2, ... come in that order, and each holds until the done of the
//   next but one.
// - `results_o` belongs to `powers_i` of 5 cycles before, and to the row whose number's lowest bit
//   `odd_i` was a cycle before these.

module npu_softmax_scale #(
  parameter int Pipes = 4
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                clear_i,
  input  logic                start_i,
  input  logic [46:0]         sum_i,
  input  logic [7:0]          largest_i,
  output logic                done_o,
  input  logic                odd_i,
  input  logic [31*Pipes-1:0] powers_i,
  output logic [8*Pipes-1:0]  results_o
);

  // Rows take turns, as do the two places for what is known of them.
  logic [15:0]     reciprocal;
  logic [4:0]      places;
  logic            odd_sum_q;
  logic [21*2-1:0] known_q;
  logic [15:0]     reciprocal_q;
  logic [5*4-1:0]  places_q;

  npu_reciprocal u_reciprocal (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .start_i     (start_i),
    .sum_i       (sum_i),
    .largest_i   (largest_i),
    .done_o      (done_o),
    .reciprocal_o(reciprocal),
    .shift_o     (places)
  );

  always_ff @(posedge clk_i) begin
    if (clear_i) odd_sum_q <= 1'b0;
    else if (done_o) odd_sum_q <= !odd_sum_q;
    if (done_o) known_q[21*odd_sum_q +: 21] <= {places, reciprocal};
    {places_q[4:0], reciprocal_q} <= known_q[21*odd_i +: 21];
    places_q[19:5] <= places_q[14:0];
  end

  // Partial products, their sum, the rounding, a shift by eights, and one by units.  Of `places_q`
  // each takes those that came with its powers.
  logic [53:0] half_q;
  logic [2:0]  units_q;

  always_ff @(posedge clk_i) begin
    half_q <= (54'd1 << 37) << places_q[9:5];
    units_q <= places_q[17:15];
  end

  for (genvar p = 0; p < Pipes; p++) begin : gen_pipe
    logic [30:0] power;
    logic [30:0] high_q;
    logic [31:0] low_q;
    logic [53:0] product_q;
    logic [15:0] rounded_q;
    logic [15:0] coarse_q;
    logic [7:0]  fine_q;

    assign power = powers_i[31*p +: 31];
    assign results_o[8*p +: 8] = fine_q;

    always_ff @(posedge clk_i) begin
      high_q <= power[30:16] * reciprocal_q;
      low_q <= power[15:0] * reciprocal_q;
      product_q <= {7'b0, high_q, 16'b0} + 54'(low_q);
      rounded_q <= 16'((product_q + half_q) >> 38);
      coarse_q <= rounded_q >> {places_q[19:18], 3'b000};
      fine_q <= 8'(coarse_q >> units_q);
    end
  end

endmodule
