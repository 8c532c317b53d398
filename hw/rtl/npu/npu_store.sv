// SPDX-License-Identifier: Apache-2.0
// Executes STORE: moves boxes from the activation buffer to memory.
//
// Reads of the buffer, bursts and acknowledgements are decoupled: the next instruction is taken
// once the runs and reads of the one before are out, and up to 8 may wait for memory.  An
// instruction retires, in order, when memory has acknowledged its last burst.  An empty box retires
// once nothing is before it.
//
// Issue to first run and to first buffer read: two cycles; a buffer word, read two cycles
// after its request was accepted, is on the W channel at the earliest 5 cycles after it (6 when a
// word has several beats).

module npu_store #(
  parameter int Lanes    = 16,
  parameter int ActWords = 8192,
  parameter int MemBytes = 16,
  parameter int AddrBits = 40,
  parameter int RunBits  = 28,
  localparam int WordBits    = 8 * Lanes,
  localparam int InstrBits   = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int ActAddrBits = $clog2(ActWords)
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,
  input  logic [AddrBits-1:0]    base_i,

  input  logic                   instr_valid_i,
  output logic                   instr_ready_o,
  input  logic [InstrBits-1:0]   instr_i,
  output logic                   retire_valid_o,
  input  logic                   retire_ready_i,
  output logic                   busy_o,
  output logic                   stall_o,
  output logic                   progress_o,

  output logic                   act_valid_o,
  input  logic                   act_ready_i,
  output logic [ActAddrBits-1:0] act_addr_o,
  input  logic [WordBits-1:0]    act_data_i,
  input  logic                   act_data_valid_i,

  output logic                   run_valid_o,
  input  logic                   run_ready_i,
  output logic [AddrBits-1:0]    run_addr_o,
  output logic [RunBits-1:0]     run_beats_o,
  output logic                   run_last_o,
  output logic                   data_valid_o,
  input  logic                   data_ready_i,
  output logic [8*MemBytes-1:0]  data_o,
  input  logic                   done_i
);
  localparam int DataDepth = 16;
  localparam int Inside    = 8;
  localparam int HeldBits  = $clog2(DataDepth + 1);

  logic [3:0] inside_q, finished_q;
  logic some_q, empty_q, empty_done_q, empty, take, retire;
  logic runs_ready, words_ready;

  assign empty = instr_i[npu_isa_pkg::DMA_PLANES_LSB +: 16] == '0
              || instr_i[npu_isa_pkg::DMA_ROWS_LSB +: 16] == '0
              || instr_i[npu_isa_pkg::DMA_WORDS_LSB +: 16] == '0;
  assign instr_ready_o = runs_ready && words_ready && !empty_q && inside_q != 4'(Inside);
  assign take          = instr_valid_i && instr_ready_o;

  npu_box_runs #(
    .Lanes(Lanes), .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits)
  ) u_runs (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .base_i      (base_i),
    .box_valid_i (take),
    .box_ready_o (runs_ready),
    .instr_i     (instr_i),
    .run_valid_o (run_valid_o),
    .run_ready_i (run_ready_i),
    .run_addr_o  (run_addr_o),
    .run_beats_o (run_beats_o),
    .run_last_o  (run_last_o)
  );

  logic step_valid, step_ready, unused_present, unused_inside, unused_last, unused_step;
  logic [23:0] step_addr, read_addr;

  npu_box_words u_words (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .box_valid_i    (take && !empty),
    .box_ready_o    (words_ready),
    .planes_i       (instr_i[npu_isa_pkg::DMA_PLANES_LSB +: 16]),
    .rows_i         (instr_i[npu_isa_pkg::DMA_ROWS_LSB +: 16]),
    .words_i        (instr_i[npu_isa_pkg::DMA_WORDS_LSB +: 16]),
    .address_i      (instr_i[npu_isa_pkg::DMA_LOCAL_ADDRESS_LSB +: 24]),
    .row_stride_i   (instr_i[npu_isa_pkg::DMA_LOCAL_ROW_STRIDE_LSB +: 24]),
    .plane_stride_i (instr_i[npu_isa_pkg::DMA_LOCAL_PLANE_STRIDE_LSB +: 24]),
    .pad_top_i      (8'd0),
    .pad_bottom_i   (8'd0),
    .pad_left_i     (8'd0),
    .pad_right_i    (8'd0),
    .step_valid_o   (step_valid),
    .step_ready_i   (step_ready),
    .step_present_o (unused_present),
    .step_addr_o    (step_addr),
    .step_inside_o  (unused_inside),
    .step_last_o    (unused_last)
  );

  // `held_q` counts words asked of the buffer that have not left the data queue: each has its place
  // there.
  logic [HeldBits-1:0] held_q;
  logic read_valid, asked, left, full_q, word_valid, word_ready, unused_data_ready;
  logic [WordBits-1:0] word;

  register_slice #(.Width(24)) u_reads (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (step_valid),
    .ready_o (step_ready),
    .data_i  (step_addr),
    .valid_o (read_valid),
    .ready_i (act_ready_i && !full_q),
    .data_o  (read_addr)
  );

  assign unused_step = ^{read_addr, instr_i};
  assign act_valid_o = read_valid && !full_q;
  assign act_addr_o  = read_addr[ActAddrBits-1:0];
  assign asked       = act_valid_o && act_ready_i;
  assign left        = word_valid && word_ready;

  fifo #(.Width(WordBits), .Depth(DataDepth)) u_data (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (act_data_valid_i),
    .ready_o (unused_data_ready),
    .data_i  (act_data_i),
    .valid_o (word_valid),
    .ready_i (word_ready),
    .data_o  (word)
  );

  stream_narrow #(.InBits(WordBits), .OutBits(8 * MemBytes)) u_narrow (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (word_valid),
    .ready_o (word_ready),
    .data_i  (word),
    .valid_o (data_valid_o),
    .ready_i (data_ready_i),
    .data_o  (data_o)
  );

  // `inside_q` counts instructions taken and not retired, `finished_q` those of them all
  // acknowledged; `some_q`: there are such.  An empty one is done when it is the only one.
  assign retire_valid_o = some_q || empty_done_q;
  assign retire         = retire_valid_o && retire_ready_i;
  assign busy_o         = inside_q != '0;
  assign stall_o        = (act_valid_o && !act_ready_i)
                       || (read_valid && !act_valid_o)
                       || (busy_o && !step_valid && !read_valid && !retire_valid_o && !data_valid_o);
  assign progress_o     = asked || (data_valid_o && data_ready_i) || done_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      inside_q     <= '0;
      finished_q   <= '0;
      some_q       <= 1'b0;
      empty_q      <= 1'b0;
      empty_done_q <= 1'b0;
      held_q       <= '0;
      full_q       <= 1'b0;
    end else begin
      inside_q     <= inside_q + 4'(take) - 4'(retire);
      finished_q   <= finished_q + 4'(done_i) - 4'(retire && !empty_done_q);
      some_q       <= done_i || (some_q && !(retire && finished_q == 4'd1));
      empty_q      <= (take && empty) || (empty_q && !(empty_done_q && retire));
      empty_done_q <= take ? empty && inside_q == 4'(retire)
                    : empty_q && !(empty_done_q && retire) && inside_q == 4'd1 + 4'(retire);
      held_q       <= held_q + HeldBits'(asked) - HeldBits'(left);
      full_q       <= !left && (full_q || (asked && held_q == HeldBits'(DataDepth - 1)));
    end
  end
endmodule
