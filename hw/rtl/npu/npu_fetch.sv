// SPDX-License-Identifier: Apache-2.0
// Reads the program and deals its instructions, in order, to the queues of the units.
//
// `start_i` is a pulse: `count_i` instructions from byte address `addr_i`.  Memory is asked for
// runs of up to 8 instructions while the prefetch buffer (16 instructions) has room for a whole
// run, so the data it asked for is always taken.  One instruction leaves every `INSTRUCTION_BYTES /
// MemBytes` cycles at most, and waits while its unit's queue is full.  `illegal_o` is high, and
// nothing more leaves, while the next instruction has an unknown opcode (SOFTMAX and NORM are known
// when `RowPipes` is above 0), another ISA version, or a token for its own unit.

module npu_fetch #(
  parameter int MemBytes = 16,
  parameter int AddrBits = 40,
  parameter int RunBits  = 28,
  parameter int RowPipes = 0,
  localparam int InstrBits  = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int InstrBytes = npu_isa_pkg::INSTRUCTION_BYTES,
  localparam int Units      = npu_isa_pkg::UNITS,
  localparam int Beats      = InstrBytes / MemBytes
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,

  input  logic                  start_i,
  input  logic [AddrBits-1:0]   addr_i,
  input  logic [31:0]           count_i,

  output logic                  run_valid_o,
  input  logic                  run_ready_i,
  output logic [AddrBits-1:0]   run_addr_o,
  output logic [RunBits-1:0]    run_beats_o,

  input  logic                  data_valid_i,
  output logic                  data_ready_o,
  input  logic [8*MemBytes-1:0] data_i,

  output logic [Units-1:0]      instr_valid_o,
  input  logic [Units-1:0]      instr_ready_i,
  output logic [InstrBits-1:0]  instr_o,

  output logic                  illegal_o
);
  localparam int Chunk = 8;
  localparam int Ahead = 2 * Chunk;

  logic [AddrBits-1:0] addr_q;
  logic [31:0] left_q;
  logic [4:0] held_q;
  logic [3:0] chunk;
  logic request, dispatch;

  assign chunk       = (left_q < 32'(Chunk)) ? left_q[3:0] : 4'(Chunk);
  assign run_valid_o = left_q != '0 && held_q <= 5'(Ahead - Chunk);
  assign run_addr_o  = addr_q;
  assign run_beats_o = RunBits'(chunk) * RunBits'(Beats);
  assign request     = run_valid_o && run_ready_i;

  // `held_q` counts instructions asked for and not yet dealt.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
      held_q <= '0;
    end else begin
      if (start_i) left_q <= count_i;
      else if (request) left_q <= left_q - 32'(chunk);
      held_q <= held_q + (request ? 5'(chunk) : 5'd0) - 5'(dispatch);
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) addr_q <= addr_i;
    else if (request) addr_q <= addr_q + AddrBits'(chunk) * AddrBits'(InstrBytes);
  end

  logic beat_valid, beat_ready, wide_valid;
  logic [8*MemBytes-1:0] beat;

  fifo #(.Width(8 * MemBytes), .Depth(Ahead * Beats)) u_prefetch (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (data_valid_i),
    .ready_o (data_ready_o),
    .data_i  (data_i),
    .valid_o (beat_valid),
    .ready_i (beat_ready),
    .data_o  (beat)
  );

  stream_widen #(.InBits(8 * MemBytes), .OutBits(InstrBits), .Pause(1)) u_widen (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (beat_valid),
    .ready_o (beat_ready),
    .data_i  (beat),
    .valid_o (wide_valid),
    .ready_i (dispatch),
    .data_o  (instr_o)
  );

  // The header of the instruction that is being joined: its first bits, which the last beat moves to
  // their place, so that its unit and whether it is legal are registers when it is whole.
  localparam int HeaderBits = npu_isa_pkg::PUSH_LSB + npu_isa_pkg::PUSH_BITS;

  logic [HeaderBits-1:0] header;
  logic [7:0] opcode;
  logic [Units-1:0] own, pop, push, unit;
  logic known, own_token, illegal, wrong, unused_header;

  assign opcode = header[npu_isa_pkg::OPCODE_LSB +: npu_isa_pkg::OPCODE_BITS];
  assign own    = Units'(1) << opcode[npu_isa_pkg::UNIT_BITS-1:0];
  assign pop    = header[npu_isa_pkg::POP_LSB +: npu_isa_pkg::POP_BITS];
  assign push   = header[npu_isa_pkg::PUSH_LSB +: npu_isa_pkg::PUSH_BITS];
  assign own_token = |(own & (pop | push));
  assign unused_header = ^header;

  always_comb begin
    case (opcode)
      npu_isa_pkg::OP_SYNC_LOAD,
      npu_isa_pkg::OP_SYNC_COMPUTE,
      npu_isa_pkg::OP_SYNC_VECTOR,
      npu_isa_pkg::OP_SYNC_STORE,
      npu_isa_pkg::OP_SYNC_WINDOW,
      npu_isa_pkg::OP_LOAD,
      npu_isa_pkg::OP_COMPUTE,
      npu_isa_pkg::OP_STORE,
      npu_isa_pkg::OP_DRAIN,
      npu_isa_pkg::OP_WINDOW_MAC,
      npu_isa_pkg::OP_WINDOW_SUM,
      npu_isa_pkg::OP_WINDOW_MAX: known = 1'b1;
      npu_isa_pkg::OP_SOFTMAX,
      npu_isa_pkg::OP_NORM: known = RowPipes > 0;
      default: known = 1'b0;
    endcase
  end

  assign illegal = !known || own_token
    || header[npu_isa_pkg::VERSION_LSB +: npu_isa_pkg::VERSION_BITS]
       != 8'(npu_isa_pkg::ISA_VERSION);

  if (Beats > 1) begin : gen_ahead
    assign header = instr_o[8*MemBytes +: HeaderBits];

    always_ff @(posedge clk_i) begin
      if (beat_valid && beat_ready) begin
        unit  <= illegal ? '0 : own;
        wrong <= illegal;
      end
    end
  end else begin : gen_whole
    assign header = instr_o[HeaderBits-1:0];
    assign unit   = illegal ? '0 : own;
    assign wrong  = illegal;
  end

  assign illegal_o     = wide_valid && wrong;
  assign instr_valid_o = wide_valid ? unit : '0;
  assign dispatch      = |(instr_valid_o & instr_ready_i);
endmodule
