// SPDX-License-Identifier: Apache-2.0
// The queue of one unit: holds its instructions, takes their tokens, and retires them in order.
//
// The head goes to the unit once a token of every unit it pops is there; all are taken at that
// handshake. SYNC instructions are executed here, in order with the unit's own.  An instruction
// retires, pushing its tokens in the same cycle, once no counter it pushes is full and, if it is
// marked, `mark_ready_i` is high. An instruction can be issued two cycles after it entered the
// queue at the earliest, and two cycles after the one before it.  While `halt_i` is high nothing is
// issued.  Up to 9 instructions may be between issue and retirement.

module npu_issue #(
  parameter int QueueDepth = 16,
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int Units     = npu_isa_pkg::UNITS
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 halt_i,

  input  logic                 enqueue_valid_i,
  output logic                 enqueue_ready_o,
  input  logic [InstrBits-1:0] enqueue_instr_i,

  input  logic [Units-1:0]     available_i,
  output logic [Units-1:0]     pop_o,
  input  logic [Units-1:0]     full_i,
  output logic [Units-1:0]     push_o,

  output logic                 instr_valid_o,
  input  logic                 instr_ready_i,
  output logic [InstrBits-1:0] instr_o,
  input  logic                 retire_valid_i,
  output logic                 retire_ready_o,

  output logic                 mark_valid_o,
  input  logic                 mark_ready_i,
  output logic [15:0]          mark_layer_o,

  output logic                 waiting_o,
  output logic [Units-1:0]     missing_o,
  output logic                 retired_o
);
  localparam int HeaderBits  = Units + npu_isa_pkg::LAYER_BITS + 2;
  localparam int HeaderDepth = 8;

  logic head_valid, head_ready;
  logic header_valid, header_ready, header_room;
  logic [HeaderBits-1:0] header_in, header;
  logic head_sync, head_free;
  logic [Units-1:0] head_pop;

  fifo #(.Width(InstrBits), .Depth(QueueDepth), .Pause(1)) u_queue (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (enqueue_valid_i),
    .ready_o (enqueue_ready_o),
    .data_i  (enqueue_instr_i),
    .valid_o (head_valid),
    .ready_i (head_ready),
    .data_o  (instr_o)
  );

  // The opcode of a SYNC is its unit alone.
  assign head_sync = instr_o[npu_isa_pkg::OPCODE_LSB + npu_isa_pkg::UNIT_BITS +:
                             npu_isa_pkg::OPCODE_BITS - npu_isa_pkg::UNIT_BITS] == '0;
  assign head_pop  = instr_o[npu_isa_pkg::POP_LSB +: npu_isa_pkg::POP_BITS];
  assign waiting_o = head_valid;
  assign missing_o = head_valid ? head_pop & ~available_i : '0;
  assign head_free = head_valid && missing_o == '0 && header_room && !halt_i;

  assign instr_valid_o = head_free && !head_sync;
  assign head_ready    = head_free && (head_sync || instr_ready_i);
  assign pop_o         = head_ready ? head_pop : '0;

  assign header_in = {
    head_sync,
    instr_o[npu_isa_pkg::MARK_LSB],
    instr_o[npu_isa_pkg::PUSH_LSB +: npu_isa_pkg::PUSH_BITS],
    instr_o[npu_isa_pkg::LAYER_LSB +: npu_isa_pkg::LAYER_BITS]
  };

  fifo #(.Width(HeaderBits), .Depth(HeaderDepth)) u_headers (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (head_ready),
    .ready_o (header_room),
    .data_i  (header_in),
    .valid_o (header_valid),
    .ready_i (header_ready),
    .data_o  (header)
  );

  logic retire_sync, retire_mark, retire_free;
  logic [Units-1:0] retire_push;

  assign retire_sync  = header[Units+17];
  assign retire_mark  = header[Units+16];
  assign retire_push  = header[Units+15:16];
  assign mark_layer_o = header[15:0];

  assign retire_free = header_valid && (retire_push & full_i) == '0;
  assign mark_valid_o = retire_free && retire_mark && (retire_sync || retire_valid_i);
  assign retire_ready_o = retire_free && !retire_sync && (!retire_mark || mark_ready_i);

  assign header_ready = retire_free && (!retire_mark || mark_ready_i)
                     && (retire_sync || retire_valid_i);
  assign retired_o = header_ready;
  assign push_o    = header_ready ? retire_push : '0;
endmodule
