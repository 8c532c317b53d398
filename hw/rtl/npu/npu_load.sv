// SPDX-License-Identifier: Apache-2.0
// Executes LOAD: moves boxes from memory into the activation or the weight buffer, with padding.
//
// Requests run ahead of data: an instruction is taken while the one before still waits for data (up
// to 6 are inside), so the requests of the next ones are out early.  Data arrive in the order of
// the requests in beats of `MemBytes`, pass a queue of `DataDepth` beats, and are joined into
// words; one word a cycle is written, fill words without waiting for memory.  An instruction
// retires when its last word is written: four cycles after the last beat arrived, five when a word
// has several beats.
//
// Issue to first run: two cycles.  Rows that are in memory must be whole words; see `npu_box_runs`.

module npu_load #(
  parameter int Lanes       = 16,
  parameter int ActWords    = 8192,
  parameter int WeightWords = 4096,
  parameter int MemBytes    = 16,
  parameter int AddrBits    = 40,
  parameter int RunBits     = 28,
  localparam int WordBits    = 8 * Lanes,
  localparam int InstrBits   = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int ActAddrBits = $clog2(ActWords),
  localparam int WgtAddrBits = $clog2(WeightWords)
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

  output logic                   run_valid_o,
  input  logic                   run_ready_i,
  output logic [AddrBits-1:0]    run_addr_o,
  output logic [RunBits-1:0]     run_beats_o,
  input  logic                   data_valid_i,
  output logic                   data_ready_o,
  input  logic [8*MemBytes-1:0]  data_i,

  output logic                   act_valid_o,
  input  logic                   act_ready_i,
  output logic [ActAddrBits-1:0] act_addr_o,
  output logic [WordBits-1:0]    act_data_o,
  output logic                   wgt_valid_o,
  input  logic                   wgt_ready_i,
  output logic [WgtAddrBits-1:0] wgt_addr_o,
  output logic [WordBits-1:0]    wgt_data_o
);
  localparam int BoxBits   = 161;
  localparam int BoxDepth  = 4;
  localparam int DataDepth = 64;

  logic runs_ready, boxes_ready, take;
  logic unused_run_last, unused_instr;

  assign instr_ready_o = runs_ready && boxes_ready;
  assign take          = instr_valid_i && instr_ready_o;
  assign unused_instr  = ^instr_i;

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
    .run_last_o  (unused_run_last)
  );

  // Buffer side: the boxes of the instructions taken, oldest first.
  logic box_valid, box_ready;
  logic [BoxBits-1:0] box_in, box;

  assign box_in = {
    instr_i[npu_isa_pkg::DMA_BUFFER_LSB],
    instr_i[npu_isa_pkg::DMA_FILL_LSB +: 8],
    instr_i[npu_isa_pkg::DMA_PAD_RIGHT_LSB +: 8],
    instr_i[npu_isa_pkg::DMA_PAD_LEFT_LSB +: 8],
    instr_i[npu_isa_pkg::DMA_PAD_BOTTOM_LSB +: 8],
    instr_i[npu_isa_pkg::DMA_PAD_TOP_LSB +: 8],
    instr_i[npu_isa_pkg::DMA_LOCAL_PLANE_STRIDE_LSB +: 24],
    instr_i[npu_isa_pkg::DMA_LOCAL_ROW_STRIDE_LSB +: 24],
    instr_i[npu_isa_pkg::DMA_LOCAL_ADDRESS_LSB +: 24],
    instr_i[npu_isa_pkg::DMA_WORDS_LSB +: 16],
    instr_i[npu_isa_pkg::DMA_ROWS_LSB +: 16],
    instr_i[npu_isa_pkg::DMA_PLANES_LSB +: 16]
  };

  fifo #(.Width(BoxBits), .Depth(BoxDepth), .Pause(1)) u_boxes (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (take),
    .ready_o (boxes_ready),
    .data_i  (box_in),
    .valid_o (box_valid),
    .ready_i (box_ready),
    .data_o  (box)
  );

  logic step_valid, step_ready, step_present, step_inside, step_last, step_wgt_q;
  logic [23:0] step_addr;
  logic [7:0] fill_q;

  npu_box_words u_words (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .box_valid_i    (box_valid),
    .box_ready_o    (box_ready),
    .planes_i       (box[15:0]),
    .rows_i         (box[31:16]),
    .words_i        (box[47:32]),
    .address_i      (box[71:48]),
    .row_stride_i   (box[95:72]),
    .plane_stride_i (box[119:96]),
    .pad_top_i      (box[127:120]),
    .pad_bottom_i   (box[135:128]),
    .pad_left_i     (box[143:136]),
    .pad_right_i    (box[151:144]),
    .step_valid_o   (step_valid),
    .step_ready_i   (step_ready),
    .step_present_o (step_present),
    .step_addr_o    (step_addr),
    .step_inside_o  (step_inside),
    .step_last_o    (step_last)
  );

  always_ff @(posedge clk_i) begin
    if (box_valid && box_ready) begin
      fill_q     <= box[159:152];
      step_wgt_q <= box[160];
    end
  end

  // Data side: beats to words.
  logic beat_valid, beat_ready, word_valid, word_ready;
  logic [8*MemBytes-1:0] beat;
  logic [WordBits-1:0] word;

  fifo #(.Width(8 * MemBytes), .Depth(DataDepth)) u_data (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (data_valid_i),
    .ready_o (data_ready_o),
    .data_i  (data_i),
    .valid_o (beat_valid),
    .ready_i (beat_ready),
    .data_o  (beat)
  );

  stream_widen #(.InBits(8 * MemBytes), .OutBits(WordBits)) u_widen (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (beat_valid),
    .ready_o (beat_ready),
    .data_i  (beat),
    .valid_o (word_valid),
    .ready_i (word_ready),
    .data_o  (word)
  );

  // Words on their way into a buffer.
  logic write_valid, write_present, write_last, write_wgt, write_done, write_ready, wants_word;
  logic offered, unused_addr;
  logic [23:0] write_addr;
  logic [WordBits-1:0] write_data;

  assign wants_word = step_present && step_inside;
  assign write_done = write_valid
                   && (!write_present || (write_wgt ? wgt_ready_i : act_ready_i));
  assign offered    = step_valid && (!wants_word || word_valid);
  assign step_ready = write_ready && (!wants_word || word_valid);
  assign word_ready = step_valid && write_ready && wants_word;
  assign unused_addr = ^write_addr;

  register_slice #(.Width(WordBits + 27)) u_write (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (offered),
    .ready_o (write_ready),
    .data_i  ({
      step_present, step_last, step_wgt_q, step_addr, step_inside ? word : {Lanes{fill_q}}
    }),
    .valid_o (write_valid),
    .ready_i (write_done),
    .data_o  ({write_present, write_last, write_wgt, write_addr, write_data})
  );

  assign act_valid_o = write_valid && write_present && !write_wgt;
  assign act_addr_o  = write_addr[ActAddrBits-1:0];
  assign act_data_o  = write_data;
  assign wgt_valid_o = write_valid && write_present && write_wgt;
  assign wgt_addr_o  = write_addr[WgtAddrBits-1:0];
  assign wgt_data_o  = write_data;

  // `inside_q` counts instructions taken and not retired, `finished_q` those of them all written.
  logic [3:0] inside_q, finished_q;
  logic finish, retire, retire_valid_q;

  assign finish         = write_done && write_last;
  assign retire         = retire_valid_q && retire_ready_i;
  assign retire_valid_o = retire_valid_q;
  assign busy_o         = inside_q != '0;
  assign stall_o        = write_valid ? !write_done : step_valid && wants_word && !word_valid;
  assign progress_o     = write_done || (run_valid_o && run_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      inside_q       <= '0;
      finished_q     <= '0;
      retire_valid_q <= 1'b0;
    end else begin
      inside_q       <= inside_q + 4'(take) - 4'(retire);
      finished_q     <= finished_q + 4'(finish) - 4'(retire);
      retire_valid_q <= finish || (retire_valid_q && !(retire && finished_q == 4'd1));
    end
  end
endmodule
