// SPDX-License-Identifier: Apache-2.0
// Adds up the elements of a row and their squares.
//
// Contract
// - A row begins in the cycle of `start_i`; a slice of `Pipes` elements counts in every cycle of
//   `slice_valid_i`, the last one also with `last_i`.
// - Each pipe adds up on its own, and has all of the row in the cycle of `summed_o`, two after the
//   last slice.  Then the pipes are folded: `folded_o` is low in the next `Pipes` + 1 cycles and
//   from then on, until another row is folded, high with `sum_o` and `squares_o`.

module npu_row_sums #(
  parameter int Pipes = 4
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  input  logic                slice_valid_i,
  input  logic                last_i,
  input  logic [17*Pipes-1:0] elements_i,
  output logic                summed_o,
  output logic                folded_o,
  output logic signed [32:0]  sum_o,
  output logic [47:0]         squares_o
);

  localparam int PipeBits = Pipes > 1 ? $clog2(Pipes) : 1;

  logic [33*Pipes-1:0] sums;
  logic [48*Pipes-1:0] squares;
  logic                slice_q;
  logic [1:0]          last_q;
  logic                clear_q;
  logic [PipeBits:0]   fold_q;
  logic                all;

  assign summed_o = last_q[1];
  assign all = fold_q == (PipeBits+1)'(Pipes);
  assign folded_o = all && !clear_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slice_q <= 1'b0;
      last_q <= '0;
      clear_q <= 1'b0;
    end else begin
      slice_q <= slice_valid_i;
      last_q <= {last_q[0], slice_valid_i && last_i};
      clear_q <= summed_o;
    end
  end

  always_ff @(posedge clk_i) begin
    if (clear_q) begin
      fold_q <= '0;
      sum_o <= '0;
      squares_o <= '0;
    end else if (!all) begin
      fold_q <= fold_q + (PipeBits+1)'(1);
      sum_o <= sum_o + $signed(sums[33*fold_q[PipeBits-1:0] +: 33]);
      squares_o <= squares_o + squares[48*fold_q[PipeBits-1:0] +: 48];
    end
  end

  for (genvar p = 0; p < Pipes; p++) begin : gen_pipe
    logic signed [16:0] element;
    logic signed [16:0] element_q;
    logic        [32:0] square_q;
    logic signed [32:0] sum_q;
    logic        [47:0] squares_q;

    assign element = $signed(elements_i[17*p +: 17]);
    assign sums[33*p +: 33] = sum_q;
    assign squares[48*p +: 48] = squares_q;

    always_ff @(posedge clk_i) begin
      element_q <= element;
      square_q <= 33'(element * element);
      if (start_i) begin
        sum_q <= '0;
        squares_q <= '0;
      end else if (slice_q) begin
        sum_q <= sum_q + 33'(element_q);
        squares_q <= squares_q + 48'(square_q);
      end
    end
  end

endmodule
