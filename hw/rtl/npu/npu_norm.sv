// SPDX-License-Identifier: Apache-2.0
// Executes NORM: layer or RMS norm of up to 64 rows, in two passes.
//
// The first pass, left out with `again`, adds up the elements of each row and their squares (npu_root
// makes a mean and a reciprocal deviation of them); the second takes one block of lanes after the
// other, reads its records, and sends all rows of the block through the pipes (npu_standard).
//
// Contract
// - `instr_i` is a NORM whose counts rows (at most 64) and blocks are at least 1; the lanes of the
//   last block that are no elements are 0 in memory and in the records.
// - With R, S, T as in npu_row_words, B blocks, P rows and C = B*T + R + S - T + Pipes + 7, the
//   first pass takes C + (P-1) * max(C, 56) + 56 cycles and the second
//   B * (P*T + R + S - T + 20) + 9, one more when the results are wide, and more when `wr_ready_i`
//   or `vr_ready_i` held a read up.  The first pass starts in the cycle after the handshake;
//   `retire_valid_o` rises as the second one ends.
// - Data of weight and activation reads follow exactly 2 cycles after their handshake.  A word is
//   written in the cycle of `vw_valid_o`, that of the high bytes of wide results in the next.

module npu_norm #(
  parameter int Lanes = 16,
  parameter int Pipes = 4,
  parameter int ActWords = 8192,
  parameter int WeightWords = 4096,
  localparam int Width = 8 * Lanes,
  localparam int ActAddr = $clog2(ActWords),
  localparam int WgtAddr = $clog2(WeightWords)
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
  output logic               wr_valid_o,
  input  logic               wr_ready_i,
  output logic [WgtAddr-1:0] wr_addr_o,
  input  logic [Width-1:0]   wr_data_i,
  input  logic               wr_data_valid_i,
  output logic               vr_valid_o,
  input  logic               vr_ready_i,
  output logic [ActAddr-1:0] vr_addr_o,
  input  logic [Width-1:0]   vr_data_i,
  input  logic               vr_data_valid_i,
  output logic               vw_valid_o,
  output logic [ActAddr-1:0] vw_addr_o,
  output logic [Width-1:0]   vw_data_o
);

  localparam int RowBits = $clog2(npu_isa_pkg::MAX_NORM_ROWS);
  localparam int RecordCycles = 7;
  localparam int ResultCycles = 13;
  localparam int RecordsFree = 5;

  localparam logic [2:0] StIdle = 3'd0;
  localparam logic [2:0] StSum = 3'd1;
  localparam logic [2:0] StFold = 3'd2;
  localparam logic [2:0] StRoot = 3'd3;
  localparam logic [2:0] StRecords = 3'd4;
  localparam logic [2:0] StApply = 3'd5;
  localparam logic [2:0] StRetire = 3'd6;

  logic [2:0] state_q;
  logic [2:0] state_d;
  logic       entered_q;
  logic       accept;
  logic       summed;
  logic       folded;
  logic       root_busy;
  logic       last_row;
  logic       recorded;
  logic       applied;
  logic       over;
  logic       last_block;
  logic       again;

  assign accept = instr_valid_i && instr_ready_o;
  assign again = instr_i[npu_isa_pkg::NORM_AGAIN_LSB];

  always_comb begin
    state_d = state_q;
    case (state_q)
      StIdle: if (accept) state_d = again ? StRecords : StSum;
      StSum: if (summed) state_d = StFold;
      StFold: if (folded && !root_busy) state_d = last_row ? StRoot : StSum;
      StRoot: if (!root_busy && !entered_q) state_d = StRecords;
      StRecords: if (recorded) state_d = StApply;
      StApply: if (last_block ? over : applied) state_d = last_block ? StRetire : StRecords;
      default: if (retire_ready_i) state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) state_q <= StIdle;
    else state_q <= state_d;
    entered_q <= state_d != state_q;
  end

  assign instr_ready_o = state_q == StIdle;
  assign retire_valid_o = state_q == StRetire;
  assign busy_o = state_q != StIdle;
  assign stall_o = (wr_valid_o && !wr_ready_i) || (vr_valid_o && !vr_ready_i);

  // The instruction's settings, and the row or the block at which a pass is.
  logic               signed_q;
  logic               wide_q;
  logic               centred_q;
  logic               output_wide_q;
  logic [15:0]        blocks_q;
  logic [RowBits:0]   rows_q;
  logic [20:0]        count_q;
  logic [61:0]        epsilon_q;
  logic [5:0]         fraction_q;
  logic [15:0]        lo_q;
  logic [15:0]        hi_q;
  logic [ActAddr-1:0] block_stride_q;
  logic [ActAddr-1:0] high_offset_q;
  logic [ActAddr-1:0] row_stride_q;
  logic [ActAddr-1:0] out_stride_q;
  logic [ActAddr-1:0] out_row_stride_q;
  logic [ActAddr-1:0] out_high_offset_q;
  logic [ActAddr-1:0] first_q;
  logic [ActAddr-1:0] source_q;
  logic [ActAddr-1:0] output_q;
  logic [RowBits-1:0] row_q;
  logic [15:0]        blocks_left_q;
  logic               summing;
  logic               root_start;

  assign summing = state_q == StSum;
  assign last_row = {1'b0, row_q} + (RowBits+1)'(1) == rows_q;
  assign last_block = blocks_left_q == 16'd1;
  assign root_start = state_q == StFold && folded && !root_busy;

  always_ff @(posedge clk_i) begin
    if (accept) begin
      signed_q <= instr_i[npu_isa_pkg::ROW_INPUT_SIGNED_LSB];
      wide_q <= instr_i[npu_isa_pkg::ROW_INPUT_WIDE_LSB];
      centred_q <= instr_i[npu_isa_pkg::NORM_CENTRED_LSB];
      output_wide_q <= instr_i[npu_isa_pkg::NORM_OUTPUT_WIDE_LSB];
      blocks_q <= instr_i[npu_isa_pkg::ROW_BLOCKS_LSB +: 16];
      rows_q <= instr_i[npu_isa_pkg::ROW_ROWS_LSB +: RowBits + 1];
      count_q <= instr_i[npu_isa_pkg::NORM_COUNT_LSB +: 21];
      epsilon_q <= {instr_i[npu_isa_pkg::NORM_EPSILON_HIGH_LSB +: 30],
                    instr_i[npu_isa_pkg::NORM_EPSILON_LOW_LSB +: 32]};
      fraction_q <= instr_i[npu_isa_pkg::NORM_FRACTION_LSB +: 6];
      lo_q <= instr_i[npu_isa_pkg::NORM_LO_LSB +: 16];
      hi_q <= instr_i[npu_isa_pkg::NORM_HI_LSB +: 16];
      block_stride_q <= instr_i[npu_isa_pkg::ROW_SOURCE_BLOCK_STRIDE_LSB +: ActAddr];
      high_offset_q <= instr_i[npu_isa_pkg::ROW_SOURCE_HIGH_OFFSET_LSB +: ActAddr];
      row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::ROW_SOURCE_ROW_STRIDE_LSB +: 16]);
      out_stride_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_BLOCK_STRIDE_LSB +: ActAddr];
      out_row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::ROW_OUTPUT_ROW_STRIDE_LSB +: 16]);
      out_high_offset_q <= instr_i[npu_isa_pkg::NORM_OUTPUT_HIGH_OFFSET_LSB +: ActAddr];
      first_q <= instr_i[npu_isa_pkg::ROW_SOURCE_ADDRESS_LSB +: ActAddr];
      source_q <= instr_i[npu_isa_pkg::ROW_SOURCE_ADDRESS_LSB +: ActAddr];
      output_q <= instr_i[npu_isa_pkg::ROW_OUTPUT_ADDRESS_LSB +: ActAddr];
      row_q <= '0;
      blocks_left_q <= instr_i[npu_isa_pkg::ROW_BLOCKS_LSB +: 16];
    end else if (root_start) begin
      row_q <= row_q + RowBits'(1);
      source_q <= last_row ? first_q : source_q + row_stride_q;
    end else if (applied && !last_block) begin
      source_q <= source_q + block_stride_q;
      output_q <= output_q + out_stride_q;
      blocks_left_q <= blocks_left_q - 16'd1;
    end
  end

  // The elements: in the first pass the blocks of a row, in the second the rows of a block.
  logic                words_start;
  logic [15:0]         words_blocks;
  logic [ActAddr-1:0]  words_stride;
  logic                slice;
  logic [17*Pipes-1:0] elements;
  logic [Pipes-1:0]    kept;
  logic [2:0]          unused_words;
  logic                block_last;
  logic                words_last;

  assign words_blocks = summing ? blocks_q : 16'(rows_q);
  assign words_stride = summing ? block_stride_q : row_stride_q;
  assign words_start = entered_q && (summing || state_q == StApply);

  npu_row_words #(
    .Lanes   (Lanes),
    .Pipes   (Pipes),
    .ActWords(ActWords)
  ) u_words (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .start_i        (words_start),
    .ready_o        (unused_words[0]),
    .tag_i          (1'b0),
    .double_i       (output_wide_q && !summing),
    .signed_i       (signed_q),
    .wide_i         (wide_q),
    .mask_i         (1'b0),
    .blocks_i       (words_blocks),
    .entries_i      (17'd0),
    .source_i       (source_q),
    .block_stride_i (words_stride),
    .high_offset_i  (high_offset_q),
    .mask_source_i  (ActAddr'(0)),
    .mask_stride_i  (ActAddr'(0)),
    .vr_valid_o     (vr_valid_o),
    .vr_ready_i     (vr_ready_i),
    .vr_addr_o      (vr_addr_o),
    .vr_data_i      (vr_data_i),
    .vr_data_valid_i(vr_data_valid_i),
    .slice_valid_o  (slice),
    .elements_o     (elements),
    .kept_o         (kept),
    .tag_o          (unused_words[2]),
    .row_first_o    (unused_words[1]),
    .block_last_o   (block_last),
    .row_last_o     (words_last)
  );

  // First pass.
  logic signed [32:0] sum;
  logic [47:0]        squares;

  npu_row_sums #(
    .Pipes(Pipes)
  ) u_sums (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .start_i      (words_start),
    .slice_valid_i(slice && summing),
    .last_i       (words_last),
    .elements_i   (elements),
    .summed_o     (summed),
    .folded_o     (folded),
    .sum_o        (sum),
    .squares_o    (squares)
  );

  // What the second pass needs of every row.
  logic               root_done;
  logic signed [32:0] root_sum;
  logic [25:0]        root;
  logic [5:0]         root_shift;
  logic [RowBits-1:0] root_row_q;
  logic [RowBits-1:0] apply_row_q;
  logic [RowBits-1:0] next_row;
  logic [RowBits-1:0] read_row;
  logic               read_row_en;
  logic [64:0]        row_constants;
  logic [64:0]        root_constants;

  npu_root u_root (
    .clk_i     (clk_i),
    .rst_ni    (rst_ni),
    .start_i   (root_start),
    .centred_i (centred_q),
    .count_i   (count_q),
    .epsilon_i (epsilon_q),
    .fraction_i(fraction_q),
    .sum_i     (sum),
    .squares_i (squares),
    .busy_o    (root_busy),
    .done_o    (root_done),
    .sum_o     (root_sum),
    .root_o    (root),
    .shift_o   (root_shift)
  );

  always_ff @(posedge clk_i) begin
    if (root_start) root_row_q <= row_q;
    if (words_start) apply_row_q <= '0;
    else if (slice && block_last) apply_row_q <= next_row;
  end

  assign next_row = apply_row_q + RowBits'(1);
  assign read_row_en = words_start || (slice && block_last);
  assign read_row = words_start ? '0 : next_row;
  assign root_constants = {root_sum, root, root_shift};

  ram_1r1w #(
    .Width(65),
    .Depth(npu_isa_pkg::MAX_NORM_ROWS)
  ) u_rows (
    .clk_i       (clk_i),
    .read_en_i   (read_row_en),
    .read_addr_i (read_row),
    .read_data_o (row_constants),
    .write_en_i  (root_done),
    .write_addr_i(root_row_q),
    .write_data_i(root_constants)
  );

  // Second pass: the records of a block shift in byte by byte, then go round with the slices.  The
  // next block's are read when the last slice is so near to its own that they come behind it, and
  // the first slice to meet them comes when all of them are there.
  logic [3:0]          record_q;
  logic [96*Lanes-1:0] records_q;
  logic                rotate;
  logic                record_step;

  assign wr_valid_o = state_q == StRecords;
  assign record_step = wr_valid_o && wr_ready_i;
  assign recorded = record_step && record_q == 4'(npu_isa_pkg::RECORD_WORDS - 1);

  always_ff @(posedge clk_i) begin
    if (accept) wr_addr_o <= instr_i[npu_isa_pkg::NORM_RECORD_ADDRESS_LSB +: WgtAddr];
    else if (record_step) wr_addr_o <= wr_addr_o + WgtAddr'(1);
    if (!wr_valid_o) record_q <= '0;
    else if (record_step) record_q <= record_q + 4'd1;
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_record
    localparam int Next = (l + Pipes) % Lanes;

    always_ff @(posedge clk_i) begin
      if (wr_data_valid_i) begin
        records_q[96*l +: 96] <= {wr_data_i[8*l +: 8], records_q[96*l + 8 +: 88]};
      end else if (rotate) begin
        records_q[96*l +: 96] <= records_q[96*Next +: 96];
      end
    end
  end

  // What travels beside an element: bit k is one, k + 1 cycles after its slice.
  logic [ResultCycles-1:0] slice_q;
  logic [ResultCycles-1:0] row_last_q;
  logic [ResultCycles-1:0] block_last_q;
  logic                    applying;

  assign applying = slice && !summing;
  assign applied = block_last_q[RecordsFree-1];
  assign rotate = slice_q[RecordCycles-1];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slice_q <= '0;
      row_last_q <= '0;
      block_last_q <= '0;
    end else begin
      slice_q <= {slice_q[ResultCycles-2:0], applying};
      row_last_q <= {row_last_q[ResultCycles-2:0], applying && block_last};
      block_last_q <= {block_last_q[ResultCycles-2:0], applying && words_last};
    end
  end

  logic [16*Pipes-1:0] results;

  for (genvar p = 0; p < Pipes; p++) begin : gen_pipe
    logic signed [16:0] element;
    logic signed [32:0] row_sum;

    assign element = $signed(elements[17*p +: 17]);
    assign row_sum = $signed(row_constants[64:32]);

    npu_standard u_standard (
      .clk_i    (clk_i),
      .count_i  (count_q),
      .lo_i     (lo_q),
      .hi_i     (hi_q),
      .element_i(element),
      .sum_i    (row_sum),
      .root_i   (row_constants[31:6]),
      .shift_i  (row_constants[5:0]),
      .record_i (records_q[96*p +: 96]),
      .result_o (results[16*p +: 16])
    );
  end

  npu_norm_results #(
    .Lanes   (Lanes),
    .Pipes   (Pipes),
    .ActWords(ActWords)
  ) u_results (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .start_i      (words_start),
    .wide_i       (output_wide_q),
    .address_i    (output_q),
    .row_stride_i (out_row_stride_q),
    .high_offset_i(out_high_offset_q),
    .slice_valid_i(slice_q[ResultCycles-1]),
    .word_last_i  (row_last_q[ResultCycles-1]),
    .results_i    (results),
    .block_last_i (block_last_q[ResultCycles-1]),
    .over_o       (over),
    .vw_valid_o   (vw_valid_o),
    .vw_addr_o    (vw_addr_o),
    .vw_data_o    (vw_data_o)
  );

  assign progress_o = slice || vw_valid_o || record_step;

  logic unused_signals;
  assign unused_signals = ^instr_i ^ ^kept ^ ^unused_words;

endmodule
