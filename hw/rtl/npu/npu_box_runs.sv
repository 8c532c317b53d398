// SPDX-License-Identifier: Apache-2.0
// Walks the memory side of a LOAD or STORE and emits its runs of consecutive beats.
//
// A run is one row of `words` words, or with `contiguous` all rows of a plane (at most 2^24 - 1
// words). `box_valid_i` takes an instruction; its first run is valid two cycles later, then one a
// cycle.  A box without planes, rows or words has no runs.  `run_last_o` marks the last run of the
// box.  Byte addresses are `base_i` plus the instruction's, and must be multiples of `MemBytes`.

module npu_box_runs #(
  parameter int Lanes    = 16,
  parameter int MemBytes = 16,
  parameter int AddrBits = 40,
  parameter int RunBits  = 28,
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic [AddrBits-1:0]  base_i,

  input  logic                 box_valid_i,
  output logic                 box_ready_o,
  input  logic [InstrBits-1:0] instr_i,

  output logic                 run_valid_o,
  input  logic                 run_ready_i,
  output logic [AddrBits-1:0]  run_addr_o,
  output logic [RunBits-1:0]   run_beats_o,
  output logic                 run_last_o
);
  localparam int BeatShift = $clog2(Lanes / MemBytes);

  logic [39:0] address;
  logic [31:0] row_stride, plane_stride;
  logic [15:0] planes, rows, words;
  logic contiguous, unused_instr;

  assign address = {
    instr_i[npu_isa_pkg::DMA_MEMORY_ADDRESS_HIGH_LSB +: npu_isa_pkg::DMA_MEMORY_ADDRESS_HIGH_BITS],
    instr_i[npu_isa_pkg::DMA_MEMORY_ADDRESS_LSB +: npu_isa_pkg::DMA_MEMORY_ADDRESS_BITS]
  };
  assign row_stride = instr_i[npu_isa_pkg::DMA_MEMORY_ROW_STRIDE_LSB +: 32];
  assign plane_stride = instr_i[npu_isa_pkg::DMA_MEMORY_PLANE_STRIDE_LSB +: 32];
  assign planes = instr_i[npu_isa_pkg::DMA_PLANES_LSB +: 16];
  assign rows = instr_i[npu_isa_pkg::DMA_ROWS_LSB +: 16];
  assign words = instr_i[npu_isa_pkg::DMA_WORDS_LSB +: 16];
  assign contiguous = instr_i[npu_isa_pkg::DMA_CONTIGUOUS_LSB];
  assign unused_instr = ^instr_i;

  // Whether the run at hand ends a plane or the box is worked out a run ahead.
  logic free_q, setup_q, walk_q, begins, goes_on, empty, taken;
  logic row_end_q, plane_end_q, one_row, one_row_q;
  logic [AddrBits-1:0] addr_q, plane_addr_q;
  logic [31:0] row_stride_q, plane_stride_q;
  logic [23:0] run_words_q;
  logic [15:0] row_count_q, row_left_q, plane_left_q, words_q;
  logic contiguous_q;

  assign empty       = planes == '0 || rows == '0 || words == '0;
  assign box_ready_o = free_q;
  assign run_valid_o = walk_q;
  assign run_addr_o  = addr_q;
  assign run_beats_o = RunBits'(run_words_q) << BeatShift;
  assign one_row     = contiguous || rows == 16'd1;
  assign run_last_o  = row_end_q && plane_end_q;
  assign taken       = run_valid_o && run_ready_i;
  assign begins      = box_valid_i && free_q && !empty;
  assign goes_on     = setup_q || (walk_q && !(taken && run_last_o));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      free_q  <= 1'b1;
      setup_q <= 1'b0;
      walk_q  <= 1'b0;
    end else begin
      free_q  <= !begins && !goes_on;
      setup_q <= begins;
      walk_q  <= goes_on;
    end
  end

  always_ff @(posedge clk_i) begin
    if (box_ready_o) begin
      addr_q         <= AddrBits'(address);
      row_stride_q   <= row_stride;
      plane_stride_q <= plane_stride;
      row_count_q    <= rows;
      row_left_q     <= rows;
      plane_left_q   <= planes;
      words_q        <= words;
      contiguous_q   <= contiguous;
      one_row_q      <= one_row;
      row_end_q      <= one_row;
      plane_end_q    <= planes == 16'd1;
    end else if (setup_q) begin
      addr_q       <= addr_q + base_i;
      plane_addr_q <= addr_q + base_i;
      run_words_q  <= contiguous_q ? 24'(words_q) * 24'(row_count_q) : 24'(words_q);
    end else if (taken && row_end_q) begin
      addr_q       <= plane_addr_q + AddrBits'(plane_stride_q);
      plane_addr_q <= plane_addr_q + AddrBits'(plane_stride_q);
      row_left_q   <= row_count_q;
      plane_left_q <= plane_left_q - 1'b1;
      row_end_q    <= one_row_q;
      plane_end_q  <= plane_left_q == 16'd2;
    end else if (taken) begin
      addr_q     <= addr_q + AddrBits'(row_stride_q);
      row_left_q <= row_left_q - 1'b1;
      row_end_q  <= row_left_q == 16'd2;
    end
  end
endmodule
