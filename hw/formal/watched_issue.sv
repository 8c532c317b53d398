// SPDX-License-Identifier: Apache-2.0
// npu_issue with what it holds laid open: whether each instruction in it takes a token of the unit
// `Partner`, and gives it one, the oldest instruction first.
//
// `queued_o` instructions wait to be issued, `issued_o` wait to retire.

module watched_issue #(
  parameter int QueueDepth = 2,
  parameter int Partner = 0,
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int Units = npu_isa_pkg::UNITS,
  localparam int QueueBits = $clog2(QueueDepth) + 1
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                halt_i,
  input  logic                deal_valid_i,
  output logic                deal_ready_o,
  input  logic [7:0]          opcode_i,
  input  logic [Units-1:0]    instr_pop_i,
  input  logic [Units-1:0]    instr_push_i,
  input  logic                instr_mark_i,
  input  logic [Units-1:0]    available_i,
  input  logic [Units-1:0]    full_i,
  input  logic                instr_ready_i,
  input  logic                retire_valid_i,
  input  logic                mark_ready_i,

  output logic                takes_o,
  output logic                gives_o,
  output logic                issue_o,
  output logic                retired_o,
  output logic [5:0]          queued_o,
  output logic [5:0]          issued_o,
  output logic [QueueDepth:0] queued_takes_o,
  output logic [QueueDepth:0] queued_gives_o,
  output logic [8:0]          issued_gives_o
);
  logic [InstrBits-1:0] dealt, instr;
  logic [Units-1:0] pop, push, missing;
  logic [15:0] mark_layer;
  logic instr_valid, retire_ready, mark_valid, waiting;

  always_comb begin
    dealt = '0;
    dealt[npu_isa_pkg::OPCODE_LSB +: 8] = opcode_i;
    dealt[npu_isa_pkg::POP_LSB +: Units]  = instr_pop_i;
    dealt[npu_isa_pkg::PUSH_LSB +: Units] = instr_push_i;
    dealt[npu_isa_pkg::MARK_LSB]        = instr_mark_i;
  end

  npu_issue #(.QueueDepth(QueueDepth)) u_dut (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .halt_i          (halt_i),
    .enqueue_valid_i (deal_valid_i),
    .enqueue_ready_o (deal_ready_o),
    .enqueue_instr_i (dealt),
    .available_i     (available_i),
    .pop_o           (pop),
    .full_i          (full_i),
    .push_o          (push),
    .instr_valid_o   (instr_valid),
    .instr_ready_i   (instr_ready_i),
    .instr_o         (instr),
    .retire_valid_i  (retire_valid_i),
    .retire_ready_o  (retire_ready),
    .mark_valid_o    (mark_valid),
    .mark_ready_i    (mark_ready_i),
    .mark_layer_o    (mark_layer),
    .waiting_o       (waiting),
    .missing_o       (missing),
    .retired_o       (retired_o)
  );

  assign takes_o = pop[Partner];
  assign gives_o = push[Partner];
  assign issue_o = u_dut.head_ready;

  logic [QueueBits-1:0] queue_fill;
  logic [3:0] header_fill;

  assign queue_fill  = u_dut.u_queue.write_q - u_dut.u_queue.read_q;
  assign header_fill = u_dut.u_headers.write_q - u_dut.u_headers.read_q;
  assign queued_o = 6'(queue_fill) + 6'(u_dut.u_queue.valid_q);
  assign issued_o = 6'(header_fill) + 6'(u_dut.u_headers.valid_q);

  for (genvar k = 0; k <= QueueDepth; k++) begin : gen_queued
    logic [InstrBits-1:0] slot;
    assign slot = (u_dut.u_queue.valid_q && k == 0) ? u_dut.u_queue.data_o
      : u_dut.u_queue.mem[(QueueBits - 1)'(6'(u_dut.u_queue.read_q) + 6'(k)
                                           - 6'(u_dut.u_queue.valid_q))];
    assign queued_takes_o[k] = slot[npu_isa_pkg::POP_LSB + Partner];
    assign queued_gives_o[k] = slot[npu_isa_pkg::PUSH_LSB + Partner];
  end

  for (genvar k = 0; k <= 8; k++) begin : gen_issued
    logic [Units+17:0] slot;
    assign slot = (u_dut.u_headers.valid_q && k == 0) ? u_dut.u_headers.data_o
      : u_dut.u_headers.mem[3'(6'(u_dut.u_headers.read_q) + 6'(k)
                               - 6'(u_dut.u_headers.valid_q))];
    assign issued_gives_o[k] = slot[16 + Partner];
  end

  always_comb begin
    if (rst_ni) begin
      lemma_fill: assert (queue_fill <= QueueBits'(QueueDepth) && header_fill <= 4'd8);
      lemma_queue_flags: assert (u_dut.u_queue.room_q == (queue_fill != QueueBits'(QueueDepth))
                                 && u_dut.u_queue.some_q == (queue_fill != '0));
      lemma_header_flags: assert (u_dut.u_headers.room_q == (header_fill != 4'd8)
                                  && u_dut.u_headers.some_q == (header_fill != '0));
    end
  end
endmodule
