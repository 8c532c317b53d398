// SPDX-License-Identifier: Apache-2.0
// The npu's buffers and the units that only work between them: compute, vector and window.
//
// lw and ww are the writes of load into the activation and the weight buffer, sr the reads of store.
// Parameters are those of npu_top; the parts are described in their own headers.

module npu_core #(
  parameter int Lanes         = 16,
  parameter int Groups        = 1,
  parameter int ActWords      = 8192,
  parameter int WeightWords   = 4096,
  parameter int AccWords      = 512,
  parameter int WindowColumns = 5,
  parameter int RowPipes      = 0,
  parameter int WeightBits    = 2,
  localparam int ActAddr      = $clog2(ActWords),
  localparam int WgtAddr      = $clog2(WeightWords),
  localparam int InstrBits    = npu_isa_pkg::INSTRUCTION_BITS
) (
  input  logic                 clk_i,
  input  logic                 rst_ni,
  input  logic                 compute_valid_i,
  input  logic [InstrBits-1:0] compute_i,
  output logic                 compute_ready_o,
  output logic                 compute_retire_o,
  input  logic                 compute_retire_i,
  output logic                 compute_busy_o,
  output logic                 compute_stall_o,
  output logic                 compute_progress_o,
  input  logic                 vector_valid_i,
  input  logic [InstrBits-1:0] vector_i,
  output logic                 vector_ready_o,
  output logic                 vector_retire_o,
  input  logic                 vector_retire_i,
  output logic                 vector_busy_o,
  output logic                 vector_stall_o,
  output logic                 vector_progress_o,
  input  logic                 window_valid_i,
  input  logic [InstrBits-1:0] window_i,
  output logic                 window_ready_o,
  output logic                 window_retire_o,
  input  logic                 window_retire_i,
  output logic                 window_busy_o,
  output logic                 window_stall_o,
  output logic                 window_progress_o,
  input  logic                 lw_valid_i,
  output logic                 lw_ready_o,
  input  logic [ActAddr-1:0]   lw_addr_i,
  input  logic [8*Lanes-1:0]   lw_data_i,
  input  logic                 ww_valid_i,
  output logic                 ww_ready_o,
  input  logic [WgtAddr-1:0]   ww_addr_i,
  input  logic [8*Lanes-1:0]   ww_data_i,
  input  logic                 sr_valid_i,
  output logic                 sr_ready_o,
  input  logic [ActAddr-1:0]   sr_addr_i,
  output logic [8*Lanes-1:0]   sr_data_o,
  output logic                 sr_data_valid_o
);
  localparam int Width    = 8 * Lanes;
  localparam int Cols     = Groups * Lanes;
  localparam int LaneBits = $clog2(Lanes);
  localparam int AccAddr  = $clog2(2 * AccWords);
  localparam int RowAddr  = WgtAddr - $clog2(Groups);

  logic array_en, vw_valid, vr_valid, vr_ready, vr_data_valid;
  logic gw_valid, gw_ready, gr_valid, gr_ready, gr_data_valid;
  logic [ActAddr+LaneBits-1:0] array_addr;
  logic [ActAddr-1:0] vw_addr, vr_addr, gw_addr, gr_addr;
  logic [Width-1:0] array_data, vw_data, vr_data, gw_data, gr_data;

  npu_act_buffer #(.Lanes(Lanes), .ActWords(ActWords)) u_activations (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .a_en_i          (array_en),
    .a_addr_i        (array_addr),
    .a_data_o        (array_data),
    .vw_valid_i      (vw_valid),
    .vw_addr_i       (vw_addr),
    .vw_data_i       (vw_data),
    .vr_valid_i      (vr_valid),
    .vr_ready_o      (vr_ready),
    .vr_addr_i       (vr_addr),
    .vr_data_o       (vr_data),
    .vr_data_valid_o (vr_data_valid),
    .gw_valid_i      (gw_valid),
    .gw_ready_o      (gw_ready),
    .gw_addr_i       (gw_addr),
    .gw_data_i       (gw_data),
    .gr_valid_i      (gr_valid),
    .gr_ready_o      (gr_ready),
    .gr_addr_i       (gr_addr),
    .gr_data_o       (gr_data),
    .gr_data_valid_o (gr_data_valid),
    .lw_valid_i      (lw_valid_i),
    .lw_ready_o      (lw_ready_o),
    .lw_addr_i       (lw_addr_i),
    .lw_data_i       (lw_data_i),
    .sr_valid_i      (sr_valid_i),
    .sr_ready_o      (sr_ready_o),
    .sr_addr_i       (sr_addr_i),
    .sr_data_o       (sr_data_o),
    .sr_data_valid_o (sr_data_valid_o)
  );

  logic fill_en, wr_valid, wr_ready, wr_data_valid, tr_valid, tr_ready, tr_data_valid;
  logic [RowAddr-1:0] fill_row;
  logic [8*Cols-1:0] fill_data;
  logic [WgtAddr-1:0] wr_addr, tr_addr;
  logic [Width-1:0] wr_data, tr_data;

  npu_weight_buffer #(.Lanes(Lanes), .Groups(Groups), .WeightWords(WeightWords)) u_weights (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .f_en_i          (fill_en),
    .f_row_i         (fill_row),
    .f_data_o        (fill_data),
    .vr_valid_i      (wr_valid),
    .vr_ready_o      (wr_ready),
    .vr_addr_i       (wr_addr),
    .vr_data_o       (wr_data),
    .vr_data_valid_o (wr_data_valid),
    .gr_valid_i      (tr_valid),
    .gr_ready_o      (tr_ready),
    .gr_addr_i       (tr_addr),
    .gr_data_o       (tr_data),
    .gr_data_valid_o (tr_data_valid),
    .lw_valid_i      (ww_valid_i),
    .lw_ready_o      (ww_ready_o),
    .lw_addr_i       (ww_addr_i),
    .lw_data_i       (ww_data_i)
  );

  logic acc_valid, acc_overwrite, acc_high, acc_en;
  logic [AccAddr-1:0] acc_addr, acc_read_addr;
  logic [32*Cols-1:0] acc_sums, acc_data;

  npu_accumulators #(.Lanes(Lanes), .Groups(Groups), .AccWords(AccWords)) u_accumulators (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .acc_valid_i     (acc_valid),
    .acc_addr_i      (acc_addr),
    .acc_overwrite_i (acc_overwrite),
    .acc_high_i      (acc_high),
    .acc_sums_i      (acc_sums),
    .rd_en_i         (acc_en),
    .rd_addr_i       (acc_read_addr),
    .rd_data_o       (acc_data)
  );

  npu_compute #(
    .Lanes(Lanes), .Groups(Groups), .ActWords(ActWords), .WeightWords(WeightWords),
    .AccWords(AccWords), .WeightBits(WeightBits), .ColumnFill(RowPipes > 0 ? 1 : 0)
  ) u_compute (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .instr_valid_i   (compute_valid_i),
    .instr_i         (compute_i),
    .instr_ready_o   (compute_ready_o),
    .retire_valid_o  (compute_retire_o),
    .retire_ready_i  (compute_retire_i),
    .busy_o          (compute_busy_o),
    .stall_o         (compute_stall_o),
    .progress_o      (compute_progress_o),
    .a_en_o          (array_en),
    .a_addr_o        (array_addr),
    .a_data_i        (array_data),
    .f_en_o          (fill_en),
    .f_row_o         (fill_row),
    .f_data_i        (fill_data),
    .acc_valid_o     (acc_valid),
    .acc_addr_o      (acc_addr),
    .acc_overwrite_o (acc_overwrite),
    .acc_high_o      (acc_high),
    .acc_sums_o      (acc_sums)
  );

  npu_vector_queue #(
    .RowPipes(RowPipes), .Lanes(Lanes), .Groups(Groups), .ActWords(ActWords),
    .WeightWords(WeightWords), .AccWords(AccWords)
  ) u_vector (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .instr_valid_i   (vector_valid_i),
    .instr_i         (vector_i),
    .instr_ready_o   (vector_ready_o),
    .retire_valid_o  (vector_retire_o),
    .retire_ready_i  (vector_retire_i),
    .busy_o          (vector_busy_o),
    .stall_o         (vector_stall_o),
    .progress_o      (vector_progress_o),
    .wr_valid_o      (wr_valid),
    .wr_ready_i      (wr_ready),
    .wr_addr_o       (wr_addr),
    .wr_data_i       (wr_data),
    .wr_data_valid_i (wr_data_valid),
    .acc_en_o        (acc_en),
    .acc_addr_o      (acc_read_addr),
    .acc_data_i      (acc_data),
    .vr_valid_o      (vr_valid),
    .vr_ready_i      (vr_ready),
    .vr_addr_o       (vr_addr),
    .vr_data_i       (vr_data),
    .vr_data_valid_i (vr_data_valid),
    .vw_valid_o      (vw_valid),
    .vw_addr_o       (vw_addr),
    .vw_data_o       (vw_data)
  );

  npu_gather #(
    .WindowColumns(WindowColumns), .Lanes(Lanes), .ActWords(ActWords), .WeightWords(WeightWords)
  ) u_window (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .instr_valid_i   (window_valid_i),
    .instr_i         (window_i),
    .instr_ready_o   (window_ready_o),
    .retire_valid_o  (window_retire_o),
    .retire_ready_i  (window_retire_i),
    .busy_o          (window_busy_o),
    .stall_o         (window_stall_o),
    .progress_o      (window_progress_o),
    .wr_valid_o      (tr_valid),
    .wr_ready_i      (tr_ready),
    .wr_addr_o       (tr_addr),
    .wr_data_i       (tr_data),
    .wr_data_valid_i (tr_data_valid),
    .gr_valid_o      (gr_valid),
    .gr_ready_i      (gr_ready),
    .gr_addr_o       (gr_addr),
    .gr_data_i       (gr_data),
    .gr_data_valid_i (gr_data_valid),
    .gw_valid_o      (gw_valid),
    .gw_ready_i      (gw_ready),
    .gw_addr_o       (gw_addr),
    .gw_data_o       (gw_data)
  );
endmodule
