// SPDX-License-Identifier: Apache-2.0
// One pipe of the norm: centres an element, divides it by the deviation, and requantises it.
//
//   z = ((N*x - s) * r + 2^(k-1)) >> k,  y = clamp((z*m + b) >> shift, lo, hi)
//
// Contract: `result_o` belongs to the element and the row's constants of 13 cycles before, and to
// the record that `record_i` held 7 cycles after them: b in bytes 0-5, m signed in 6-8, the shift
// in 11.  The other inputs hold.

module npu_standard (
  input  logic               clk_i,
  input  logic [20:0]        count_i,
  input  logic [15:0]        lo_i,
  input  logic [15:0]        hi_i,
  input  logic signed [16:0] element_i,
  input  logic signed [32:0] sum_i,
  input  logic [25:0]        root_i,
  input  logic [5:0]         shift_i,
  input  logic [95:0]        record_i,
  output logic [15:0]        result_o
);

  // Centred, cycles 1 and 2; times the root, cycles 3 and 4.
  logic signed [38:0] scaled_q;
  logic signed [33:0] centred_q;
  logic signed [47:0] high_q;
  logic signed [47:0] low_q;
  logic signed [59:0] product_q;
  logic signed [32:0] sum_q;
  logic [25:0]        root;
  logic [5:0]         shift;

  delay_line #(
    .Width (26),
    .Cycles(2)
  ) u_root (
    .clk_i (clk_i),
    .data_i(root_i),
    .data_o(root)
  );

  delay_line #(
    .Width (6),
    .Cycles(4)
  ) u_shift (
    .clk_i (clk_i),
    .data_i(shift_i),
    .data_o(shift)
  );

  always_ff @(posedge clk_i) begin
    scaled_q <= element_i * $signed({1'b0, count_i});
    sum_q <= sum_i;
    centred_q <= 34'(scaled_q - 39'(sum_q));
    high_q <= centred_q * $signed({1'b0, root[25:13]});
    low_q <= centred_q * $signed({1'b0, root[12:0]});
    product_q <= (60'(high_q) <<< 13) + 60'(low_q);
  end

  // Rounded and shifted down, cycles 5 to 7.
  logic signed [59:0] rounded_q;
  logic signed [59:0] coarse_q;
  logic signed [31:0] standard_q;
  logic [5:0]         shift_rounded_q;
  logic [2:0]         shift_coarse_q;

  always_ff @(posedge clk_i) begin
    rounded_q <= product_q + 60'((61'd1 << shift) >> 1);
    shift_rounded_q <= shift;
    coarse_q <= rounded_q >>> {shift_rounded_q[5:3], 3'b000};
    shift_coarse_q <= shift_rounded_q[2:0];
    standard_q <= 32'(coarse_q >>> shift_coarse_q);
  end

  // Requantised, cycles 8 to 13.
  logic signed [17:0] multiplier;
  logic signed [33:0] main_high_q;
  logic signed [33:0] main_low_q;
  logic signed [47:0] main_q;
  logic signed [47:0] total_q;
  logic signed [47:0] down_q;
  logic signed [47:0] fine_q;
  logic [53:0]        late;
  logic [5:0]         places_q;
  logic [2:0]         places_down_q;
  logic               too_low;
  logic               too_high;

  delay_line #(
    .Width (54),
    .Cycles(2)
  ) u_record (
    .clk_i (clk_i),
    .data_i({record_i[93:88], record_i[47:0]}),
    .data_o(late)
  );

  assign multiplier = $signed(record_i[65:48]);
  assign too_low = fine_q < 48'($signed(lo_i));
  assign too_high = fine_q > 48'($signed(hi_i));

  always_ff @(posedge clk_i) begin
    main_high_q <= $signed(standard_q[31:16]) * multiplier;
    main_low_q <= $signed({1'b0, standard_q[15:0]}) * multiplier;
    main_q <= (48'(main_high_q) <<< 16) + 48'(main_low_q);
    total_q <= main_q + $signed(late[47:0]);
    places_q <= late[53:48];
    down_q <= total_q >>> {places_q[5:3], 3'b000};
    places_down_q <= places_q[2:0];
    fine_q <= down_q >>> places_down_q;
    result_o <= too_low ? lo_i : too_high ? hi_i : fine_q[15:0];
  end

  logic unused_record;
  assign unused_record = ^record_i;

endmodule
