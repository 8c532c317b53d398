// SPDX-License-Identifier: Apache-2.0
// The window unit: executes WINDOW_MAC, WINDOW_SUM and WINDOW_MAX, one instruction at a time.
//
// It is npu_vector without accumulators; the words that it makes wait in a queue for the port.
//
// Contract
// - As npu_vector, but for its writes: a word is on `gw_valid_o` 14 cycles after its last read was
//   issued at the earliest, and stays until `gw_ready_i`; an instruction can retire in the cycle
//   after its last word was taken, S + N + 15 cycles after its handshake at the earliest.
// - At most 16 words are on their way: the last read of another waits for one of them to be taken.

module npu_gather #(
  parameter int WindowColumns = 5,
  parameter int Lanes = 16,
  parameter int ActWords = 8192,
  parameter int WeightWords = 4096,
  localparam int Width = 8 * Lanes,
  localparam int ActAddr = $clog2(ActWords),
  localparam int WgtAddr = $clog2(WeightWords)
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
  output logic               gr_valid_o,
  input  logic               gr_ready_i,
  output logic [ActAddr-1:0] gr_addr_o,
  input  logic [Width-1:0]   gr_data_i,
  input  logic               gr_data_valid_i,
  output logic               gw_valid_o,
  input  logic               gw_ready_i,
  output logic [ActAddr-1:0] gw_addr_o,
  output logic [Width-1:0]   gw_data_o
);
  localparam int Depth    = 16;
  localparam int SumBits  = 32 * Lanes;
  localparam int AccWords = 2;

  logic emit, made, taken, empty, retire_valid, progress;
  logic [ActAddr-1:0] made_addr;
  logic [Width-1:0] made_data;
  logic [4:0] words_q;
  logic unused_room, unused_acc_en;
  logic [$clog2(2*AccWords)-1:0] unused_acc_addr;

  assign taken          = gw_valid_o && gw_ready_i;
  assign empty          = words_q == '0;
  assign retire_valid_o = retire_valid && empty;
  assign progress_o     = progress || taken;

  // Words on their way, from the last read of each to its write.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) words_q <= '0;
    else words_q <= words_q + 5'(emit) - 5'(taken);
  end

  npu_vector #(
    .WindowColumns(WindowColumns),
    .Lanes        (Lanes),
    .Groups       (1),
    .ActWords     (ActWords),
    .WeightWords  (WeightWords),
    .AccWords     (AccWords)
  ) u_vector (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .instr_valid_i  (instr_valid_i),
    .instr_i        (instr_i),
    .instr_ready_o  (instr_ready_o),
    .retire_valid_o (retire_valid),
    .retire_ready_i (retire_ready_i && empty),
    .busy_o         (busy_o),
    .stall_o        (stall_o),
    .progress_o     (progress),
    .wr_valid_o     (wr_valid_o),
    .wr_ready_i     (wr_ready_i),
    .wr_addr_o      (wr_addr_o),
    .wr_data_i      (wr_data_i),
    .wr_data_valid_i(wr_data_valid_i),
    .acc_en_o       (unused_acc_en),
    .acc_addr_o     (unused_acc_addr),
    .acc_data_i     (SumBits'(0)),
    .vr_valid_o     (gr_valid_o),
    .vr_ready_i     (gr_ready_i),
    .vr_addr_o      (gr_addr_o),
    .vr_data_i      (gr_data_i),
    .vr_data_valid_i(gr_data_valid_i),
    .room_i         (words_q != 5'(Depth)),
    .emit_o         (emit),
    .vw_valid_o     (made),
    .vw_addr_o      (made_addr),
    .vw_data_o      (made_data)
  );

  fifo #(
    .Width(ActAddr + Width),
    .Depth(Depth)
  ) u_words (
    .clk_i  (clk_i),
    .rst_ni (rst_ni),
    .valid_i(made),
    .ready_o(unused_room),
    .data_i ({made_addr, made_data}),
    .valid_o(gw_valid_o),
    .ready_i(gw_ready_i),
    .data_o ({gw_addr_o, gw_data_o})
  );
endmodule
