// SPDX-License-Identifier: Apache-2.0
// The multiplier array: Lanes rows by Cols = Groups * Lanes columns, weight stationary.
//
// Contract
// - `fill_valid_i`: `fill_i` is word `fill_index_i` of the tile to come, column c in byte c.  A byte
//   holds the weights of 2**p rows, from row 2**p * `fill_index_i` on in its lowest bits, p being
//   `fill_packing_i`: 0, 1 or 2.  With `ColumnFill` and `fill_columns_i` the word is Groups whole
//   columns of bytes instead, word g column g * Lanes + `fill_index_i`; a tile is filled by rows or
//   by columns.
// - `vector_valid_i`: `vector_i` holds Lanes activations of 8 bits, signed when `vector_signed_i`.
//   With `vector_swap_i` the tile to come, filled in earlier cycles, applies from this vector on;
//   the fill of the next tile may begin in the same cycle.
// - `sums_o`, Cols sums of 32 bits, follow their vector by exactly 2 + log2(Lanes) cycles.

module npu_array #(
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int ColumnFill = 0,
  localparam int Cols = Groups * Lanes,
  localparam int LaneBits = $clog2(Lanes)
) (
  input  logic                clk_i,
  input  logic                fill_valid_i,
  input  logic                fill_columns_i,
  input  logic [1:0]          fill_packing_i,
  input  logic [LaneBits-1:0] fill_index_i,
  input  logic [8*Cols-1:0]   fill_i,
  input  logic                vector_valid_i,
  input  logic                vector_signed_i,
  input  logic                vector_swap_i,
  input  logic [8*Lanes-1:0]  vector_i,
  output logic [32*Cols-1:0]  sums_o
);

  localparam int SumBits = 17 + $clog2(Lanes);

  logic               operand_valid_q;
  logic [9*Lanes-1:0] operands_q;

  always_ff @(posedge clk_i) begin
    operand_valid_q <= vector_valid_i;
    if (vector_valid_i) begin
      for (int i = 0; i < Lanes; i++) begin
        operands_q[9*i +: 9] <= {vector_signed_i & vector_i[8*i+7], vector_i[8*i +: 8]};
      end
    end
  end

  logic             fill_by_rows;
  logic [Lanes-1:0] fill_rows;

  assign fill_by_rows = fill_valid_i && !(ColumnFill != 0 && fill_columns_i);

  for (genvar r = 0; r < Lanes; r++) begin : gen_row
    assign fill_rows[r] = fill_by_rows && fill_index_i == LaneBits'(r) >> fill_packing_i;
  end

  for (genvar c = 0; c < Cols; c++) begin : gen_column
    localparam int Group = c / Lanes;

    logic               column_valid;
    logic [SumBits-1:0] sum;

    assign column_valid = fill_valid_i && fill_columns_i && fill_index_i == LaneBits'(c % Lanes);

    npu_dot #(
      .Lanes     (Lanes),
      .ColumnFill(ColumnFill)
    ) u_dot (
      .clk_i          (clk_i),
      .fill_rows_i    (fill_rows),
      .fill_packing_i (fill_packing_i),
      .fill_i         (fill_i[8*c +: 8]),
      .column_valid_i (column_valid),
      .column_i       (fill_i[8*Lanes*Group +: 8*Lanes]),
      .swap_i         (vector_valid_i && vector_swap_i),
      .operand_valid_i(operand_valid_q),
      .operands_i     (operands_q),
      .sum_o          (sum)
    );

    assign sums_o[32*c +: 32] = {{(32 - SumBits){sum[SumBits-1]}}, sum};
  end

endmodule
