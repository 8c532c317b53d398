// SPDX-License-Identifier: Apache-2.0
// Says which row of a SOFTMAX is walked over next, what for, and where it lies.
//
// Contract
// - `start_i` comes with a SOFTMAX whose count of rows P is at least 1, when the walks of the one
//   before have all begun and what they found is known.
// - A walk begins in the cycle of `go_o`, which waits for `ready_i`; the first in the cycle after
//   `start_i` or later.  `walk_o` says what it is for: 0 the row's maximum, 1 its sum, 2 its results;
//   `row_o` is its number modulo 4, `source_o` and `mask_source_o` are its first words.
// - The walks of rows 0 to P - 1 go maximum 0, sum 0, maximum 1, sum 1, then by turns maximum k,
//   results k - 2, sum k, and at last results P - 2 and P - 1.
// - `maximum_i` is high in a cycle in which the maximum asked for last becomes known, `reciprocal_i`
//   when the reciprocal of a sum does, in their order.  A sum begins behind its maximum and the
//   reciprocal before its own, results behind their reciprocal.

module npu_softmax_walks #(
  parameter int ActWords = 8192,
  localparam int ActAddr = $clog2(ActWords)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               start_i,
  input  logic [511:0]       instr_i,
  input  logic               ready_i,
  input  logic               maximum_i,
  input  logic               reciprocal_i,
  output logic               go_o,
  output logic [1:0]         walk_o,
  output logic [1:0]         row_o,
  output logic [ActAddr-1:0] source_o,
  output logic [ActAddr-1:0] mask_source_o
);

  localparam int Walks = 3;
  localparam logic [1:0] WalkMaximum = 2'd0;
  localparam logic [1:0] WalkSum = 2'd1;
  localparam logic [1:0] WalkScale = 2'd2;

  // Of rows whose maximum is begun and whose results are not, there are `ahead_q`; the last of them
  // owes its sum when `owing_q`.
  logic        walking_q;
  logic [1:0]  walk_q;
  logic [1:0]  walk_d;
  logic [15:0] unread_q;
  logic [1:0]  ahead_q;
  logic [1:0]  ahead_d;
  logic        owing_q;
  logic        maximum_known_q;
  logic        summing_q;
  logic [1:0]  reciprocals_q;
  logic [1:0]  read_row_q;
  logic [1:0]  made_row_q;
  logic        known;
  logic        begin_maximum;
  logic        begin_sum;
  logic        begin_scale;

  assign known = walk_q == WalkMaximum ? 1'b1 :
                 walk_q == WalkSum ? maximum_known_q && !summing_q : reciprocals_q != 2'd0;
  assign go_o = walking_q && ready_i && known;
  assign begin_maximum = go_o && walk_q == WalkMaximum;
  assign begin_sum = go_o && walk_q == WalkSum;
  assign begin_scale = go_o && walk_q == WalkScale;
  assign ahead_d = ahead_q + {1'b0, begin_maximum} - {1'b0, begin_scale};
  assign walk_o = walk_q;
  assign row_o = walk_q == WalkMaximum ? read_row_q :
                 walk_q == WalkSum ? read_row_q - 2'd1 : made_row_q;

  always_comb begin
    walk_d = WalkScale;
    case (walk_q)
      WalkMaximum: if (ahead_d != 2'd3) walk_d = WalkSum;
      WalkSum: if (unread_q != 16'd0) walk_d = WalkMaximum;
      default: if (owing_q) walk_d = WalkSum;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      walking_q <= 1'b0;
      maximum_known_q <= 1'b0;
      summing_q <= 1'b0;
      reciprocals_q <= '0;
    end else begin
      walking_q <= start_i || (walking_q && !(begin_scale && ahead_d == 2'd0));
      maximum_known_q <= maximum_i || (maximum_known_q && !begin_sum);
      summing_q <= begin_sum || (summing_q && !reciprocal_i);
      reciprocals_q <= reciprocals_q + {1'b0, reciprocal_i} - {1'b0, begin_scale};
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      walk_q <= WalkMaximum;
      ahead_q <= '0;
      owing_q <= 1'b0;
      read_row_q <= '0;
      made_row_q <= '0;
      unread_q <= instr_i[npu_isa_pkg::ROW_ROWS_LSB +: 16];
    end else if (go_o) begin
      walk_q <= walk_d;
      ahead_q <= ahead_d;
      owing_q <= begin_maximum || (owing_q && !begin_sum);
      read_row_q <= read_row_q + {1'b0, begin_maximum};
      made_row_q <= made_row_q + {1'b0, begin_scale};
      unread_q <= unread_q - {15'd0, begin_maximum};
    end
  end

  // Every kind of walk has a row of its own.
  logic [ActAddr-1:0]       row_stride_q;
  logic [ActAddr-1:0]       mask_row_stride_q;
  logic [Walks*ActAddr-1:0] sources;
  logic [Walks*ActAddr-1:0] mask_sources;

  assign source_o = sources[ActAddr*walk_q +: ActAddr];
  assign mask_source_o = mask_sources[ActAddr*walk_q +: ActAddr];

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::ROW_SOURCE_ROW_STRIDE_LSB +: 16]);
      mask_row_stride_q <= ActAddr'(instr_i[npu_isa_pkg::SOFTMAX_MASK_ROW_STRIDE_LSB +: 16]);
    end
  end

  for (genvar w = 0; w < Walks; w++) begin : gen_walk
    logic [ActAddr-1:0] source_q;
    logic [ActAddr-1:0] mask_source_q;

    assign sources[ActAddr*w +: ActAddr] = source_q;
    assign mask_sources[ActAddr*w +: ActAddr] = mask_source_q;

    always_ff @(posedge clk_i) begin
      if (start_i) begin
        source_q <= instr_i[npu_isa_pkg::ROW_SOURCE_ADDRESS_LSB +: ActAddr];
        mask_source_q <= instr_i[npu_isa_pkg::SOFTMAX_MASK_ADDRESS_LSB +: ActAddr];
      end else if (go_o && walk_q == 2'(w)) begin
        source_q <= source_q + row_stride_q;
        mask_source_q <= mask_source_q + mask_row_stride_q;
      end
    end
  end

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule
