// SPDX-License-Identifier: Apache-2.0
// One column of the multiplier array: Lanes products of an activation and a weight, and their sum.
//
// Weights are double-buffered: the shadow weights are filled while the active ones multiply; a swap
// makes the shadow weights active.
//
// Contract
// - `fill_rows_i`: the rows whose weights `fill_i` brings.  It holds 2**p of them, p being
//   `fill_packing_i` (0, 1 or 2), each signed and of 8 >> p bits: that of row r is number r modulo
//   2**p, number 0 lowest.  The column that the shadow holds is taken by `swap_i` in a later cycle;
//   the next fill may begin in the cycle of the swap.  With `ColumnFill` a cycle of
//   `column_valid_i` brings the whole column, row 0 lowest.
// - `operand_valid_i`: `operands_i` holds Lanes signed numbers of 9 bits, multiplied by the weights
//   that were active since the cycle before or earlier.
// - `sum_o` follows its operands by exactly 1 + log2(Lanes) cycles and holds until the next one.

module npu_dot #(
  parameter int Lanes = 16,
  parameter int ColumnFill = 0,
  localparam int LaneBits = $clog2(Lanes),
  localparam int SumBits = 17 + LaneBits
) (
  input  logic               clk_i,
  input  logic [Lanes-1:0]   fill_rows_i,
  input  logic [1:0]         fill_packing_i,
  input  logic [7:0]         fill_i,
  input  logic               column_valid_i,
  input  logic [8*Lanes-1:0] column_i,
  input  logic               swap_i,
  input  logic               operand_valid_i,
  input  logic [9*Lanes-1:0] operands_i,
  output logic [SumBits-1:0] sum_o
);

  logic [8*Lanes-1:0] shadow_q;
  logic [8*Lanes-1:0] active_q;
  logic [LaneBits-1:0] valid_q;

  // The weights that rows 0 to 3 find in `fill_i`, and every fourth row after them.
  logic [31:0] weights;

  for (genvar i = 0; i < 4; i++) begin : gen_weight
    assign weights[8*i +: 8] =
        fill_packing_i == 2'd0 ? fill_i :
        fill_packing_i == 2'd1 ? {{4{fill_i[4*(i%2)+3]}}, fill_i[4*(i%2) +: 4]} :
                                 {{6{fill_i[2*i+1]}}, fill_i[2*i +: 2]};
  end

  always_ff @(posedge clk_i) begin
    for (int i = 0; i < Lanes; i++) begin
      if (ColumnFill != 0 && column_valid_i) shadow_q[8*i +: 8] <= column_i[8*i +: 8];
      else if (fill_rows_i[i]) shadow_q[8*i +: 8] <= weights[8*(i%4) +: 8];
    end
    if (swap_i) active_q <= shadow_q;
    valid_q <= {valid_q[LaneBits-2:0], operand_valid_i};
  end

  // The nodes of the adder tree in heap order: node i adds nodes 2i and 2i+1, the products are
  // nodes Lanes to 2*Lanes-1, and node 1 is the sum.  Node i stands at position i - 1 of the bus.
  logic [(2*Lanes-1)*SumBits-1:0] nodes;

  for (genvar i = 0; i < Lanes; i++) begin : gen_product
    logic signed [16:0] product_q;

    always_ff @(posedge clk_i) begin
      if (operand_valid_i) begin
        product_q <= $signed(operands_i[9*i +: 9]) * $signed(active_q[8*i +: 8]);
      end
    end

    assign nodes[(Lanes + i - 1) * SumBits +: SumBits] = {{LaneBits{product_q[16]}}, product_q};
  end

  for (genvar i = 1; i < Lanes; i++) begin : gen_sum
    localparam int Stage = LaneBits - $clog2(i + 1);

    logic [SumBits-1:0] sum_q;

    always_ff @(posedge clk_i) begin
      if (valid_q[Stage]) begin
        sum_q <= nodes[(2 * i - 1) * SumBits +: SumBits] + nodes[2 * i * SumBits +: SumBits];
      end
    end

    assign nodes[(i - 1) * SumBits +: SumBits] = sum_q;
  end

  assign sum_o = nodes[0 +: SumBits];

endmodule
