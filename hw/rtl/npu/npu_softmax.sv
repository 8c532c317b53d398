// SPDX-License-Identifier: Apache-2.0
// Executes SOFTMAX: probabilities of whole rows, each walked over three times.
//
//   the maximum; the sum of the powers e of all elements (npu_power); then for each element
//   y = (e*M + 2^(n+6)) >> (n + 7), with M and n of the sum (npu_reciprocal)
//
// Elements that the mask or the row's length leaves out count nowhere and give 0.
//
// What a walk finds is known a while after it, so the walks of three rows take turns: the sum of a
// row, the maximum of the next, the results of the one before.
//
// Contract
// - `instr_i` is a SOFTMAX whose counts rows and blocks are at least 1.
// - The walks of rows 0 to P - 1 go maximum 0, sum 0, maximum 1, sum 1, then by turns maximum k,
//   results k - 2, sum k, and at last results P - 2 and P - 1.  The first starts in the cycle after
//   the handshake, every other one in the last cycle of the one before or later: a sum Pipes + 2
//   cycles behind the last slice of its row's maximum and Pipes + 38 behind that of the sum before,
//   results as many behind that of their row's sum.
// - A walk in cycle 0 hands on its slices as npu_row_words does; results are written 18 cycles
//   behind the last slice of their block; `retire_valid_o` rises in the cycle after the last write.
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
  localparam logic [1:0] WalkMaximum = 2'd0;
  localparam logic [1:0] WalkSum = 2'd1;
  localparam logic [1:0] WalkScale = 2'd2;

  // The instruction's settings, and what is left of its rows.
  logic               busy_q;
  logic               retire_q;
  logic               accept;
  logic               written;
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
  logic [ActAddr-1:0] mask_stride_q;
  logic [ActAddr-1:0] out_stride_q;
  logic [ActAddr-1:0] out_row_stride_q;
  logic [15:0]        unwritten_q;

  assign accept = instr_valid_i && instr_ready_o;
  assign instr_ready_o = !busy_q;
  assign retire_valid_o = retire_q;
  assign busy_o = busy_q;
  assign stall_o = vr_valid_o && !vr_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      retire_q <= 1'b0;
    end else begin
      if (accept) busy_q <= 1'b1;
      else if (retire_q && retire_ready_i) busy_q <= 1'b0;
      if (written && unwritten_q == 16'd1) retire_q <= 1'b1;
      else if (retire_ready_i) retire_q <= 1'b0;
    end
  end

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
      mask_stride_q <= instr_i[npu_isa_pkg::SOFTMAX_MASK_BLOCK_STRIDE_LSB +: ActAddr];
      out_stride_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_BLOCK_STRIDE_LSB +: ActAddr];
      out_row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::ROW_OUTPUT_ROW_STRIDE_LSB +: 16]);
      unwritten_q <= instr_i[npu_isa_pkg::ROW_ROWS_LSB +: 16];
    end else if (written) begin
      unwritten_q <= unwritten_q - 16'd1;
    end
  end

  // Which row is walked over, and what for.
  logic               words_ready;
  logic               go;
  logic [1:0]         walk;
  logic [1:0]         row;
  logic [ActAddr-1:0] source;
  logic [ActAddr-1:0] mask_source;
  logic               maximum_folded;
  logic               divided;

  npu_softmax_walks #(
    .ActWords(ActWords)
  ) u_walks (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .start_i       (accept),
    .instr_i       (instr_i),
    .ready_i       (words_ready),
    .maximum_i     (maximum_folded),
    .reciprocal_i  (divided),
    .go_o          (go),
    .walk_o        (walk),
    .row_o         (row),
    .source_o      (source),
    .mask_source_o (mask_source)
  );

  logic                slice;
  logic [17*Pipes-1:0] elements;
  logic [Pipes-1:0]    kept;
  logic [1:0]          slice_walk;
  logic [1:0]          slice_row;
  logic                row_first;
  logic                block_last;
  logic                row_last;

  npu_row_words #(
    .Lanes   (Lanes),
    .Pipes   (Pipes),
    .ActWords(ActWords),
    .TagBits (4)
  ) u_words (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .start_i        (go),
    .ready_o        (words_ready),
    .tag_i          ({walk, row}),
    .double_i       (1'b0),
    .signed_i       (signed_q),
    .wide_i         (wide_q),
    .mask_i         (mask_q),
    .blocks_i       (blocks_q),
    .entries_i      (entries_q),
    .source_i       (source),
    .block_stride_i (block_stride_q),
    .high_offset_i  (high_offset_q),
    .mask_source_i  (mask_source),
    .mask_stride_i  (mask_stride_q),
    .vr_valid_o     (vr_valid_o),
    .vr_ready_i     (vr_ready_i),
    .vr_addr_o      (vr_addr_o),
    .vr_data_i      (vr_data_i),
    .vr_data_valid_i(vr_data_valid_i),
    .slice_valid_o  (slice),
    .elements_o     (elements),
    .kept_o         (kept),
    .tag_o          ({slice_walk, slice_row}),
    .row_first_o    (row_first),
    .block_last_o   (block_last),
    .row_last_o     (row_last)
  );

  // What travels beside the elements: bit k of a shift register is one, k + 1 cycles after its
  // slice.
  logic                   of_maximum;
  logic                   of_sum;
  logic                   of_scale;
  logic                   maximum_over_q;
  logic [1:0]             maximum_row_q;
  logic [PowerCycles-1:0] sum_slice_q;
  logic [PowerCycles-1:0] sum_first_q;
  logic [PowerCycles:0]   sum_over_q;
  logic [PowerCycles-2:0] odd_q;
  logic [Inside-1:0]      scale_slice_q;
  logic [Inside-1:0]      block_q;
  logic [Inside-1:0]      row_q;

  assign of_maximum = slice && slice_walk == WalkMaximum;
  assign of_sum = slice && slice_walk == WalkSum;
  assign of_scale = slice && slice_walk == WalkScale;
  assign progress_o = slice || vw_valid_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      maximum_over_q <= 1'b0;
      sum_slice_q <= '0;
      sum_over_q <= '0;
      scale_slice_q <= '0;
      block_q <= '0;
      row_q <= '0;
    end else begin
      maximum_over_q <= of_maximum && row_last;
      sum_slice_q <= {sum_slice_q[PowerCycles-2:0], of_sum};
      sum_over_q <= {sum_over_q[PowerCycles-1:0], of_sum && row_last};
      scale_slice_q <= {scale_slice_q[Inside-2:0], of_scale};
      block_q <= {block_q[Inside-2:0], of_scale && block_last};
      row_q <= {row_q[Inside-2:0], of_scale && row_last};
    end
  end

  always_ff @(posedge clk_i) begin
    if (of_maximum) maximum_row_q <= slice_row;
    sum_first_q <= {sum_first_q[PowerCycles-2:0], row_first};
    odd_q <= {odd_q[PowerCycles-3:0], slice_row[0]};
  end

  // Each pipe has a maximum and a sum of its own; afterwards they are folded, one pipe a cycle.
  logic [PipeBits-1:0]  maximum_fold_q;
  logic                 maximum_folding_q;
  logic signed [16:0]   maximum_q;
  logic signed [16:0]   fold_maximum;
  logic signed [16:0]   larger;
  logic [PipeBits-1:0]  sum_fold_q;
  logic                 sum_folding_q;
  logic                 sum_folded_q;
  logic [46:0]          sum_q;
  logic [17*Pipes-1:0]  maxima;
  logic [47*Pipes-1:0]  sums;
  logic [31*Pipes-1:0]  powers;

  assign maximum_folded = maximum_folding_q && maximum_fold_q == PipeBits'(Pipes - 1);
  assign fold_maximum = $signed(maxima[17*maximum_fold_q +: 17]);
  assign larger = fold_maximum > maximum_q ? fold_maximum : maximum_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      maximum_folding_q <= 1'b0;
      sum_folding_q <= 1'b0;
      sum_folded_q <= 1'b0;
    end else begin
      maximum_folding_q <= maximum_over_q || (maximum_folding_q && !maximum_folded);
      sum_folding_q <= sum_over_q[PowerCycles] ||
                       (sum_folding_q && sum_fold_q != PipeBits'(Pipes - 1));
      sum_folded_q <= sum_folding_q && sum_fold_q == PipeBits'(Pipes - 1);
    end
  end

  always_ff @(posedge clk_i) begin
    if (maximum_over_q) begin
      maximum_fold_q <= '0;
      maximum_q <= 17'sh10000;
    end else begin
      maximum_fold_q <= maximum_fold_q + PipeBits'(1);
      maximum_q <= larger;
    end
    if (sum_over_q[PowerCycles]) begin
      sum_fold_q <= '0;
      sum_q <= '0;
    end else if (sum_folding_q) begin
      sum_fold_q <= sum_fold_q + PipeBits'(1);
      sum_q <= sum_q + sums[47*sum_fold_q +: 47];
    end
  end

  // The maxima of the last rows.
  logic [17*4-1:0]    maxima_q;
  logic signed [16:0] row_maximum;

  assign row_maximum = $signed(maxima_q[17*slice_row +: 17]);

  always_ff @(posedge clk_i) begin
    if (maximum_folded) maxima_q[17*maximum_row_q +: 17] <= larger;
  end

  for (genvar p = 0; p < Pipes; p++) begin : gen_pipe
    logic signed [16:0] element;
    logic signed [16:0] pipe_maximum_q;
    logic signed [16:0] maximum_before;
    logic        [46:0] pipe_sum_q;
    logic        [46:0] sum_before;
    logic        [15:0] distance_q;
    logic               kept_q;

    assign element = $signed(elements[17*p +: 17]);
    assign maxima[17*p +: 17] = pipe_maximum_q;
    assign sums[47*p +: 47] = pipe_sum_q;
    assign maximum_before = row_first ? 17'sh10000 : pipe_maximum_q;
    assign sum_before = sum_first_q[PowerCycles-1] ? '0 : pipe_sum_q;

    always_ff @(posedge clk_i) begin
      if (of_maximum) begin
        pipe_maximum_q <= kept[p] && element > maximum_before ? element : maximum_before;
      end
      distance_q <= 16'(row_maximum - element);
      kept_q <= kept[p];
      if (sum_slice_q[PowerCycles-1]) pipe_sum_q <= sum_before + 47'(powers[31*p +: 31]);
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

  logic [8*Pipes-1:0] results;
  logic [Width-1:0]   word_q;

  npu_softmax_scale #(
    .Pipes(Pipes)
  ) u_scale (
    .clk_i    (clk_i),
    .rst_ni   (rst_ni),
    .clear_i  (accept),
    .start_i  (sum_folded_q),
    .sum_i    (sum_q),
    .largest_i(largest_q),
    .done_o   (divided),
    .odd_i    (odd_q[PowerCycles-2]),
    .powers_i (powers),
    .results_o(results)
  );

  // Results fill a word from its upper end; then it is written.
  logic               write_q;
  logic               over_q;
  logic [ActAddr-1:0] write_addr_q;
  logic [ActAddr-1:0] write_row_q;

  if (Pipes == Lanes) begin : gen_whole
    always_ff @(posedge clk_i) word_q <= results;

    logic unused_slice;
    assign unused_slice = scale_slice_q[Inside-1];
  end else begin : gen_slices
    always_ff @(posedge clk_i) begin
      if (scale_slice_q[Inside-1]) word_q <= {results, word_q[Width-1:8*Pipes]};
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= 1'b0;
      over_q <= 1'b0;
    end else begin
      write_q <= block_q[Inside-1];
      over_q <= row_q[Inside-1];
    end
  end

  always_ff @(posedge clk_i) begin
    if (accept) begin
      write_addr_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_ADDRESS_LSB +: ActAddr];
      write_row_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_ADDRESS_LSB +: ActAddr];
    end else if (over_q) begin
      write_addr_q <= write_row_q + out_row_stride_q;
      write_row_q <= write_row_q + out_row_stride_q;
    end else if (write_q) begin
      write_addr_q <= write_addr_q + out_stride_q;
    end
  end

  assign vw_valid_o = write_q;
  assign vw_addr_o = write_addr_q;
  assign vw_data_o = word_q;
  assign written = over_q;

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule
