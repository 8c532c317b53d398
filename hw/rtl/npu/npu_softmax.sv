// SPDX-License-Identifier: Apache-2.0
// Executes SOFTMAX: probabilities of whole rows, one row after the other in three passes.
//
//   the maximum; the sum of the powers e of all elements (npu_power); then for each element
//   y = (e*M + 2^(n+6)) >> (n + 7), with M and n of the sum (npu_reciprocal)
//
// Elements that the mask or the row's length leaves out count nowhere and give 0.
//
// Contract
// - `instr_i` is a SOFTMAX whose counts rows and blocks are at least 1.
// - With R, S and T as in npu_row_words and B blocks, a row takes 3*B*T + 3*(R + S - T) + 2*Pipes
//   + 67 cycles, more by every cycle in which `vr_ready_i` held a read up.  The first row starts in
//   the cycle after the handshake; `retire_valid_o` rises as the last one ends.
// - Data of a read follow exactly 2 cycles after its handshake.  A word is written in the cycle of
//   `vw_valid_o`.

module npu_softmax #(
  parameter int Lanes = 16,
  parameter int Pipes = 4,
  parameter int ActWords = 8192,
  localparam int Width = 8 * Lanes,
  localparam int ActAddr = $clog2(ActWords)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               instr_valid_i,
  input  logic [511:0]       instr_i,
  output logic               instr_ready_o,
  output logic               retire_valid_o,
  input  logic               retire_ready_i,
  output logic               busy_o,
  output logic               stall_o,
  output logic               progress_o,
  output logic               vr_valid_o,
  input  logic               vr_ready_i,
  output logic [ActAddr-1:0] vr_addr_o,
  input  logic [Width-1:0]   vr_data_i,
  input  logic               vr_data_valid_i,
  output logic               vw_valid_o,
  output logic [ActAddr-1:0] vw_addr_o,
  output logic [Width-1:0]   vw_data_o
);

  localparam int PipeBits = Pipes > 1 ? $clog2(Pipes) : 1;
  localparam int PowerCycles = 12;
  localparam int ScaleCycles = 5;
  localparam int Inside = PowerCycles + ScaleCycles;

  localparam logic [2:0] StIdle = 3'd0;
  localparam logic [2:0] StMaximum = 3'd1;
  localparam logic [2:0] StFoldMaximum = 3'd2;
  localparam logic [2:0] StSum = 3'd3;
  localparam logic [2:0] StFoldSum = 3'd4;
  localparam logic [2:0] StDivide = 3'd5;
  localparam logic [2:0] StScale = 3'd6;
  localparam logic [2:0] StRetire = 3'd7;

  logic [2:0] state_q;
  logic [2:0] state_d;
  logic       accept;
  logic       begin_pass;
  logic       pass_over;
  logic       fold_last;
  logic       divided;
  logic       row_over;
  logic       last_row;

  assign accept = instr_valid_i && instr_ready_o;

  always_comb begin
    state_d = state_q;
    case (state_q)
      StIdle: if (accept) state_d = StMaximum;
      StMaximum: if (pass_over) state_d = StFoldMaximum;
      StFoldMaximum: if (fold_last) state_d = StSum;
      StSum: if (pass_over) state_d = StFoldSum;
      StFoldSum: if (fold_last) state_d = StDivide;
      StDivide: if (divided) state_d = StScale;
      StScale: if (row_over) state_d = last_row ? StRetire : StMaximum;
      default: if (retire_ready_i) state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= StIdle;
    else state_q <= state_d;
  end

  logic entered_q;

  always_ff @(posedge clk_i) entered_q <= state_d != state_q;

  assign begin_pass = entered_q &&
                      (state_q == StMaximum || state_q == StSum || state_q == StScale);
  assign instr_ready_o = state_q == StIdle;
  assign retire_valid_o = state_q == StRetire;
  assign busy_o = state_q != StIdle;
  assign stall_o = vr_valid_o && !vr_ready_i;

  // The instruction's settings, and the addresses of the present row.
  logic               signed_q;
  logic               wide_q;
  logic               mask_q;
  logic [15:0]        blocks_q;
  logic [16:0]        entries_q;
  logic [23:0]        multiplier_q;
  logic [5:0]         shift_q;
  logic [7:0]         largest_q;
  logic [ActAddr-1:0] block_stride_q;
  logic [ActAddr-1:0] high_offset_q;
  logic [ActAddr-1:0] row_stride_q;
  logic [ActAddr-1:0] mask_stride_q;
  logic [ActAddr-1:0] mask_row_stride_q;
  logic [ActAddr-1:0] out_stride_q;
  logic [ActAddr-1:0] out_row_stride_q;
  logic [15:0]        rows_left_q;
  logic [ActAddr-1:0] source_q;
  logic [ActAddr-1:0] mask_source_q;
  logic [ActAddr-1:0] output_q;

  assign last_row = rows_left_q == 16'd1;

  always_ff @(posedge clk_i) begin
    if (accept) begin
      signed_q <= instr_i[npu_isa_pkg::ROW_INPUT_SIGNED_LSB];
      wide_q <= instr_i[npu_isa_pkg::ROW_INPUT_WIDE_LSB];
      mask_q <= instr_i[npu_isa_pkg::SOFTMAX_MASK_LSB];
      blocks_q <= instr_i[npu_isa_pkg::ROW_BLOCKS_LSB +: 16];
      entries_q <= instr_i[npu_isa_pkg::SOFTMAX_ENTRIES_LSB +: 17];
      multiplier_q <= instr_i[npu_isa_pkg::SOFTMAX_MULTIPLIER_LSB +: 24];
      shift_q <= instr_i[npu_isa_pkg::SOFTMAX_SHIFT_LSB +: 6];
      largest_q <= instr_i[npu_isa_pkg::SOFTMAX_LARGEST_LSB +: 8];
      block_stride_q <= instr_i[npu_isa_pkg::ROW_SOURCE_BLOCK_STRIDE_LSB +: ActAddr];
      high_offset_q <= instr_i[npu_isa_pkg::ROW_SOURCE_HIGH_OFFSET_LSB +: ActAddr];
      row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::ROW_SOURCE_ROW_STRIDE_LSB +: 16]);
      mask_stride_q <= instr_i[npu_isa_pkg::SOFTMAX_MASK_BLOCK_STRIDE_LSB +: ActAddr];
      mask_row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::SOFTMAX_MASK_ROW_STRIDE_LSB +: 16]);
      out_stride_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_BLOCK_STRIDE_LSB +: ActAddr];
      out_row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::ROW_OUTPUT_ROW_STRIDE_LSB +: 16]);
      rows_left_q <= instr_i[npu_isa_pkg::ROW_ROWS_LSB +: 16];
      source_q <= instr_i[npu_isa_pkg::ROW_SOURCE_ADDRESS_LSB +: ActAddr];
      mask_source_q <= instr_i[npu_isa_pkg::SOFTMAX_MASK_ADDRESS_LSB +: ActAddr];
      output_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_ADDRESS_LSB +: ActAddr];
    end else if (row_over) begin
      rows_left_q <= rows_left_q - 16'd1;
      source_q <= source_q + row_stride_q;
      mask_source_q <= mask_source_q + mask_row_stride_q;
      output_q <= output_q + out_row_stride_q;
    end
  end

  // The row's elements, in every pass anew.
  logic                slice;
  logic [17*Pipes-1:0] elements;
  logic [Pipes-1:0]    kept;
  logic                block_last;
  logic                row_last;

  npu_row_words #(
    .Lanes   (Lanes),
    .Pipes   (Pipes),
    .ActWords(ActWords)
  ) u_words (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .start_i        (begin_pass),
    .signed_i       (signed_q),
    .wide_i         (wide_q),
    .mask_i         (mask_q),
    .blocks_i       (blocks_q),
    .entries_i      (entries_q),
    .source_i       (source_q),
    .block_stride_i (block_stride_q),
    .high_offset_i  (high_offset_q),
    .mask_source_i  (mask_source_q),
    .mask_stride_i  (mask_stride_q),
    .vr_valid_o     (vr_valid_o),
    .vr_ready_i     (vr_ready_i),
    .vr_addr_o      (vr_addr_o),
    .vr_data_i      (vr_data_i),
    .vr_data_valid_i(vr_data_valid_i),
    .slice_valid_o  (slice),
    .elements_o     (elements),
    .kept_o         (kept),
    .block_last_o   (block_last),
    .row_last_o     (row_last)
  );

  // What travels beside the elements of the second and third pass: bit k of a shift register is
  // one, k + 1 cycles after its slice.
  logic [Inside-1:0] slice_q;
  logic [Inside-1:0] block_q;
  logic [Inside-1:0] row_q;
  logic              maximum_over_q;
  logic              powered;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      maximum_over_q <= 1'b0;
      slice_q <= '0;
      block_q <= '0;
      row_q <= '0;
    end else begin
      maximum_over_q <= slice && row_last && state_q == StMaximum;
      slice_q <= {slice_q[Inside-2:0], powered};
      block_q <= {block_q[Inside-2:0], powered && block_last};
      row_q <= {row_q[Inside-2:0], powered && row_last};
    end
  end

  assign powered = slice && state_q != StMaximum;
  assign pass_over = state_q == StMaximum ? maximum_over_q : row_q[PowerCycles];
  assign progress_o = slice || vw_valid_o;

  // Each pipe has a maximum and a sum of its own; afterwards they are folded into those of pipe 0.
  logic [PipeBits-1:0]  fold_q;
  logic signed [16:0]   maximum_q;
  logic [46:0]          sum_q;
  logic [17*Pipes-1:0]  maxima;
  logic [47*Pipes-1:0]  sums;
  logic [31*Pipes-1:0]  powers;
  logic signed [16:0]   fold_maximum;
  logic [46:0]          fold_sum;

  assign fold_last = !entered_q && fold_q == PipeBits'(Pipes - 1);
  assign fold_maximum = $signed(maxima[17*fold_q +: 17]);
  assign fold_sum = sums[47*fold_q +: 47];

  always_ff @(posedge clk_i) begin
    if (entered_q) fold_q <= '0;
    else fold_q <= fold_q + PipeBits'(1);
    if (entered_q) begin
      if (state_q == StFoldMaximum) maximum_q <= 17'sh10000;
      if (state_q == StFoldSum) sum_q <= '0;
    end else begin
      if (state_q == StFoldMaximum && fold_maximum > maximum_q) maximum_q <= fold_maximum;
      if (state_q == StFoldSum) sum_q <= sum_q + fold_sum;
    end
  end

  for (genvar p = 0; p < Pipes; p++) begin : gen_pipe
    logic signed [16:0] element;
    logic signed [16:0] pipe_maximum_q;
    logic        [46:0] pipe_sum_q;
    logic        [15:0] distance_q;
    logic               kept_q;

    assign element = $signed(elements[17*p +: 17]);
    assign maxima[17*p +: 17] = pipe_maximum_q;
    assign sums[47*p +: 47] = pipe_sum_q;

    always_ff @(posedge clk_i) begin
      if (begin_pass) pipe_maximum_q <= 17'sh10000;
      else if (slice && kept[p] && element > pipe_maximum_q) pipe_maximum_q <= element;
      distance_q <= 16'(maximum_q - element);
      kept_q <= kept[p];
      if (begin_pass) pipe_sum_q <= '0;
      else if (slice_q[PowerCycles-1]) pipe_sum_q <= pipe_sum_q + 47'(powers[31*p +: 31]);
    end

    npu_power u_power (
      .clk_i       (clk_i),
      .multiplier_i(multiplier_q),
      .shift_i     (shift_q),
      .kept_i      (kept_q),
      .distance_i  (distance_q),
      .power_o     (powers[31*p +: 31])
    );
  end

  // The reciprocal of the sum.
  logic        divide;
  logic [15:0] reciprocal;
  logic [4:0]  places;

  assign divide = entered_q && state_q == StDivide;

  npu_reciprocal u_reciprocal (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .start_i     (divide),
    .sum_i       (sum_q),
    .largest_i   (largest_q),
    .done_o      (divided),
    .reciprocal_o(reciprocal),
    .shift_o     (places)
  );

  // Scaling: partial products, their sum, the rounding, a shift by eights, and one by units.
  logic [53:0]        half_q;
  logic [8*Pipes-1:0] results;
  logic [Width-1:0]   word_q;

  always_ff @(posedge clk_i) half_q <= (54'd1 << 37) << places;

  for (genvar p = 0; p < Pipes; p++) begin : gen_scale
    logic [30:0] power;
    logic [30:0] high_q;
    logic [31:0] low_q;
    logic [53:0] product_q;
    logic [15:0] rounded_q;
    logic [15:0] coarse_q;
    logic [7:0]  fine_q;

    assign power = powers[31*p +: 31];
    assign results[8*p +: 8] = fine_q;

    always_ff @(posedge clk_i) begin
      high_q <= power[30:16] * reciprocal;
      low_q <= power[15:0] * reciprocal;
      product_q <= {7'b0, high_q, 16'b0} + 54'(low_q);
      rounded_q <= 16'((product_q + half_q) >> 38);
      coarse_q <= rounded_q >> {places[4:3], 3'b000};
      fine_q <= 8'(coarse_q >> places[2:0]);
    end
  end

  // Results fill a word from its upper end; then it is written.
  logic               write_q;
  logic               over_q;
  logic [ActAddr-1:0] write_addr_q;

  if (Pipes == Lanes) begin : gen_whole
    always_ff @(posedge clk_i) word_q <= results;
  end else begin : gen_slices
    always_ff @(posedge clk_i) begin
      if (slice_q[Inside-1]) word_q <= {results, word_q[Width-1:8*Pipes]};
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= 1'b0;
      over_q <= 1'b0;
    end else begin
      write_q <= state_q == StScale && block_q[Inside-1];
      over_q <= state_q == StScale && row_q[Inside-1];
    end
  end

  always_ff @(posedge clk_i) begin
    if (begin_pass) write_addr_q <= output_q;
    else if (write_q) write_addr_q <= write_addr_q + out_stride_q;
  end

  assign vw_valid_o = write_q;
  assign vw_addr_o = write_addr_q;
  assign vw_data_o = word_q;
  assign row_over = over_q;

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule
