// SPDX-License-Identifier: Apache-2.0
// One lane of the vector or the window unit: takes one channel's sum, of the accumulators when
// `Columns` is 0, else of the elements of a window, requantises it and looks it up in a table.
//
//   y = clamp((acc*m + r*mr + b) >> s, lo, hi) mod 256, then table[y] when enabled
//
// Contract, with an output's last read issued in cycle 0:
// - `record_valid_i`: `record_i` is the next byte; the last 12 are the record, byte 0 first.
// - `table_valid_i`: `table_i` is word `table_row_i` of the table.
// - The mode inputs hold while an instruction's outputs are inside.  With `high_i` s is 8 more than
//   the record says, at most 63: the high byte of a result of 16 bits, when lo and hi are its too.
// - `read_valid_i`: `read_i` is a word's element of this lane, at cycle 2 for the last one: a
//   window's element, to be multiplied by `tap_i` when `mac_i`, or the residual; with
//   `residual_wide_i` its low byte, and the read before it its high one.  `gather_valid_i` one
//   cycle later takes the element into the sums, `gather_first_i` when it is the first of a
//   window's column (of a window, when it is read row by row).
// - Sums are a chain of `Columns`, each of the columns up to a later one of a window: position p
//   multiplies by byte p of `tap_i`, and with a column's first element continues the sum of
//   position p - 1, or begins a sum where `place_i` is one.  The last is the window's.
// - Without columns the sum is `drain_sum_i` at cycle 3, taken by `gather_valid_i`, and a residual
//   may be wide; a window's sum fits 26 bits, and its residual has 8.
// - `stage_valid_i`: bit k marks that the output was issued k + 4 cycles before, so bit 0 is cycle
//   4.
// - `result_o` is valid at cycle 12.

module npu_lane #(
  parameter int Columns = 5,
  parameter int Lanes = 16,
  localparam int Places = Columns > 0 ? Columns : 1,
  localparam int Width = 8 * Lanes,
  localparam int LaneBits = $clog2(Lanes),
  localparam int TableBits = 8 - LaneBits
) (
  input  logic                 clk_i,
  input  logic                 record_valid_i,
  input  logic [7:0]           record_i,
  input  logic                 table_valid_i,
  input  logic [TableBits-1:0] table_row_i,
  input  logic [Width-1:0]     table_i,
  input  logic                 mac_i,
  input  logic                 max_i,
  input  logic                 signed_i,
  input  logic                 residual_i,
  input  logic                 residual_signed_i,
  input  logic                 residual_wide_i,
  input  logic                 use_table_i,
  input  logic                 high_i,
  input  logic [15:0]          lo_i,
  input  logic [15:0]          hi_i,
  input  logic                 read_valid_i,
  input  logic [7:0]           read_i,
  input  logic [8*Places-1:0]  tap_i,
  input  logic [Places-1:0]    place_i,
  input  logic                 gather_valid_i,
  input  logic                 gather_first_i,
  input  logic [31:0]          drain_sum_i,
  input  logic [7:0]           stage_valid_i,
  output logic [7:0]           result_o
);

  // The record: b in bytes 0-5, m in 6-7, |mr| in 9-10, s and the sign of mr in 11.
  logic        [95:0] record_q;
  logic signed [47:0] b;
  logic signed [16:0] m;
  logic signed [16:0] mr;
  logic        [5:0]  shift;
  logic               subtract;

  always_ff @(posedge clk_i) begin
    if (record_valid_i) record_q <= {record_i, record_q[95:8]};
  end

  assign b = $signed(record_q[47:0]);
  assign m = $signed({1'b0, record_q[63:48]});
  assign mr = $signed({1'b0, record_q[87:72]});
  assign shift = record_q[93:88];
  assign subtract = record_q[94];

  // The residual, or a window's element, cycle 2.
  localparam int ResidualBits = Columns == 0 ? 16 : 9;
  localparam int SumBits = Columns == 0 ? 32 : 26;

  logic        [7:0]              read_q;
  logic        [7:0]              before_q;
  logic        [7:0]              residual_high;
  logic signed [ResidualBits-1:0] residual_q;
  logic signed [SumBits-1:0]      acc_q;

  assign residual_high = residual_wide_i ? before_q : {8{residual_signed_i & read_q[7]}};

  always_ff @(posedge clk_i) begin
    if (read_valid_i) begin
      read_q <= read_i;
      before_q <= read_q;
    end
    residual_q <= residual_i ? ResidualBits'($signed({residual_high, read_q})) : '0;
  end

  // The sum, cycle 3: of a window every element times every tap of its row.
  if (Columns == 0) begin : gen_drain
    logic unused_window;
    assign unused_window = ^{mac_i, max_i, signed_i, tap_i, place_i, gather_first_i};

    always_ff @(posedge clk_i) begin
      if (gather_valid_i) acc_q <= $signed(drain_sum_i);
    end
  end else begin : gen_window
    localparam int PartBits = 24;

    logic signed [8:0]                  element;
    logic        [PartBits*Columns-1:0] parts;
    logic                               unused_sum;

    assign unused_sum = ^drain_sum_i;
    assign element = $signed({signed_i & read_i[7], read_i});
    assign parts[PartBits-1:0] = '0;

    for (genvar p = 0; p < Columns; p++) begin : gen_column
      localparam int Bits = p == Columns - 1 ? SumBits : PartBits;

      logic signed [7:0]      weight;
      logic signed [16:0]     product_q;
      logic signed [Bits-1:0] carried;
      logic signed [Bits-1:0] column_q;
      logic                   larger;

      assign weight = mac_i ? $signed(tap_i[8*p +: 8]) : 8'sd1;
      assign carried = gather_first_i ? Bits'($signed(parts[PartBits*p +: PartBits])) : column_q;
      assign larger = $signed(product_q[8:0]) > $signed(carried[8:0]);

      always_ff @(posedge clk_i) begin
        if (read_valid_i) product_q <= element * weight;
        if (gather_valid_i) begin
          column_q <= gather_first_i && place_i[p] ? Bits'(product_q) :
                      !max_i ? carried + Bits'(product_q) :
                      larger ? Bits'(product_q) : carried;
        end
      end

      if (p < Columns - 1) begin : gen_inner
        assign parts[PartBits*(p+1) +: PartBits] = column_q;
      end else begin : gen_last
        assign acc_q = column_q;
      end
    end
  end

  // Requantise: partial products, two sums, their sum, a shift by eights and one by units, clamp.
  logic signed [SumBits:0]         high_q;
  logic        [31:0]              low_q;
  logic signed [ResidualBits+16:0] side_q;
  logic        [47:0]              main_q;
  logic        [47:0]              bias_q;
  logic signed [47:0]              sum_q;
  logic        [2:0]               eights_q;
  logic signed [47:0]              coarse_q;
  logic signed [47:0]              fine_q;
  logic        [7:0]               clamped_q;
  logic                            too_low;
  logic                            too_high;

  assign too_low = fine_q < 48'($signed(lo_i));
  assign too_high = fine_q > 48'($signed(hi_i));

  always_ff @(posedge clk_i) begin
    if (stage_valid_i[0]) begin
      high_q <= $signed(acc_q[SumBits-1:16]) * m;
      low_q <= acc_q[15:0] * m[15:0];
      side_q <= residual_q * mr;
    end
    if (stage_valid_i[1]) begin
      main_q <= (48'(high_q) << 16) + 48'(low_q);
      bias_q <= subtract ? b - 48'(side_q) : b + 48'(side_q);
    end
    if (stage_valid_i[2]) sum_q <= $signed(main_q + bias_q);
    eights_q <= shift[5:3] + 3'(high_i);
    if (stage_valid_i[3]) coarse_q <= sum_q >>> {eights_q, 3'b000};
    if (stage_valid_i[4]) fine_q <= coarse_q >>> shift[2:0];
    if (stage_valid_i[5]) clamped_q <= too_low ? lo_i[7:0] : too_high ? hi_i[7:0] : fine_q[7:0];
  end

  // Look up: a word of the table, then a byte of it; or the clamped number past both.
  logic [Width-1:0]    table_word;
  logic [LaneBits-1:0] byte_q;
  logic [7:0]          bypass_q;

  ram_1r1w #(
    .Width(Width),
    .Depth(256 / Lanes)
  ) u_table (
    .clk_i       (clk_i),
    .read_en_i   (stage_valid_i[6]),
    .read_addr_i (clamped_q[7:LaneBits]),
    .read_data_o (table_word),
    .write_en_i  (table_valid_i),
    .write_addr_i(table_row_i),
    .write_data_i(table_i)
  );

  always_ff @(posedge clk_i) begin
    if (stage_valid_i[6]) begin
      byte_q <= clamped_q[LaneBits-1:0];
      bypass_q <= clamped_q;
    end
    if (stage_valid_i[7]) result_o <= use_table_i ? table_word[{byte_q, 3'b000} +: 8] : bypass_q;
  end

endmodule
