// SPDX-License-Identifier: Apache-2.0
// Gathers the results of a norm in words and writes them, one of each row of a block.
//
// Contract
// - `start_i` begins a block: its first row's word goes to `address_i`, every next one to
//   `row_stride_i` behind it.  With `wide_i` the word of the high bytes goes `high_offset_i` further
//   on.  These inputs hold until the last word is written.
// - In a cycle of `slice_valid_i` come `Pipes` results of 16 bits, with `word_last_i` in the last of
//   a word's Lanes / Pipes slices.  The word of the low bytes is written in the next cycle, that of
//   the high bytes one later; so with `wide_i` words end 2 cycles apart or more.  `block_last_i` comes
//   with the block's last `word_last_i`, `over_o` in the cycle of its last write.

module npu_norm_results #(
  parameter int Lanes = 16,
  parameter int Pipes = 4,
  parameter int ActWords = 8192,
  localparam int Width = 8 * Lanes,
  localparam int ActAddr = $clog2(ActWords)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  input  logic                wide_i,
  input  logic [ActAddr-1:0]  address_i,
  input  logic [ActAddr-1:0]  row_stride_i,
  input  logic [ActAddr-1:0]  high_offset_i,
  input  logic                slice_valid_i,
  input  logic                word_last_i,
  input  logic [16*Pipes-1:0] results_i,
  input  logic                block_last_i,
  output logic                over_o,
  output logic                vw_valid_o,
  output logic [ActAddr-1:0]  vw_addr_o,
  output logic [Width-1:0]    vw_data_o
);

  // Results fill a word from its upper end, the high bytes a cycle after the low ones.
  logic [8*Pipes-1:0] low;
  logic [8*Pipes-1:0] high;
  logic [8*Pipes-1:0] high_q;
  logic               slice_q;
  logic [Width-1:0]   low_word_q;
  logic [Width-1:0]   high_word_q;

  for (genvar p = 0; p < Pipes; p++) begin : gen_pipe
    assign low[8*p +: 8] = results_i[16*p +: 8];
    assign high[8*p +: 8] = results_i[16*p + 8 +: 8];
  end

  always_ff @(posedge clk_i) begin
    slice_q <= slice_valid_i;
    high_q <= high;
  end

  if (Pipes == Lanes) begin : gen_whole
    always_ff @(posedge clk_i) begin
      low_word_q <= low;
      high_word_q <= high_q;
    end

    logic unused_slice;
    assign unused_slice = slice_q;
  end else begin : gen_slices
    always_ff @(posedge clk_i) begin
      if (slice_valid_i) low_word_q <= {low, low_word_q[Width-1:8*Pipes]};
      if (slice_q) high_word_q <= {high_q, high_word_q[Width-1:8*Pipes]};
    end
  end

  // The writes.
  logic               low_write_q;
  logic               high_write_q;
  logic               low_over_q;
  logic               high_over_q;
  logic [ActAddr-1:0] low_addr_q;
  logic [ActAddr-1:0] high_addr_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      low_write_q <= 1'b0;
      high_write_q <= 1'b0;
      low_over_q <= 1'b0;
      high_over_q <= 1'b0;
    end else begin
      low_write_q <= word_last_i;
      high_write_q <= low_write_q && wide_i;
      low_over_q <= block_last_i;
      high_over_q <= low_over_q && wide_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) low_addr_q <= address_i;
    else if (low_write_q) low_addr_q <= low_addr_q + row_stride_i;
    high_addr_q <= low_addr_q + high_offset_i;
  end

  assign over_o = wide_i ? high_over_q : low_over_q;
  assign vw_valid_o = low_write_q || high_write_q;
  assign vw_addr_o = high_write_q ? high_addr_q : low_addr_q;
  assign vw_data_o = high_write_q ? high_word_q : low_word_q;

endmodule
