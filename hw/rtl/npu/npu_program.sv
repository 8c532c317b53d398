// SPDX-License-Identifier: Apache-2.0
// The program's side of the npu: fetches instructions, deals them to the queues of the units, takes
// and gives their tokens, and tells which layers are done.
//
// Vectors hold one bit, or one bit for every unit, a unit, in the order of the units.  `progress_o`: an
// instruction was dealt.  The parts are described in their own headers.

module npu_program #(
  parameter int MemBytes   = 16,
  parameter int AddrBits   = 40,
  parameter int RunBits    = 28,
  parameter int RowPipes   = 0,
  parameter int QueueDepth = 16,
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int Units     = npu_isa_pkg::UNITS
) (
  input  logic                       clk_i,
  input  logic                       rst_ni,
  input  logic                       start_i,
  input  logic                       halt_i,
  input  logic [AddrBits-1:0]        addr_i,
  input  logic [31:0]                count_i,
  output logic                       illegal_o,
  output logic                       progress_o,
  output logic                       run_valid_o,
  input  logic                       run_ready_i,
  output logic [AddrBits-1:0]        run_addr_o,
  output logic [RunBits-1:0]         run_beats_o,
  input  logic                       data_valid_i,
  output logic                       data_ready_o,
  input  logic [8*MemBytes-1:0]      data_i,
  output logic [Units-1:0]           instr_valid_o,
  input  logic [Units-1:0]           instr_ready_i,
  output logic [Units*InstrBits-1:0] instrs_o,
  input  logic [Units-1:0]           retire_valid_i,
  output logic [Units-1:0]           retire_ready_o,
  output logic [Units-1:0]           retired_o,
  output logic [Units-1:0]           waiting_o,
  output logic [Units*Units-1:0]     missing_o,
  output logic                       mark_valid_o,
  output logic [15:0]                mark_layer_o
);
  logic [Units-1:0] queue_valid, queue_ready, mark_valid, mark_ready;
  logic [Units*Units-1:0] pop, push, available, full;
  logic [16*Units-1:0] mark_layer;
  logic [InstrBits-1:0] fetched;

  assign progress_o = |(queue_valid & queue_ready);

  npu_fetch #(
    .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits), .RowPipes(RowPipes)
  ) u_fetch (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .start_i       (start_i),
    .addr_i        (addr_i),
    .count_i       (count_i),
    .run_valid_o   (run_valid_o),
    .run_ready_i   (run_ready_i),
    .run_addr_o    (run_addr_o),
    .run_beats_o   (run_beats_o),
    .data_valid_i  (data_valid_i),
    .data_ready_o  (data_ready_o),
    .data_i        (data_i),
    .instr_valid_o (queue_valid),
    .instr_ready_i (queue_ready),
    .instr_o       (fetched),
    .illegal_o     (illegal_o)
  );

  npu_tokens u_tokens (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .pop_i       (pop),
    .push_i      (push),
    .available_o (available),
    .full_o      (full)
  );

  for (genvar u = 0; u < Units; u++) begin : gen_issue
    npu_issue #(.QueueDepth(QueueDepth)) u_issue (
      .clk_i           (clk_i),
      .rst_ni          (rst_ni),
      .halt_i          (halt_i),
      .enqueue_valid_i (queue_valid[u]),
      .enqueue_ready_o (queue_ready[u]),
      .enqueue_instr_i (fetched),
      .available_i     (available[Units*u +: Units]),
      .pop_o           (pop[Units*u +: Units]),
      .full_i          (full[Units*u +: Units]),
      .push_o          (push[Units*u +: Units]),
      .instr_valid_o   (instr_valid_o[u]),
      .instr_ready_i   (instr_ready_i[u]),
      .instr_o         (instrs_o[InstrBits*u +: InstrBits]),
      .retire_valid_i  (retire_valid_i[u]),
      .retire_ready_o  (retire_ready_o[u]),
      .mark_valid_o    (mark_valid[u]),
      .mark_ready_i    (mark_ready[u]),
      .mark_layer_o    (mark_layer[16*u +: 16]),
      .waiting_o       (waiting_o[u]),
      .missing_o       (missing_o[Units*u +: Units]),
      .retired_o       (retired_o[u])
    );
  end

  npu_marks u_marks (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .valid_i      (mark_valid),
    .ready_o      (mark_ready),
    .layer_i      (mark_layer),
    .mark_valid_o (mark_valid_o),
    .mark_layer_o (mark_layer_o)
  );
endmodule
