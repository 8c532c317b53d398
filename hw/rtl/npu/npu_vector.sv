// Vector unit: DRAIN, WINDOW_MAC, WINDOW_SUM and WINDOW_MAX, one at a time.

module npu_vector #(
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
  output logic               w_valid_o,
  input  logic               w_ready_i,
  output logic [WgtAddr-1:0] w_addr_o,
  input  logic [Width-1:0]   w_data_i,
  input  logic               w_data_valid_i,
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

endmodule
