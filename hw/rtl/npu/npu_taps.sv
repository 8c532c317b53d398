// SPDX-License-Identifier: Apache-2.0
// Taps of a depthwise window: one RAM a position in the chain of `Columns` columns.
//
// Contract
// - `place_i` is one-hot and holds while an instruction is inside: the position of the window's
//   first column; its last column is at position Columns - 1.
// - Words arrive row after row with `write_valid_i`, the first of them with `write_first_i`: column
//   after column of a row from the first position to the last, then the next row.  There are at
//   most MAX_TAPS of them.
// - With `read_en_i` the words of row `read_row_i` are in `read_data_o` one cycle later, position p
//   at bits p * Width; a position before the first column holds anything.

module npu_taps #(
  parameter int Columns = 5,
  parameter int Width = 128,
  localparam int RowBits = $clog2(npu_isa_pkg::MAX_TAPS)
) (
  input  logic                     clk_i,
  input  logic [Columns-1:0]       place_i,
  input  logic                     write_valid_i,
  input  logic                     write_first_i,
  input  logic [Width-1:0]         write_data_i,
  input  logic                     read_en_i,
  input  logic [RowBits-1:0]       read_row_i,
  output logic [Columns*Width-1:0] read_data_o
);

  logic [Columns-1:0] place;
  logic [Columns-1:0] place_q;
  logic [RowBits-1:0] row;
  logic [RowBits-1:0] row_q;

  assign place = write_first_i ? place_i : place_q;
  assign row = write_first_i ? '0 : row_q;

  always_ff @(posedge clk_i) begin
    if (write_valid_i) begin
      place_q <= place[Columns-1] ? place_i : place << 1;
      row_q <= row + RowBits'(place[Columns-1]);
    end
  end

  // A window whose first column is at position p has at least Columns - p columns, and so at most
  // MAX_TAPS / (Columns - p) rows.
  for (genvar p = 0; p < Columns; p++) begin : gen_column
    localparam int Bits = RowBits + 1 - $clog2(Columns - p + 1);

    ram_1r1w #(
      .Width(Width),
      .Depth(2 ** Bits)
    ) u_ram (
      .clk_i       (clk_i),
      .read_en_i   (read_en_i),
      .read_addr_i (read_row_i[Bits-1:0]),
      .read_data_o (read_data_o[p*Width +: Width]),
      .write_en_i  (write_valid_i && place[p]),
      .write_addr_i(row[Bits-1:0]),
      .write_data_i(write_data_i)
    );
  end

  // Rows that the positions of few columns alone reach.
  logic unused_rows;
  assign unused_rows = ^{row, read_row_i};

endmodule
