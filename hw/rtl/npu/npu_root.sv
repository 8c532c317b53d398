// SPDX-License-Identifier: Apache-2.0
// Mean and reciprocal deviation of one normalised row, from its two sums.
//
//   s = sum, or 0 unless centred;  V = N * squares - s^2;  W = max((V << F) + E, 2^F)
//   1 / sqrt(W) = r * 2^(h - 55);  k = 35 - F/2 - h
//
// The root is a guess from a table (`npu_root_pkg`) and two steps of Newton's; every product goes
// through one multiplier, two digits of 16 bits one after the other.
//
// Contract: `start_i` takes the sums when nothing is under way, the settings hold; `done_o` is high
// in the 56th cycle after, when `sum_o` (s), `root_o` (r) and `shift_o` (k) are valid; they hold
// until the next start.  N * squares and W are below 2^62, and 5 <= k <= 35 (compiler/numerics).

module npu_root (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               start_i,
  input  logic               centred_i,
  input  logic [20:0]        count_i,
  input  logic [61:0]        epsilon_i,
  input  logic [5:0]         fraction_i,
  input  logic signed [32:0] sum_i,
  input  logic [47:0]        squares_i,
  output logic               busy_o,
  output logic               done_o,
  output logic signed [32:0] sum_o,
  output logic [25:0]        root_o,
  output logic [5:0]         shift_o
);

  localparam logic [3:0] StepScaled = 4'd0;
  localparam logic [3:0] StepMean = 4'd1;
  localparam logic [3:0] StepWiden = 4'd2;
  localparam logic [3:0] StepNormalise = 4'd3;
  localparam logic [3:0] StepGuess = 4'd4;
  localparam logic [3:0] StepSquareGuess = 4'd5;
  localparam logic [3:0] StepFirstError = 4'd6;
  localparam logic [3:0] StepBetter = 4'd7;
  localparam logic [3:0] StepSquareBetter = 4'd8;
  localparam logic [3:0] StepSecondError = 4'd9;
  localparam logic [3:0] StepRoot = 4'd10;
  localparam logic [2:0] LastPhase = 3'd4;

  // Eleven steps of five phases.
  logic [3:0] step_q;
  logic [2:0] phase_q;
  logic       phase_last;

  assign phase_last = phase_q == LastPhase;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_o <= 1'b0;
      done_o <= 1'b0;
    end else begin
      if (start_i) busy_o <= 1'b1;
      else if (phase_last && step_q == StepRoot) busy_o <= 1'b0;
      done_o <= busy_o && phase_last && step_q == StepRoot;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      step_q <= StepScaled;
      phase_q <= '0;
    end else begin
      phase_q <= phase_last ? '0 : phase_q + 3'd1;
      if (phase_last) step_q <= step_q + 4'd1;
    end
  end

  // The widened variance goes up by 32, 16, 8, 4, 2 places as long as it stays below 2^62.
  logic [5:0] places;
  logic       is_short;

  // What the steps leave to each other.
  logic [47:0] squares_q;
  logic [32:0] magnitude_q;
  logic [63:0] wide_q;
  logic [5:0]  halves_q;
  logic [15:0] guess_q;
  logic [32:0] square_q;
  logic [31:0] error_q;
  logic [25:0] better_q;
  logic [31:0] square_low;
  logic [31:0] magnitude_low;
  logic [29:0] top;
  logic [7:0]  entry;

  assign places = 6'd32 >> phase_q;
  assign is_short = wide_q[61:30] >> (6'd32 - places) == '0;
  assign top = wide_q[61:32];
  assign entry = top[29:22] - 8'd64;

  // The multiplier: operands, digit products, and their sum in the last phase.
  logic [47:0] left;
  logic [31:0] right;
  logic [47:0] left_q;
  logic [31:0] right_q;
  logic [15:0] digit;
  logic [63:0] partial_q;
  logic [63:0] product_q;

  assign digit = phase_q == 3'd1 ? right_q[31:16] : right_q[15:0];
  assign square_low = square_q[31:0];
  assign magnitude_low = magnitude_q[31:0];

  always_comb begin
    case (step_q)
      StepScaled: {left, right} = {squares_q, 11'b0, count_i};
      StepMean: {left, right} = {15'b0, magnitude_q, magnitude_low};
      StepSquareGuess: {left, right} = {32'b0, guess_q, 16'b0, guess_q};
      StepFirstError: {left, right} = {18'b0, top, square_low};
      StepBetter: {left, right} = {16'b0, error_q, 16'b0, guess_q};
      StepSquareBetter: {left, right} = {22'b0, better_q, 6'b0, better_q};
      StepSecondError: {left, right} = {15'b0, square_q, 2'b0, top};
      default: {left, right} = {16'b0, error_q, 6'b0, better_q};
    endcase
  end

  always_ff @(posedge clk_i) begin
    left_q <= left;
    right_q <= right;
    partial_q <= 64'(left_q) * 64'(digit);
    product_q <= phase_q == 3'd2 ? partial_q : {product_q[47:0], 16'b0} + partial_q;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      sum_o <= centred_i ? sum_i : '0;
      magnitude_q <= sum_i[32] ? 33'(-sum_i) : sum_i;
      squares_q <= squares_i;
      halves_q <= '0;
    end else if (busy_o) begin
      case (step_q)
        StepScaled: if (phase_last) wide_q <= product_q;
        StepMean: if (phase_last && centred_i) wide_q <= wide_q - product_q;
        StepWiden: begin
          case (phase_q)
            3'd0: wide_q <= wide_q << {fraction_i[5:3], 3'b000};
            3'd1: wide_q <= wide_q << fraction_i[2:0];
            3'd2: wide_q <= wide_q + {2'b0, epsilon_i};
            3'd3: if (wide_q < (64'd1 << fraction_i)) wide_q <= 64'd1 << fraction_i;
            default: ;
          endcase
        end
        StepNormalise: begin
          if (is_short) begin
            wide_q <= wide_q << places;
            halves_q <= halves_q + (places >> 1);
          end
        end
        StepGuess: guess_q <= npu_root_pkg::SEEDS[16*entry +: 16];
        StepSquareGuess: if (phase_last) square_q <= product_q[32:0];
        StepFirstError: if (phase_last) error_q <= 32'hC0000000 - product_q[61:30];
        StepBetter: if (phase_last) better_q <= 26'((product_q + (64'd1 << 21)) >> 22);
        StepSquareBetter: if (phase_last) square_q <= 33'((product_q + (64'd1 << 19)) >> 20);
        StepSecondError: if (phase_last) error_q <= 32'hC0000000 - product_q[59:28];
        default: if (phase_last) root_o <= 26'((product_q + (64'd1 << 30)) >> 31);
      endcase
    end
  end

  assign shift_o = 6'd35 - {1'b0, fraction_i[5:1]} - halves_q;

endmodule
