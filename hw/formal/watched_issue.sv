// SPDX-License-Identifier: Apache-2.0
// npu_issue with what it holds laid open: whether each instruction in it takes a token of the unit
// `Partner`, and gives it one, the oldest instruction first.
//
// `held_o` instructions are in it, the first `issued_o` of which wait to retire and the others to be
// issued.  `takes_o` and `gives_o` are shifted when one retires; the lemmas say that they are what
// the memories of the two queues hold.  `stage_o` is where the oldest is: in the queue or the
// headers, in the memory or at the output.

module watched_issue #(
  parameter int QueueDepth = 2,
  parameter int Partner = 0,
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS,
  localparam int Units = npu_isa_pkg::UNITS,
  localparam int QueueBits = $clog2(QueueDepth) + 1,
  localparam int Headers = 9,
  localparam int Most = QueueDepth + 1 + Headers,
  localparam int CountBits = $clog2(Most + 1)
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 halt_i,
  input  logic                 deal_valid_i,
  output logic                 deal_ready_o,
  input  logic [7:0]           opcode_i,
  input  logic [Units-1:0]     instr_pop_i,
  input  logic [Units-1:0]     instr_push_i,
  input  logic                 instr_mark_i,
  input  logic [Units-1:0]     available_i,
  output logic                 take_o,
  input  logic [Units-1:0]     full_i,
  output logic                 give_o,
  input  logic                 instr_ready_i,
  input  logic                 retire_valid_i,
  input  logic                 mark_ready_i,
  output logic                 retired_o,

  output logic [CountBits-1:0] held_o,
  output logic [CountBits-1:0] issued_o,
  output logic [Most-1:0]      takes_o,
  output logic [Most-1:0]      gives_o,
  output logic [1:0]           stage_o
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

  assign take_o = pop[Partner];
  assign give_o = push[Partner];

  logic [CountBits-1:0] held_q, issued_q, place, queued;
  logic [Most-1:0] takes_q, gives_q;
  logic enter, issue;

  assign enter  = deal_valid_i && deal_ready_o;
  assign issue  = u_dut.head_ready;
  assign place  = held_q - CountBits'(retired_o);
  assign queued = held_q - issued_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      held_q   <= '0;
      issued_q <= '0;
      takes_q  <= '0;
      gives_q  <= '0;
    end else begin
      held_q   <= place + CountBits'(enter);
      issued_q <= issued_q - CountBits'(retired_o) + CountBits'(issue);
      takes_q  <= (takes_q >> retired_o) | (Most'(enter && instr_pop_i[Partner]) << place);
      gives_q  <= (gives_q >> retired_o) | (Most'(enter && instr_push_i[Partner]) << place);
    end
  end

  assign held_o   = held_q;
  assign issued_o = issued_q;
  assign takes_o  = takes_q;
  assign gives_o  = gives_q;
  assign stage_o  = (issued_q == '0) ? {1'b0, u_dut.u_queue.valid_q}
                                     : {1'b1, u_dut.u_headers.valid_q};

  // What the memories hold, the oldest first, and that it is the same.
  logic [QueueBits-1:0] queue_fill;
  logic [3:0] header_fill;
  logic [QueueDepth:0] queue_takes, queue_gives, queue_wrong;
  logic [Headers-1:0] header_gives, header_wrong;

  assign queue_fill  = u_dut.u_queue.write_q - u_dut.u_queue.read_q;
  assign header_fill = u_dut.u_headers.write_q - u_dut.u_headers.read_q;

  for (genvar k = 0; k <= QueueDepth; k++) begin : gen_queue
    logic [InstrBits-1:0] slot;
    assign slot = (u_dut.u_queue.valid_q && k == 0) ? u_dut.u_queue.data_o
      : u_dut.u_queue.mem[(QueueBits - 1)'(6'(u_dut.u_queue.read_q) + 6'(k)
                                           - 6'(u_dut.u_queue.valid_q))];
    assign queue_takes[k] = slot[npu_isa_pkg::POP_LSB + Partner];
    assign queue_gives[k] = slot[npu_isa_pkg::PUSH_LSB + Partner];
    assign queue_wrong[k] = CountBits'(k) < queued
      && {queue_takes[k], queue_gives[k]} != {1'(takes_q >> (issued_q + CountBits'(k))),
                                              1'(gives_q >> (issued_q + CountBits'(k)))};
  end

  for (genvar k = 0; k < Headers; k++) begin : gen_header
    logic [Units+17:0] slot;
    assign slot = (u_dut.u_headers.valid_q && k == 0) ? u_dut.u_headers.data_o
      : u_dut.u_headers.mem[3'(6'(u_dut.u_headers.read_q) + 6'(k)
                               - 6'(u_dut.u_headers.valid_q))];
    assign header_gives[k] = slot[16 + Partner];
    assign header_wrong[k] = CountBits'(k) < issued_q && header_gives[k] != gives_q[k];
  end

  always_comb begin
    if (rst_ni) begin
      lemma_fill: assert (queue_fill <= QueueBits'(QueueDepth) && header_fill <= 4'd8);
      lemma_queued: assert (held_q == issued_q + CountBits'(queue_fill)
                                      + CountBits'(u_dut.u_queue.valid_q));
      lemma_issued: assert (issued_q == CountBits'(header_fill)
                                        + CountBits'(u_dut.u_headers.valid_q));
      lemma_queue_flags: assert (u_dut.u_queue.room_q == (queue_fill != QueueBits'(QueueDepth))
                                 && u_dut.u_queue.some_q == (queue_fill != '0));
      lemma_header_flags: assert (u_dut.u_headers.room_q == (header_fill != 4'd8)
                                  && u_dut.u_headers.some_q == (header_fill != '0));
      lemma_nothing_behind: assert (takes_q >> held_q == '0 && gives_q >> held_q == '0);
      lemma_queue: assert (queue_wrong == '0);
      lemma_headers: assert (header_wrong == '0);
    end
  end
endmodule
