// SPDX-License-Identifier: Apache-2.0
// Reads rows of a tensor, a block of lanes after the other, and hands on Pipes elements a cycle.
//
// An element is one byte, or two when `wide_i`: the words of the high bytes lie `high_offset_i`
// behind those of the low ones.  With `mask_i` a word of flags is read beside every block.
//
// Contract
// - `start_i` begins a row, only while `ready_o` is high, which it is again in the last cycle of the
//   row's last block.  What begins a row is `blocks_i`, `source_i`, `mask_source_i` and `tag_i`; the
//   other settings hold until the last slice of all rows.
// - Let R be the words of a block (1, one more when wide, one more with a mask), S = Lanes / Pipes and
//   T = max(R, S), at least 2 with `double_i`.  After a start in cycle 0 the words of block k are read
//   in cycles 1 + k*T to R + k*T, later by every cycle in which `vr_ready_i` held one up, and its
//   slices come in the S cycles from 3 + R + k*T on.
// - Data of a read follow exactly 2 cycles after its handshake.
// - `slice_valid_o`: `elements_o` are signed numbers of 17 bits, `kept_o` those that are not masked
//   and among the first `entries_i` of the row; `tag_o` is the row's tag, `row_first_o` marks its
//   first slice, `block_last_o` the last one of a block, `row_last_o` that of the row.

module npu_row_words #(
  parameter int Lanes = 16,
  parameter int Pipes = 4,
  parameter int ActWords = 8192,
  parameter int TagBits = 1,
  localparam int Width = 8 * Lanes,
  localparam int Slices = Lanes / Pipes,
  localparam int ActAddr = $clog2(ActWords)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  output logic                ready_o,
  input  logic [TagBits-1:0]  tag_i,
  input  logic                double_i,
  input  logic                signed_i,
  input  logic                wide_i,
  input  logic                mask_i,
  input  logic [15:0]         blocks_i,
  input  logic [16:0]         entries_i,
  input  logic [ActAddr-1:0]  source_i,
  input  logic [ActAddr-1:0]  block_stride_i,
  input  logic [ActAddr-1:0]  high_offset_i,
  input  logic [ActAddr-1:0]  mask_source_i,
  input  logic [ActAddr-1:0]  mask_stride_i,
  output logic                vr_valid_o,
  input  logic                vr_ready_i,
  output logic [ActAddr-1:0]  vr_addr_o,
  input  logic [Width-1:0]    vr_data_i,
  input  logic                vr_data_valid_i,
  output logic                slice_valid_o,
  output logic [17*Pipes-1:0] elements_o,
  output logic [Pipes-1:0]    kept_o,
  output logic [TagBits-1:0]  tag_o,
  output logic                row_first_o,
  output logic                block_last_o,
  output logic                row_last_o
);

  localparam int SliceBits = Slices > 1 ? $clog2(Slices) : 1;
  localparam int BeatBits = $clog2(Slices + 4);
  localparam logic [1:0] KindLow = 2'd0;
  localparam logic [1:0] KindHigh = 2'd1;
  localparam logic [1:0] KindMask = 2'd2;

  // Reads: a block's words in its first beats, then idle beats up to the period.
  logic                reading_q;
  logic                first_q;
  logic [TagBits-1:0]  tag_q;
  logic [BeatBits-1:0] beat_q;
  logic [15:0]         blocks_left_q;
  logic [ActAddr-1:0]  low_addr_q;
  logic [ActAddr-1:0]  mask_addr_q;
  logic [BeatBits-1:0] reads;
  logic [BeatBits-1:0] least;
  logic [BeatBits-1:0] period;
  logic [1:0]          kind;
  logic                is_read;
  logic                is_block_read;
  logic                step;
  logic                beat_last;
  logic                row_read;

  assign reads = BeatBits'(1) + BeatBits'(wide_i) + BeatBits'(mask_i);
  assign least = Slices == 1 && double_i ? BeatBits'(2) : BeatBits'(Slices);
  assign period = reads > least ? reads : least;
  assign kind = beat_q == '0 ? KindLow :
                beat_q == BeatBits'(1) && wide_i ? KindHigh : KindMask;
  assign is_read = beat_q < reads;
  assign is_block_read = beat_q + BeatBits'(1) == reads;
  assign beat_last = beat_q + BeatBits'(1) == period;
  assign vr_valid_o = reading_q && is_read;
  assign vr_addr_o = kind == KindLow ? low_addr_q :
                     kind == KindHigh ? low_addr_q + high_offset_i : mask_addr_q;
  assign step = reading_q && (!is_read || vr_ready_i);

  assign row_read = step && beat_last && blocks_left_q == 16'd1;
  assign ready_o = !reading_q || row_read;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) reading_q <= 1'b0;
    else if (start_i) reading_q <= 1'b1;
    else if (row_read) reading_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      beat_q <= '0;
      first_q <= 1'b1;
      tag_q <= tag_i;
      blocks_left_q <= blocks_i;
      low_addr_q <= source_i;
      mask_addr_q <= mask_source_i;
    end else if (step) begin
      beat_q <= beat_last ? '0 : beat_q + BeatBits'(1);
      if (beat_last) begin
        first_q <= 1'b0;
        blocks_left_q <= blocks_left_q - 16'd1;
        low_addr_q <= low_addr_q + block_stride_i;
        mask_addr_q <= mask_addr_q + mask_stride_i;
      end
    end
  end

  // What is read, beside the read.
  logic [TagBits+4:0] beside;
  logic [TagBits-1:0] arrived_tag;
  logic [1:0]         arrived;
  logic               arrived_block;
  logic               arrived_row;
  logic               arrived_first;

  delay_line #(
    .Width (TagBits + 5),
    .Cycles(2)
  ) u_beside (
    .clk_i (clk_i),
    .data_i({tag_q, first_q, blocks_left_q == 16'd1, is_block_read, kind}),
    .data_o(beside)
  );

  assign {arrived_tag, arrived_first, arrived_row, arrived_block, arrived} = beside;

  // A block's words arrive one after the other and leave in slices.
  logic [Width-1:0] low_q;
  logic [Width-1:0] high_q;
  logic [Width-1:0] low;
  logic [Width-1:0] high;
  logic [Width-1:0] low_slices_q;
  logic [Width-1:0] high_slices_q;
  logic [Width-1:0] mask_slices_q;
  logic             load;

  assign load = vr_data_valid_i && arrived_block;
  assign low = arrived == KindLow ? vr_data_i : low_q;
  assign high = arrived == KindHigh ? vr_data_i : high_q;

  always_ff @(posedge clk_i) begin
    if (vr_data_valid_i && arrived == KindLow) low_q <= vr_data_i;
    if (vr_data_valid_i && arrived == KindHigh) high_q <= vr_data_i;
    if (load) begin
      low_slices_q <= low;
      high_slices_q <= high;
      mask_slices_q <= vr_data_i;
    end else begin
      low_slices_q <= low_slices_q >> (8 * Pipes);
      high_slices_q <= high_slices_q >> (8 * Pipes);
      mask_slices_q <= mask_slices_q >> (8 * Pipes);
    end
  end

  logic                 valid_q;
  logic                 first_block_q;
  logic                 row_block_q;
  logic [SliceBits-1:0] slice_q;
  logic [16:0]          left_q;

  assign slice_valid_o = valid_q;
  assign row_first_o = slice_q == '0 && first_block_q;
  assign block_last_o = slice_q == SliceBits'(Slices - 1);
  assign row_last_o = block_last_o && row_block_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else if (load) valid_q <= 1'b1;
    else if (block_last_o) valid_q <= 1'b0;
  end

  always_ff @(posedge clk_i) begin
    if (load) begin
      slice_q <= '0;
      first_block_q <= arrived_first;
      row_block_q <= arrived_row;
      tag_o <= arrived_tag;
    end else begin
      slice_q <= slice_q + SliceBits'(1);
    end
    if (load && arrived_first) left_q <= entries_i;
    else if (valid_q) left_q <= left_q > 17'(Pipes) ? left_q - 17'(Pipes) : '0;
  end

  for (genvar p = 0; p < Pipes; p++) begin : gen_element
    logic [7:0] first;
    logic [7:0] second;

    assign first = low_slices_q[8*p +: 8];
    assign second = wide_i ? high_slices_q[8*p +: 8] : {8{signed_i & first[7]}};
    assign elements_o[17*p +: 17] = {signed_i & second[7], second, first};
    assign kept_o[p] = left_q > 17'(p) && (!mask_i || mask_slices_q[8*p]);
  end

endmodule
