// SPDX-License-Identifier: Apache-2.0
// npu_issue: instructions retire once each, in order, and give their own tokens and marks; tokens
// are taken once for each instruction, only where available, and given only where there is room.
//
// An instruction that `mark_i` chooses freely is followed from its queue to its retirement, with
// one freely chosen bit of its layer number.
// While tokens, unit and marks let it, an instruction retires every `Patience` cycles at least.

module issue_proof #(
  parameter int QueueDepth = 2,
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int Units     = npu_isa_pkg::UNITS,
  localparam int QueueBits = $clog2(QueueDepth) + 1,
  localparam int Patience  = 5
) (
  input logic             clk_i,
  input logic             rst_ni,
  input logic             halt_i,
  input logic             mark_i,
  input logic [3:0]       bit_i,
  input logic             enqueue_valid_i,
  input logic [7:0]       opcode_i,
  input logic [Units-1:0] instr_pop_i,
  input logic [Units-1:0] instr_push_i,
  input logic [15:0]      layer_i,
  input logic             instr_mark_i,
  input logic [Units-1:0] available_i,
  input logic [Units-1:0] full_i,
  input logic             instr_ready_i,
  input logic             retire_valid_i,
  input logic             mark_ready_i
);
  logic enqueue_ready, instr_valid, retire_ready, mark_valid, waiting, retired;
  logic [InstrBits-1:0] enqueued, instr;
  logic [Units-1:0] pop, push, missing;
  logic [15:0] mark_layer;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  always_comb begin
    enqueued = '0;
    enqueued[npu_isa_pkg::OPCODE_LSB +: 8] = opcode_i;
    enqueued[npu_isa_pkg::POP_LSB +: Units] = instr_pop_i;
    enqueued[npu_isa_pkg::PUSH_LSB +: Units] = instr_push_i;
    enqueued[npu_isa_pkg::LAYER_LSB +: 16] = layer_i;
    enqueued[npu_isa_pkg::MARK_LSB]        = instr_mark_i;
  end

  npu_issue #(.QueueDepth(QueueDepth)) u_dut (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .halt_i          (halt_i),
    .enqueue_valid_i (enqueue_valid_i),
    .enqueue_ready_o (enqueue_ready),
    .enqueue_instr_i (enqueued),
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
    .retired_o       (retired)
  );

  // Instructions in the queue and between issue and retirement, and the one that is followed.
  logic [5:0] queued_q, issued_q, ahead_q, queued, issued;
  logic [2:0] quiet_q;
  logic [3:0] bit_q;
  logic [Units-1:0] pop_q, push_q;
  logic started_q = 1'b0, waits_q, runs_q, enter, issue, start, issues, leaves;
  logic mark_q, layer_bit_q, sync_q, free;

  assign enter  = enqueue_valid_i && enqueue_ready;
  assign issue  = u_dut.head_ready;
  assign queued = queued_q - 6'(issue);
  assign issued = issued_q - 6'(retired);
  assign start  = mark_i && enter && !waits_q && !runs_q;
  assign issues = waits_q && issue && ahead_q == '0;
  assign leaves = runs_q && retired && ahead_q == '0;
  assign free   = available_i == '1 && full_i == '0 && instr_ready_i && retire_valid_i
               && mark_ready_i && !halt_i;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    bit_q     <= started_q ? bit_q : bit_i;
    if (!rst_ni) begin
      queued_q <= '0;
      issued_q <= '0;
      quiet_q  <= '0;
      waits_q  <= 1'b0;
      runs_q   <= 1'b0;
    end else begin
      queued_q <= queued + 6'(enter);
      issued_q <= issued + 6'(issue);
      waits_q  <= start || (waits_q && !issues);
      runs_q   <= issues || (runs_q && !leaves);
      if (retired || !free || queued_q + issued_q == '0) quiet_q <= '0;
      else quiet_q <= quiet_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start) begin
      pop_q       <= instr_pop_i;
      push_q      <= instr_push_i;
      mark_q      <= instr_mark_i;
      layer_bit_q <= layer_i[bit_q];
      sync_q      <= opcode_i[7:npu_isa_pkg::UNIT_BITS] == '0;
    end
    if (start) ahead_q <= queued;
    else if (issues) ahead_q <= issued;
    else ahead_q <= ahead_q - 6'(waits_q ? issue : retired);
  end

  always_comb begin
    if (rst_ni) begin
      pops_what_is_there: assert ((pop & ~available_i) == '0);
      pushes_where_room_is: assert ((push & full_i) == '0);
      if (halt_i) halts: assert (!issue && !instr_valid);
      if (!issue) pops_at_issue: assert (pop == '0);
      if (!retired) pushes_at_retirement: assert (push == '0);
      if (issues) own_pops: assert (pop == pop_q && instr_valid == !sync_q);
      if (leaves) own_pushes: assert (push == push_q);
      if (leaves) own_mark: assert (mark_q == (mark_valid && mark_ready_i));
      if (leaves && mark_q) own_layer: assert (mark_layer[bit_q] == layer_bit_q);
      if (leaves) own_retirement: assert (sync_q || (retire_valid_i && retire_ready));
      retires_in_time: assert (quiet_q < 3'(Patience));
    end
  end

  // What makes the above inductive: where in the two queues the instruction that is followed is.
  logic [QueueBits-1:0] queue_fill;
  logic [3:0] header_fill;
  logic [InstrBits-1:0] queue_slot;
  logic [Units+17:0] header_slot;

  assign queue_fill  = u_dut.u_queue.write_q - u_dut.u_queue.read_q;
  assign header_fill = u_dut.u_headers.write_q - u_dut.u_headers.read_q;
  assign queue_slot  = (u_dut.u_queue.valid_q && ahead_q == '0) ? u_dut.u_queue.data_o
    : u_dut.u_queue.mem[(QueueBits - 1)'(6'(u_dut.u_queue.read_q) + ahead_q
                                            - 6'(u_dut.u_queue.valid_q))];
  assign header_slot = (u_dut.u_headers.valid_q && ahead_q == '0) ? u_dut.u_headers.data_o
    : u_dut.u_headers.mem[3'(6'(u_dut.u_headers.read_q) + ahead_q
                             - 6'(u_dut.u_headers.valid_q))];

  always_comb begin
    if (rst_ni) begin
      lemma_queued: assert (queued_q == 6'(queue_fill) + 6'(u_dut.u_queue.valid_q));
      lemma_issued: assert (issued_q == 6'(header_fill) + 6'(u_dut.u_headers.valid_q));
      lemma_fill: assert (queue_fill <= QueueBits'(QueueDepth) && header_fill <= 4'd8);
      lemma_queue_flags: assert (u_dut.u_queue.room_q == (queue_fill != QueueBits'(QueueDepth))
                                 && u_dut.u_queue.some_q == (queue_fill != '0));
      lemma_header_flags: assert (u_dut.u_headers.room_q == (header_fill != 4'd8)
                                  && u_dut.u_headers.some_q == (header_fill != '0));
      lemma_place: assert (!(waits_q && runs_q));
      if (waits_q) begin
        lemma_waits: assert (ahead_q < queued_q);
        lemma_pop: assert (queue_slot[npu_isa_pkg::POP_LSB +: Units] == pop_q);
        lemma_push: assert (queue_slot[npu_isa_pkg::PUSH_LSB +: Units] == push_q);
        lemma_layer: assert (queue_slot[npu_isa_pkg::LAYER_LSB + 32'(bit_q)] == layer_bit_q);
        lemma_mark: assert (queue_slot[npu_isa_pkg::MARK_LSB] == mark_q);
        lemma_sync: assert ((queue_slot[npu_isa_pkg::UNIT_BITS +: 8 - npu_isa_pkg::UNIT_BITS] == '0) == sync_q);
      end
      if (runs_q) begin
        lemma_runs: assert (ahead_q < issued_q);
        lemma_kind: assert (header_slot[Units+17] == sync_q && header_slot[Units+16] == mark_q);
        lemma_header_push: assert (header_slot[Units+15:16] == push_q);
        lemma_header_layer: assert (header_slot[4'(bit_q)] == layer_bit_q);
      end
    end
  end
endmodule
