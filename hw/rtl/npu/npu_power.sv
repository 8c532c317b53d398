// SPDX-License-Identifier: Apache-2.0
// One pipe of the softmax: 2^30 times the power of e by which an element stays behind the maximum.
//
//   t = min((distance*m + 2^(s-1)) >> s, 2^22)      exponent of 1/2, 17 bits behind the point
//   v = T[t >> 9 & 255] * 512 - D[t >> 9 & 255] * (t & 511)
//   e = (v + (2^(t >> 17) >> 1)) >> (t >> 17)
//
// T and its steps D are the table of `npu_power_pkg`.
//
// Contract: `power_o` is the result for `distance_i` of 11 cycles before, 0 when that one had no
// `kept_i`; `multiplier_i` (m) and `shift_i` (1 <= s <= 40) hold while a row is inside.

module npu_power (
  input  logic        clk_i,
  input  logic [23:0] multiplier_i,
  input  logic [5:0]  shift_i,
  input  logic        kept_i,
  input  logic [15:0] distance_i,
  output logic [30:0] power_o
);

  localparam logic [22:0] Largest = 23'd1 << 22;

  // Exponent, cycles 1 to 5.
  logic [27:0] product_low_q;
  logic [27:0] product_high_q;
  logic [40:0] product_q;
  logic [40:0] rounded_q;
  logic [40:0] coarse_q;
  logic [40:0] fine;
  logic [22:0] exponent_q;
  logic [40:0] half_q;

  assign fine = coarse_q >> shift_i[2:0];

  always_ff @(posedge clk_i) begin
    half_q <= 41'd1 << (shift_i - 6'd1);
    product_low_q <= distance_i * multiplier_i[11:0];
    product_high_q <= distance_i * multiplier_i[23:12];
    product_q <= 41'(product_low_q) + {1'b0, product_high_q, 12'b0};
    rounded_q <= product_q + half_q;
    coarse_q <= rounded_q >> {shift_i[5:3], 3'b000};
    exponent_q <= fine > 41'(Largest) ? Largest : fine[22:0];
  end

  // Mantissa, cycles 6 to 8.
  logic [21:0] entry_q;
  logic [12:0] step_q;
  logic [8:0]  rest_q;
  logic [5:0]  whole_q;
  logic [21:0] product_step_q;
  logic [30:0] entry_late_q;
  logic [5:0]  whole_late_q;
  logic [30:0] mantissa_q;
  logic [5:0]  whole_last_q;
  logic [7:0]  index;

  assign index = exponent_q[16:9];

  always_ff @(posedge clk_i) begin
    entry_q <= npu_power_pkg::ENTRIES[22*index +: 22];
    step_q <= npu_power_pkg::STEPS[13*index +: 13];
    rest_q <= exponent_q[8:0];
    whole_q <= exponent_q[22:17];
    product_step_q <= step_q * rest_q;
    entry_late_q <= {entry_q, 9'b0};
    whole_late_q <= whole_q;
    mantissa_q <= entry_late_q - 31'(product_step_q);
    whole_last_q <= whole_late_q;
  end

  // The mantissa shifted down and rounded, cycles 9 to 11.
  logic [31:0] half_up_q;
  logic [5:0]  whole_half_q;
  logic [30:0] down_q;
  logic [2:0]  whole_down_q;
  logic        kept_q;

  delay_line #(
    .Width (1),
    .Cycles(10)
  ) u_kept (
    .clk_i (clk_i),
    .data_i(kept_i),
    .data_o(kept_q)
  );

  always_ff @(posedge clk_i) begin
    half_up_q <= 32'(mantissa_q) + (32'((33'd1 << whole_last_q) >> 1));
    whole_half_q <= whole_last_q;
    down_q <= 31'(half_up_q >> {whole_half_q[5:3], 3'b000});
    whole_down_q <= whole_half_q[2:0];
    power_o <= kept_q ? down_q >> whole_down_q : '0;
  end

endmodule
