// SPDX-License-Identifier: Apache-2.0
// The npu's buffers with its compute, vector and window units, for unit tests of the datapath.
// Instructions of vector and window come through one port and take turns.  Whatever the other units
// would do is a port; `poke` writes accumulators past the array, `peek` reads them.

module datapath_bench #(
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int ActWords = 256,
  parameter int WeightWords = 512,
  parameter int AccWords = 64,
  parameter int WindowColumns = 5,
  localparam int Width = 8 * Lanes,
  localparam int AccWidth = 32 * Lanes * Groups,
  localparam int LaneBits = $clog2(Lanes),
  localparam int ActAddr = $clog2(ActWords),
  localparam int WgtAddr = $clog2(WeightWords),
  localparam int AccAddr = $clog2(2 * AccWords),
  localparam int RowBits = WgtAddr - $clog2(Groups)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                compute_valid_i,
  output logic                compute_ready_o,
  input  logic [511:0]        compute_i,
  output logic                compute_retire_o,
  input  logic                compute_retire_i,
  output logic                compute_busy_o,
  output logic                compute_stall_o,
  output logic                compute_progress_o,
  input  logic                vector_valid_i,
  output logic                vector_ready_o,
  input  logic [511:0]        vector_i,
  output logic                vector_retire_o,
  input  logic                vector_retire_i,
  output logic                vector_busy_o,
  output logic                vector_stall_o,
  output logic                vector_progress_o,
  input  logic                lw_valid_i,
  output logic                lw_ready_o,
  input  logic [ActAddr-1:0]  lw_addr_i,
  input  logic [Width-1:0]    lw_data_i,
  input  logic                sr_valid_i,
  output logic                sr_ready_o,
  input  logic [ActAddr-1:0]  sr_addr_i,
  output logic [Width-1:0]    sr_data_o,
  output logic                sr_data_valid_o,
  input  logic                ww_valid_i,
  output logic                ww_ready_o,
  input  logic [WgtAddr-1:0]  ww_addr_i,
  input  logic [Width-1:0]    ww_data_i,
  input  logic                poke_valid_i,
  input  logic [AccAddr-1:0]  poke_addr_i,
  input  logic [AccWidth-1:0] poke_sums_i,
  input  logic                peek_en_i,
  input  logic [AccAddr-1:0]  peek_addr_i,
  output logic [AccWidth-1:0] peek_data_o
);

  logic                        a_en;
  logic [ActAddr+LaneBits-1:0] a_addr;
  logic [Width-1:0]            a_data;
  logic                        vw_valid;
  logic [ActAddr-1:0]          vw_addr;
  logic [Width-1:0]            vw_data;
  logic                        vr_valid;
  logic                        vr_ready;
  logic [ActAddr-1:0]          vr_addr;
  logic [Width-1:0]            vr_data;
  logic                        vr_data_valid;
  logic                        gw_valid;
  logic                        gw_ready;
  logic [ActAddr-1:0]          gw_addr;
  logic [Width-1:0]            gw_data;
  logic                        gr_valid;
  logic                        gr_ready;
  logic [ActAddr-1:0]          gr_addr;
  logic [Width-1:0]            gr_data;
  logic                        gr_data_valid;
  logic                        f_en;
  logic [RowBits-1:0]          f_row;
  logic [Groups*Width-1:0]     f_data;
  logic                        wr_valid;
  logic                        wr_ready;
  logic [WgtAddr-1:0]          wr_addr;
  logic [Width-1:0]            wr_data;
  logic                        wr_data_valid;
  logic                        tr_valid;
  logic                        tr_ready;
  logic [WgtAddr-1:0]          tr_addr;
  logic [Width-1:0]            tr_data;
  logic                        tr_data_valid;
  logic                        acc_valid;
  logic [AccAddr-1:0]          acc_addr;
  logic                        acc_overwrite;
  logic                        acc_high;
  logic [AccWidth-1:0]         acc_sums;
  logic                        poke_q1;
  logic                        poke_q2;
  logic                        rd_en;
  logic [AccAddr-1:0]          rd_addr;

  npu_act_buffer #(
    .Lanes   (Lanes),
    .ActWords(ActWords)
  ) u_act (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .a_en_i         (a_en),
    .a_addr_i       (a_addr),
    .a_data_o       (a_data),
    .vw_valid_i     (vw_valid),
    .vw_addr_i      (vw_addr),
    .vw_data_i      (vw_data),
    .vr_valid_i     (vr_valid),
    .vr_ready_o     (vr_ready),
    .vr_addr_i      (vr_addr),
    .vr_data_o      (vr_data),
    .vr_data_valid_o(vr_data_valid),
    .gw_valid_i     (gw_valid),
    .gw_ready_o     (gw_ready),
    .gw_addr_i      (gw_addr),
    .gw_data_i      (gw_data),
    .gr_valid_i     (gr_valid),
    .gr_ready_o     (gr_ready),
    .gr_addr_i      (gr_addr),
    .gr_data_o      (gr_data),
    .gr_data_valid_o(gr_data_valid),
    .lw_valid_i     (lw_valid_i),
    .lw_ready_o     (lw_ready_o),
    .lw_addr_i      (lw_addr_i),
    .lw_data_i      (lw_data_i),
    .sr_valid_i     (sr_valid_i),
    .sr_ready_o     (sr_ready_o),
    .sr_addr_i      (sr_addr_i),
    .sr_data_o      (sr_data_o),
    .sr_data_valid_o(sr_data_valid_o)
  );

  npu_weight_buffer #(
    .Lanes      (Lanes),
    .Groups     (Groups),
    .WeightWords(WeightWords)
  ) u_weights (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .f_en_i         (f_en),
    .f_row_i        (f_row),
    .f_data_o       (f_data),
    .vr_valid_i     (wr_valid),
    .vr_ready_o     (wr_ready),
    .vr_addr_i      (wr_addr),
    .vr_data_o      (wr_data),
    .vr_data_valid_o(wr_data_valid),
    .gr_valid_i     (tr_valid),
    .gr_ready_o     (tr_ready),
    .gr_addr_i      (tr_addr),
    .gr_data_o      (tr_data),
    .gr_data_valid_o(tr_data_valid),
    .lw_valid_i     (ww_valid_i),
    .lw_ready_o     (ww_ready_o),
    .lw_addr_i      (ww_addr_i),
    .lw_data_i      (ww_data_i)
  );

  always_ff @(posedge clk_i) begin
    poke_q1 <= poke_valid_i;
    poke_q2 <= poke_q1;
  end

  npu_accumulators #(
    .Lanes   (Lanes),
    .Groups  (Groups),
    .AccWords(AccWords)
  ) u_accumulators (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .acc_valid_i    (acc_valid || poke_valid_i),
    .acc_addr_i     (poke_valid_i ? poke_addr_i : acc_addr),
    .acc_overwrite_i(poke_valid_i || acc_overwrite),
    .acc_high_i     (!poke_valid_i && acc_high),
    .acc_sums_i     (poke_q2 ? poke_sums_i : acc_sums),
    .rd_en_i        (peek_en_i || rd_en),
    .rd_addr_i      (peek_en_i ? peek_addr_i : rd_addr),
    .rd_data_o      (peek_data_o)
  );

  npu_compute #(
    .Lanes      (Lanes),
    .Groups     (Groups),
    .ActWords   (ActWords),
    .WeightWords(WeightWords),
    .AccWords   (AccWords)
  ) u_compute (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .instr_valid_i  (compute_valid_i),
    .instr_i        (compute_i),
    .instr_ready_o  (compute_ready_o),
    .retire_valid_o (compute_retire_o),
    .retire_ready_i (compute_retire_i),
    .busy_o         (compute_busy_o),
    .stall_o        (compute_stall_o),
    .progress_o     (compute_progress_o),
    .a_en_o         (a_en),
    .a_addr_o       (a_addr),
    .a_data_i       (a_data),
    .f_en_o         (f_en),
    .f_row_o        (f_row),
    .f_data_i       (f_data),
    .acc_valid_o    (acc_valid),
    .acc_addr_o     (acc_addr),
    .acc_overwrite_o(acc_overwrite),
    .acc_high_o     (acc_high),
    .acc_sums_o     (acc_sums)
  );

  // Bit 0 is the vector unit's, bit 1 the window unit's.
  logic [1:0] valid;
  logic [1:0] ready;
  logic [1:0] retire;
  logic [1:0] busy;
  logic [1:0] stall;
  logic [1:0] progress;
  logic       window;
  logic       unused_emit;

  assign window = vector_i[npu_isa_pkg::UNIT_BITS-1:0]
               == npu_isa_pkg::UNIT_BITS'(npu_isa_pkg::UNIT_WINDOW);
  assign valid = vector_valid_i && vector_ready_o ? {window, !window} : 2'b00;
  assign vector_ready_o = &ready;
  assign vector_retire_o = |retire;
  assign vector_busy_o = |busy;
  assign vector_stall_o = |stall;
  assign vector_progress_o = |progress;

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
    .instr_valid_i  (valid[0]),
    .instr_i        (vector_i),
    .instr_ready_o  (ready[0]),
    .retire_valid_o (retire[0]),
    .retire_ready_i (vector_retire_i),
    .busy_o         (busy[0]),
    .stall_o        (stall[0]),
    .progress_o     (progress[0]),
    .wr_valid_o     (wr_valid),
    .wr_ready_i     (wr_ready),
    .wr_addr_o      (wr_addr),
    .wr_data_i      (wr_data),
    .wr_data_valid_i(wr_data_valid),
    .acc_en_o       (rd_en),
    .acc_addr_o     (rd_addr),
    .acc_data_i     (peek_data_o),
    .vr_valid_o     (vr_valid),
    .vr_ready_i     (vr_ready),
    .vr_addr_o      (vr_addr),
    .vr_data_i      (vr_data),
    .vr_data_valid_i(vr_data_valid),
    .room_i         (1'b1),
    .emit_o         (unused_emit),
    .vw_valid_o     (vw_valid),
    .vw_addr_o      (vw_addr),
    .vw_data_o      (vw_data)
  );

  npu_gather #(
    .WindowColumns(WindowColumns),
    .Lanes        (Lanes),
    .ActWords     (ActWords),
    .WeightWords  (WeightWords)
  ) u_window (
    .clk_i          (clk_i),
    .rst_ni         (rst_ni),
    .instr_valid_i  (valid[1]),
    .instr_i        (vector_i),
    .instr_ready_o  (ready[1]),
    .retire_valid_o (retire[1]),
    .retire_ready_i (vector_retire_i),
    .busy_o         (busy[1]),
    .stall_o        (stall[1]),
    .progress_o     (progress[1]),
    .wr_valid_o     (tr_valid),
    .wr_ready_i     (tr_ready),
    .wr_addr_o      (tr_addr),
    .wr_data_i      (tr_data),
    .wr_data_valid_i(tr_data_valid),
    .gr_valid_o     (gr_valid),
    .gr_ready_i     (gr_ready),
    .gr_addr_o      (gr_addr),
    .gr_data_i      (gr_data),
    .gr_data_valid_i(gr_data_valid),
    .gw_valid_o     (gw_valid),
    .gw_ready_i     (gw_ready),
    .gw_addr_o      (gw_addr),
    .gw_data_o      (gw_data)
  );

endmodule
