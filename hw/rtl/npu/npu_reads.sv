// SPDX-License-Identifier: Apache-2.0
// The reads of an instruction, as npu_window finds them, in a register that holds two of them: so
// the port that takes one does not move the walk in the same cycle.
//
// Contract
// - `idle_i`: no instruction is inside, and what `instr_i` says is taken; it is one with `start_i`.
// - From two cycles after `start_i` on the outputs describe the first read while `valid_o`;
//   `step_i` takes it, and the next follows without a gap.  `place_o` holds for the instruction.
// - What the others mean is told in npu_window.

module npu_reads #(
  parameter int Columns = 5,
  parameter int ActWords = 8192,
  parameter int AccWords = 512,
  localparam int Places = Columns > 0 ? Columns : 1,
  localparam int ActAddr = $clog2(ActWords),
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               idle_i,
  input  logic               start_i,
  input  logic [511:0]       instr_i,
  output logic               valid_o,
  input  logic               step_i,
  output logic               act_valid_o,
  output logic [ActAddr-1:0] act_addr_o,
  output logic [AccAddr-1:0] acc_addr_o,
  output logic [ActAddr-1:0] out_addr_o,
  output logic               tap_o,
  output logic [5:0]         tap_index_o,
  output logic               first_o,
  output logic [Places-1:0]  place_o,
  output logic               emit_o,
  output logic               last_o
);

  localparam int ReadBits = 2 * ActAddr + AccAddr + 11;

  logic               walk_q;
  logic               ready;
  logic               act_valid;
  logic [ActAddr-1:0] act_addr;
  logic [AccAddr-1:0] acc_addr;
  logic [ActAddr-1:0] out_addr;
  logic               tap;
  logic [5:0]         tap_index;
  logic               first;
  logic               emit;
  logic               last;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) walk_q <= 1'b0;
    else walk_q <= start_i || (walk_q && !(ready && emit && last));
  end

  npu_window #(
    .Columns (Columns),
    .ActWords(ActWords),
    .AccWords(AccWords)
  ) u_window (
    .clk_i      (clk_i),
    .start_i    (idle_i),
    .instr_i    (instr_i),
    .step_i     (walk_q && ready),
    .act_valid_o(act_valid),
    .act_addr_o (act_addr),
    .acc_addr_o (acc_addr),
    .out_addr_o (out_addr),
    .tap_o      (tap),
    .tap_index_o(tap_index),
    .first_o    (first),
    .place_o    (place_o),
    .emit_o     (emit),
    .last_o     (last)
  );

  register_slice #(
    .Width(ReadBits)
  ) u_slice (
    .clk_i  (clk_i),
    .rst_ni (rst_ni),
    .valid_i(walk_q),
    .ready_o(ready),
    .data_i ({act_valid, act_addr, acc_addr, out_addr, tap, tap_index, first, emit, last}),
    .valid_o(valid_o),
    .ready_i(step_i),
    .data_o ({
      act_valid_o, act_addr_o, acc_addr_o, out_addr_o, tap_o, tap_index_o, first_o, emit_o, last_o
    })
  );

endmodule
