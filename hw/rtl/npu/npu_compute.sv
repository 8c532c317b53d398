// SPDX-License-Identifier: Apache-2.0
// Compute unit: walks a COMPUTE instruction's weight tiles and pixels and feeds the multiplier
// array, one vector a cycle.
//
// A fill walks block, fy, fx and brings a word of the tile a cycle into the array's shadow weights:
// 1, 2 or 4 rows of weights of 8, 4 or 2 bits.  A stream walks y, x over the tile that is active.  While the stream works on a tile the fill brings
// the next one, which may belong to the next instruction.
//
// Contract
// - `instr_i` is a COMPUTE instruction (its opcode is not looked at) whose counts blocks, fy, fx, y
//   and x are all at least 1.  At most 4 instructions are inside.
// - An instruction retires, in order, once its last sums are readable in the accumulators.
// - Let L = log2(Lanes), F = max(Lanes >> packing, 4) the cycles of a fill, and T the number of
//   tiles of P pixels.  After a handshake in cycle 0 on an idle unit the first vector is read in cycle F + 1,
//   the first vector of each further tile max(P, F) cycles after the one before it, and
//   `retire_valid_o` rises in cycle (T - 1) * max(P, F) + P + F + L + 6.
// - `instr_ready_o` rises in the cycle in which the first vector of an instruction's last tile is
//   read; the first vector of the next instruction follows that tile after max(P, F + 1 + wait)
//   cycles, with `wait` the cycles from ready to valid.
// - Activations arrive exactly 2 cycles after `a_en_o`, weights exactly 2 cycles after `f_en_o`;
//   sums leave 2 cycles after their `acc_valid_o`.
// - A tile is Lanes >> packing words; a fill takes 4 cycles at least, because sums are not added to
//   again before.  Weights have `WeightBits` bits at least, 2, 4 or 8; `packing` is 0 when that is 8.
// - With `ColumnFill` the tiles of an instruction with `fill_columns` are stored by columns.
// - `stall_o`: weights are brought in and no vector is streamed.

module npu_compute #(
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int ActWords = 8192,
  parameter int WeightWords = 4096,
  parameter int AccWords = 512,
  parameter int WeightBits = 2,
  parameter int ColumnFill = 0,
  localparam int Width = 8 * Lanes,
  localparam int Cols = Groups * Lanes,
  localparam int LaneBits = $clog2(Lanes),
  localparam int ElementBits = $clog2(ActWords) + LaneBits,
  localparam int GroupBits = $clog2(Groups),
  localparam int RowBits = $clog2(WeightWords) - GroupBits,
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    instr_valid_i,
  input  logic [511:0]            instr_i,
  output logic                    instr_ready_o,
  output logic                    retire_valid_o,
  input  logic                    retire_ready_i,
  output logic                    busy_o,
  output logic                    stall_o,
  output logic                    progress_o,
  output logic                    a_en_o,
  output logic [ElementBits-1:0]  a_addr_o,
  input  logic [Width-1:0]        a_data_i,
  output logic                    f_en_o,
  output logic [RowBits-1:0]      f_row_o,
  input  logic [Groups*Width-1:0] f_data_i,
  output logic                    acc_valid_o,
  output logic [AccAddr-1:0]      acc_addr_o,
  output logic                    acc_overwrite_o,
  output logic                    acc_high_o,
  output logic [Cols*32-1:0]      acc_sums_o
);

  localparam int InsideLimit = 4;
  // Cycles from reading a vector: to its arrival, to the start of its accumulation, and to the
  // write.
  localparam int ReadCycles = 2;
  localparam int AccCycles = LaneBits + 2;
  localparam int WriteCycles = AccCycles + 3;
  localparam logic [LaneBits-1:0] LeastRow = LaneBits'(3);
  localparam logic [1:0] PackingMask = WeightBits == 2 ? 2'd3 : WeightBits == 4 ? 2'd1 : 2'd0;

  // Fill: the tile that is brought in, and what its instruction says about the stream.
  logic                   fill_busy_q;
  logic                   fill_done_q;
  logic                   fill_accumulate_q;
  logic                   fill_signed_q;
  logic                   fill_high_q;
  logic                   fill_columns_q;
  logic [1:0]             fill_packing_q;
  logic [LaneBits-1:0]    fill_row_q;
  logic [ElementBits-1:0] tile_base_q;
  logic [ElementBits-1:0] fy_base_q;
  logic [ElementBits-1:0] block_base_q;
  logic [ElementBits-1:0] block_stride_q;
  logic [ElementBits-1:0] fy_stride_q;
  logic [ElementBits-1:0] fx_stride_q;
  logic [ElementBits-1:0] fill_y_stride_q;
  logic [ElementBits-1:0] fill_x_stride_q;
  logic [AccAddr-1:0]     fill_acc_q;
  logic [11:0]            blocks_left_q;
  logic [9:0]             fy_left_q;
  logic [9:0]             fx_left_q;
  logic [9:0]             fy_reload_q;
  logic [9:0]             fx_reload_q;
  logic [15:0]            fill_y_reload_q;
  logic [15:0]            fill_x_reload_q;

  // Stream: the tile that multiplies, and the pixel whose vector is read.
  logic                   stream_busy_q;
  logic                   stream_first_q;
  logic                   stream_last_tile_q;
  logic                   stream_overwrite_q;
  logic                   stream_signed_q;
  logic                   stream_high_q;
  logic [ElementBits-1:0] pixel_q;
  logic [ElementBits-1:0] line_q;
  logic [ElementBits-1:0] y_stride_q;
  logic [ElementBits-1:0] x_stride_q;
  logic [AccAddr-1:0]     acc_q;
  logic [15:0]            y_left_q;
  logic [15:0]            x_left_q;
  logic [15:0]            x_reload_q;

  logic accept;
  logic take;
  logic tile_ready;
  logic tile_last;
  logic pixel_last;

  // Whether a counter is at its last is worked out a step ahead.
  logic fx_last_q;
  logic fy_last_q;
  logic block_last_q;
  logic x_last_q;
  logic y_last_q;
  logic fx_one;
  logic fy_one;
  logic fx_one_q;
  logic fy_one_q;
  logic x_one_q;

  logic                   filling;
  logic [1:0]             packing;
  logic [LaneBits-1:0]    last_word;
  logic [LaneBits-1:0]    last_word_q;
  logic [LaneBits-1:0]    last_row_q;
  logic [ElementBits-1:0] next_tile;
  logic [ElementBits-1:0] next_pixel;

  assign accept = instr_valid_i && instr_ready_o;
  assign fx_one = instr_i[npu_isa_pkg::COMPUTE_FX_LSB +: 10] == 10'd1;
  assign fy_one = instr_i[npu_isa_pkg::COMPUTE_FY_LSB +: 10] == 10'd1;
  assign tile_last = fx_last_q && fy_last_q && block_last_q;
  assign pixel_last = x_last_q && y_last_q;
  assign tile_ready = fill_done_q || (fill_busy_q && fill_row_q == last_row_q);
  assign take = tile_ready && (!stream_busy_q || pixel_last);

  assign filling = fill_busy_q && !fill_done_q;
  assign packing = instr_i[npu_isa_pkg::COMPUTE_PACKING_LSB +: 2] & PackingMask;
  assign last_word = {LaneBits{1'b1}} >> packing;
  assign f_en_o = filling && fill_row_q <= last_word_q;
  assign a_en_o = stream_busy_q;
  assign a_addr_o = pixel_q;

  assign next_tile = (!fx_last_q ? tile_base_q : !fy_last_q ? fy_base_q : block_base_q) +
                     (!fx_last_q ? fx_stride_q : !fy_last_q ? fy_stride_q : block_stride_q);
  assign next_pixel = (x_last_q ? line_q : pixel_q) + (x_last_q ? y_stride_q : x_stride_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fill_busy_q <= 1'b0;
      fill_done_q <= 1'b0;
      stream_busy_q <= 1'b0;
    end else begin
      if (accept) fill_busy_q <= 1'b1;
      else if (take && tile_last) fill_busy_q <= 1'b0;
      fill_done_q <= tile_ready && !take;
      stream_busy_q <= take || (stream_busy_q && !pixel_last);
    end
  end

  // What an instruction says is taken in every cycle in which one could come.
  always_ff @(posedge clk_i) begin
    if (!fill_busy_q) begin
      fill_row_q <= '0;
      f_row_o <= instr_i[npu_isa_pkg::COMPUTE_WEIGHT_ADDRESS_LSB + GroupBits +: RowBits];
      tile_base_q <= instr_i[npu_isa_pkg::COMPUTE_ACT_ADDRESS_LSB +: ElementBits];
      fy_base_q <= instr_i[npu_isa_pkg::COMPUTE_ACT_ADDRESS_LSB +: ElementBits];
      block_base_q <= instr_i[npu_isa_pkg::COMPUTE_ACT_ADDRESS_LSB +: ElementBits];
      block_stride_q <= instr_i[npu_isa_pkg::COMPUTE_BLOCK_STRIDE_LSB +: ElementBits];
      fy_stride_q <= instr_i[npu_isa_pkg::COMPUTE_FY_STRIDE_LSB +: ElementBits];
      fx_stride_q <= instr_i[npu_isa_pkg::COMPUTE_FX_STRIDE_LSB +: ElementBits];
      fill_y_stride_q <= instr_i[npu_isa_pkg::COMPUTE_Y_STRIDE_LSB +: ElementBits];
      fill_x_stride_q <= instr_i[npu_isa_pkg::COMPUTE_X_STRIDE_LSB +: ElementBits];
      fill_acc_q <= instr_i[npu_isa_pkg::COMPUTE_ACC_ADDRESS_LSB +: AccAddr];
      fill_accumulate_q <= instr_i[npu_isa_pkg::COMPUTE_ACCUMULATE_LSB];
      fill_signed_q <= instr_i[npu_isa_pkg::COMPUTE_INPUT_SIGNED_LSB];
      fill_high_q <= instr_i[npu_isa_pkg::COMPUTE_INPUT_HIGH_LSB];
      fill_columns_q <= instr_i[npu_isa_pkg::COMPUTE_FILL_COLUMNS_LSB];
      fill_packing_q <= packing;
      last_word_q <= last_word;
      last_row_q <= last_word | LeastRow;
      blocks_left_q <= instr_i[npu_isa_pkg::COMPUTE_BLOCKS_LSB +: 12] - 12'd1;
      fy_left_q <= instr_i[npu_isa_pkg::COMPUTE_FY_LSB +: 10] - 10'd1;
      fx_left_q <= instr_i[npu_isa_pkg::COMPUTE_FX_LSB +: 10] - 10'd1;
      fy_reload_q <= instr_i[npu_isa_pkg::COMPUTE_FY_LSB +: 10] - 10'd1;
      fx_reload_q <= instr_i[npu_isa_pkg::COMPUTE_FX_LSB +: 10] - 10'd1;
      fx_one_q <= fx_one;
      fx_last_q <= fx_one;
      fy_one_q <= fy_one;
      fy_last_q <= fy_one;
      block_last_q <= instr_i[npu_isa_pkg::COMPUTE_BLOCKS_LSB +: 12] == 12'd1;
      fill_y_reload_q <= instr_i[npu_isa_pkg::COMPUTE_Y_LSB +: 16] - 16'd1;
      fill_x_reload_q <= instr_i[npu_isa_pkg::COMPUTE_X_LSB +: 16] - 16'd1;
    end else begin
      if (filling) fill_row_q <= fill_row_q == last_row_q ? '0 : fill_row_q + LaneBits'(1);
      if (f_en_o) f_row_o <= f_row_o + RowBits'(1);
      if (take) begin
        fill_accumulate_q <= 1'b1;
        tile_base_q <= next_tile;
        if (fx_last_q) fy_base_q <= next_tile;
        if (fx_last_q && fy_last_q) block_base_q <= next_tile;
        fx_left_q <= fx_last_q ? fx_reload_q : fx_left_q - 10'd1;
        fx_last_q <= fx_last_q ? fx_one_q : fx_left_q == 10'd1;
        if (fx_last_q) begin
          fy_left_q <= fy_last_q ? fy_reload_q : fy_left_q - 10'd1;
          fy_last_q <= fy_last_q ? fy_one_q : fy_left_q == 10'd1;
        end
        if (fx_last_q && fy_last_q) begin
          blocks_left_q <= blocks_left_q - 12'd1;
          block_last_q <= blocks_left_q == 12'd1;
        end
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      stream_first_q <= 1'b1;
      stream_last_tile_q <= tile_last;
      stream_overwrite_q <= !fill_accumulate_q;
      stream_signed_q <= fill_signed_q;
      stream_high_q <= fill_high_q;
      pixel_q <= tile_base_q;
      line_q <= tile_base_q;
      y_stride_q <= fill_y_stride_q;
      x_stride_q <= fill_x_stride_q;
      acc_q <= fill_acc_q;
      y_left_q <= fill_y_reload_q;
      x_left_q <= fill_x_reload_q;
      x_reload_q <= fill_x_reload_q;
      x_one_q <= fill_x_reload_q == '0;
      x_last_q <= fill_x_reload_q == '0;
      y_last_q <= fill_y_reload_q == '0;
    end else if (stream_busy_q) begin
      stream_first_q <= 1'b0;
      pixel_q <= next_pixel;
      if (x_last_q) line_q <= next_pixel;
      acc_q <= acc_q + AccAddr'(1);
      x_left_q <= x_last_q ? x_reload_q : x_left_q - 16'd1;
      x_last_q <= x_last_q ? x_one_q : x_left_q == 16'd1;
      if (x_last_q) begin
        y_left_q <= y_left_q - 16'd1;
        y_last_q <= y_left_q == 16'd1;
      end
    end
  end

  // What travels beside a vector: bit k of a shift register is one, k + 1 cycles after its read.
  logic [AccCycles-1:0]   valid_q;
  logic [WriteCycles-1:0] last_q;
  logic                   f_valid_q1;
  logic                   f_valid_q2;
  logic                   vector_first;
  logic                   vector_signed;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid_q <= '0;
      last_q <= '0;
      f_valid_q1 <= 1'b0;
      f_valid_q2 <= 1'b0;
    end else begin
      valid_q <= {valid_q[AccCycles-2:0], stream_busy_q};
      last_q <= {last_q[WriteCycles-2:0], stream_busy_q && pixel_last && stream_last_tile_q};
      f_valid_q1 <= f_en_o;
      f_valid_q2 <= f_valid_q1;
    end
  end

  delay_line #(
    .Width (2),
    .Cycles(ReadCycles)
  ) u_vector_flags (
    .clk_i (clk_i),
    .data_i({stream_first_q, stream_signed_q}),
    .data_o({vector_first, vector_signed})
  );

  delay_line #(
    .Width (AccAddr + 2),
    .Cycles(AccCycles)
  ) u_acc_address (
    .clk_i (clk_i),
    .data_i({stream_high_q, stream_overwrite_q, acc_q}),
    .data_o({acc_high_o, acc_overwrite_o, acc_addr_o})
  );

  assign acc_valid_o = valid_q[AccCycles-1];

  logic                arrived_columns;
  logic [1:0]          arrived_packing;
  logic [LaneBits-1:0] arrived_index;

  delay_line #(
    .Width (LaneBits + 3),
    .Cycles(ReadCycles)
  ) u_fill_place (
    .clk_i (clk_i),
    .data_i({fill_packing_q, fill_columns_q, fill_row_q}),
    .data_o({arrived_packing, arrived_columns, arrived_index})
  );

  npu_array #(
    .Lanes     (Lanes),
    .Groups    (Groups),
    .ColumnFill(ColumnFill)
  ) u_array (
    .clk_i          (clk_i),
    .fill_valid_i   (f_valid_q2),
    .fill_columns_i (arrived_columns),
    .fill_packing_i (arrived_packing),
    .fill_index_i   (arrived_index),
    .fill_i         (f_data_i),
    .vector_valid_i (valid_q[ReadCycles-1]),
    .vector_signed_i(vector_signed),
    .vector_swap_i  (vector_first),
    .vector_i       (a_data_i),
    .sums_o         (acc_sums_o)
  );

  // Instructions inside, and among them those whose sums are all written.
  logic [2:0] inside_q;
  logic [2:0] finished_q;
  logic       retire;
  logic       retire_valid_q;

  assign retire = retire_valid_q && retire_ready_i;
  assign instr_ready_o = !fill_busy_q && inside_q != 3'(InsideLimit);
  assign retire_valid_o = retire_valid_q;
  assign busy_o = inside_q != '0;
  assign stall_o = fill_busy_q && !stream_busy_q;
  assign progress_o = f_en_o || a_en_o;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      inside_q <= '0;
      finished_q <= '0;
      retire_valid_q <= 1'b0;
    end else begin
      inside_q <= inside_q + 3'(accept) - 3'(retire);
      finished_q <= finished_q + 3'(last_q[WriteCycles-1]) - 3'(retire);
      retire_valid_q <= last_q[WriteCycles-1] ||
                        (retire_valid_q && !(retire && finished_q == 3'd1));
    end
  end

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule
