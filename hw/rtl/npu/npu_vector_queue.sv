// SPDX-License-Identifier: Apache-2.0
// Executes the instructions of the vector queue, one at a time: those of rows in npu_softmax and
// npu_norm, the others in npu_vector.  All of them use the same ports of the buffers.
//
// Contract
// - `instr_i` is an instruction of the vector queue that its engine's contract allows; SOFTMAX and
//   NORM only with `RowPipes` above 0, which is the elements of a row that they handle a cycle.
// - An instruction takes the cycles of its engine; `instr_ready_o` is high again in the cycle after
//   its retirement.
// - Data of weight, activation and accumulator reads follow exactly 2 cycles after their handshake.
//   A word is written in the cycle of `vw_valid_o`.

module npu_vector_queue #(
  parameter int RowPipes = 4,
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int ActWords = 8192,
  parameter int WeightWords = 4096,
  parameter int AccWords = 512,
  localparam int Width = 8 * Lanes,
  localparam int Cols = Groups * Lanes,
  localparam int ActAddr = $clog2(ActWords),
  localparam int WgtAddr = $clog2(WeightWords),
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               instr_valid_i,
  input  logic [511:0]       instr_i,
  output logic               instr_ready_o,
  output logic               retire_valid_o,
  input  logic               retire_ready_i,
  output logic               busy_o,
  output logic               stall_o,
  output logic               progress_o,
  output logic               wr_valid_o,
  input  logic               wr_ready_i,
  output logic [WgtAddr-1:0] wr_addr_o,
  input  logic [Width-1:0]   wr_data_i,
  input  logic               wr_data_valid_i,
  output logic               acc_en_o,
  output logic [AccAddr-1:0] acc_addr_o,
  input  logic [Cols*32-1:0] acc_data_i,
  output logic               vr_valid_o,
  input  logic               vr_ready_i,
  output logic [ActAddr-1:0] vr_addr_o,
  input  logic [Width-1:0]   vr_data_i,
  input  logic               vr_data_valid_i,
  output logic               vw_valid_o,
  output logic [ActAddr-1:0] vw_addr_o,
  output logic [Width-1:0]   vw_data_o
);

  localparam int Engines = RowPipes > 0 ? 3 : 1;
  localparam logic [1:0] Vector = 2'd0;
  localparam logic [1:0] Softmax = 2'd1;
  localparam logic [1:0] Norm = 2'd2;

  // The engine of the instruction that is offered, and of the one that is inside.
  logic [7:0] opcode;
  logic [1:0] engine;
  logic [1:0] engine_q;

  assign opcode = instr_i[npu_isa_pkg::OPCODE_LSB +: 8];
  assign engine = RowPipes > 0 && opcode == npu_isa_pkg::OP_SOFTMAX ? Softmax :
                  RowPipes > 0 && opcode == npu_isa_pkg::OP_NORM ? Norm : Vector;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) engine_q <= Vector;
    else if (instr_valid_i && instr_ready_o) engine_q <= engine;
  end

  // One bit, or one word, an engine.
  logic [Engines-1:0]         offered;
  logic [Engines-1:0]         working;
  logic [Engines-1:0]         ready;
  logic [Engines-1:0]         retire;
  logic [Engines-1:0]         busy;
  logic [Engines-1:0]         stall;
  logic [Engines-1:0]         progress;
  logic [Engines-1:0]         wr_valid;
  logic [Engines-1:0]         vr_valid;
  logic [Engines-1:0]         vw_valid;
  logic [Engines*WgtAddr-1:0] wr_addr;
  logic [Engines*ActAddr-1:0] vr_addr;
  logic [Engines*ActAddr-1:0] vw_addr;
  logic [Engines*Width-1:0]   vw_data;
  logic                       unused_emit;

  for (genvar e = 0; e < Engines; e++) begin : gen_engine
    assign offered[e] = instr_valid_i && instr_ready_o && engine == 2'(e);
    assign working[e] = engine_q == 2'(e);
  end

  assign instr_ready_o = &ready;
  assign retire_valid_o = |retire;
  assign busy_o = |busy;
  assign stall_o = |stall;
  assign progress_o = |progress;
  assign wr_valid_o = |wr_valid;
  assign vr_valid_o = |vr_valid;
  assign vw_valid_o = |vw_valid;
  assign wr_addr_o = wr_addr[WgtAddr*engine_q +: WgtAddr];
  assign vr_addr_o = vr_addr[ActAddr*engine_q +: ActAddr];
  assign vw_addr_o = vw_addr[ActAddr*engine_q +: ActAddr];
  assign vw_data_o = vw_data[Width*engine_q +: Width];

  npu_vector #(
    .WindowColumns(0),
    .Lanes        (Lanes),
    .Groups       (Groups),
    .ActWords     (ActWords),
    .WeightWords  (WeightWords),
    .AccWords     (AccWords)
  ) u_vector (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .instr_valid_i  (offered[0]),
    .instr_i        (instr_i),
    .instr_ready_o  (ready[0]),
    .retire_valid_o (retire[0]),
    .retire_ready_i (retire_ready_i),
    .busy_o         (busy[0]),
    .stall_o        (stall[0]),
    .progress_o     (progress[0]),
    .wr_valid_o     (wr_valid[0]),
    .wr_ready_i     (wr_ready_i),
    .wr_addr_o      (wr_addr[0 +: WgtAddr]),
    .wr_data_i      (wr_data_i),
    .wr_data_valid_i(wr_data_valid_i && working[0]),
    .acc_en_o       (acc_en_o),
    .acc_addr_o     (acc_addr_o),
    .acc_data_i     (acc_data_i),
    .vr_valid_o     (vr_valid[0]),
    .vr_ready_i     (vr_ready_i),
    .vr_addr_o      (vr_addr[0 +: ActAddr]),
    .vr_data_i      (vr_data_i),
    .vr_data_valid_i(vr_data_valid_i && working[0]),
    .room_i         (1'b1),
    .emit_o         (unused_emit),
    .vw_valid_o     (vw_valid[0]),
    .vw_addr_o      (vw_addr[0 +: ActAddr]),
    .vw_data_o      (vw_data[0 +: Width])
  );

  if (RowPipes > 0) begin : gen_rows
    assign wr_valid[1] = 1'b0;
    assign wr_addr[WgtAddr +: WgtAddr] = '0;

    npu_softmax #(
      .Lanes   (Lanes),
      .Pipes   (RowPipes),
      .ActWords(ActWords)
    ) u_softmax (
      .clk_i          (clk_i),
      .rst_ni         (rst_ni),
      .instr_valid_i  (offered[1]),
      .instr_i        (instr_i),
      .instr_ready_o  (ready[1]),
      .retire_valid_o (retire[1]),
      .retire_ready_i (retire_ready_i),
      .busy_o         (busy[1]),
      .stall_o        (stall[1]),
      .progress_o     (progress[1]),
      .vr_valid_o     (vr_valid[1]),
      .vr_ready_i     (vr_ready_i),
      .vr_addr_o      (vr_addr[ActAddr +: ActAddr]),
      .vr_data_i      (vr_data_i),
      .vr_data_valid_i(vr_data_valid_i && working[1]),
      .vw_valid_o     (vw_valid[1]),
      .vw_addr_o      (vw_addr[ActAddr +: ActAddr]),
      .vw_data_o      (vw_data[Width +: Width])
    );

    npu_norm #(
      .Lanes      (Lanes),
      .Pipes      (RowPipes),
      .ActWords   (ActWords),
      .WeightWords(WeightWords)
    ) u_norm (
      .clk_i          (clk_i),
      .rst_ni         (rst_ni),
      .instr_valid_i  (offered[2]),
      .instr_i        (instr_i),
      .instr_ready_o  (ready[2]),
      .retire_valid_o (retire[2]),
      .retire_ready_i (retire_ready_i),
      .busy_o         (busy[2]),
      .stall_o        (stall[2]),
      .progress_o     (progress[2]),
      .wr_valid_o     (wr_valid[2]),
      .wr_ready_i     (wr_ready_i),
      .wr_addr_o      (wr_addr[2*WgtAddr +: WgtAddr]),
      .wr_data_i      (wr_data_i),
      .wr_data_valid_i(wr_data_valid_i && working[2]),
      .vr_valid_o     (vr_valid[2]),
      .vr_ready_i     (vr_ready_i),
      .vr_addr_o      (vr_addr[2*ActAddr +: ActAddr]),
      .vr_data_i      (vr_data_i),
      .vr_data_valid_i(vr_data_valid_i && working[2]),
      .vw_valid_o     (vw_valid[2]),
      .vw_addr_o      (vw_addr[2*ActAddr +: ActAddr]),
      .vw_data_o      (vw_data[2*Width +: Width])
    );
  end
endmodule
