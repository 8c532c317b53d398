// SPDX-License-Identifier: Apache-2.0
// The npu: an instruction-driven tensor processor.  See docs/npu.md.
//
// Software writes the address of a program and the number of its instructions over AXI4-Lite and
// starts it; fetch deals the instructions to the queues of load, compute, vector and store, which
// work at the same time and wait for each other by tokens only.  Memory is reached over one AXI4
// master with one ID.
//
// Sizes are powers of two: `ActWords` and `WeightWords` words of `Lanes` bytes, `AccWords` words of
// `Groups * Lanes` sums in each half of the accumulators, `MemBytes` bytes in a beat of memory.
// `WindowColumns` columns of a window are multiplied at once; `RowPipes` elements of a row are
// handled at once by SOFTMAX and NORM, which are illegal instructions when it is 0.
// `QueueDepth` instructions wait in a queue (and one at its head); `ReadAhead` bounds the beats of
// load that are asked for before they arrive and should be no less than the memory's latency in
// cycles.

module npu_top #(
  parameter int Lanes         = 16,
  parameter int Groups        = 1,
  parameter int ActWords      = 8192,
  parameter int WeightWords   = 4096,
  parameter int AccWords      = 512,
  parameter int MemBytes      = 16,
  parameter int WindowColumns = 5,
  parameter int RowPipes      = 0,
  parameter int QueueDepth    = 16,
  parameter int ReadAhead     = 256
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  output logic                  irq_o,
  output logic                  mark_valid_o,
  output logic [15:0]           mark_layer_o,

  input  logic [11:0]           s_axil_awaddr,
  input  logic [2:0]            s_axil_awprot,
  input  logic                  s_axil_awvalid,
  output logic                  s_axil_awready,
  input  logic [31:0]           s_axil_wdata,
  input  logic [3:0]            s_axil_wstrb,
  input  logic                  s_axil_wvalid,
  output logic                  s_axil_wready,
  output logic [1:0]            s_axil_bresp,
  output logic                  s_axil_bvalid,
  input  logic                  s_axil_bready,
  input  logic [11:0]           s_axil_araddr,
  input  logic [2:0]            s_axil_arprot,
  input  logic                  s_axil_arvalid,
  output logic                  s_axil_arready,
  output logic [31:0]           s_axil_rdata,
  output logic [1:0]            s_axil_rresp,
  output logic                  s_axil_rvalid,
  input  logic                  s_axil_rready,

  output logic [0:0]            m_axi_awid,
  output logic [39:0]           m_axi_awaddr,
  output logic [7:0]            m_axi_awlen,
  output logic [2:0]            m_axi_awsize,
  output logic [1:0]            m_axi_awburst,
  output logic                  m_axi_awlock,
  output logic [3:0]            m_axi_awcache,
  output logic [2:0]            m_axi_awprot,
  output logic                  m_axi_awvalid,
  input  logic                  m_axi_awready,
  output logic [8*MemBytes-1:0] m_axi_wdata,
  output logic [MemBytes-1:0]   m_axi_wstrb,
  output logic                  m_axi_wlast,
  output logic                  m_axi_wvalid,
  input  logic                  m_axi_wready,
  input  logic [0:0]            m_axi_bid,
  input  logic [1:0]            m_axi_bresp,
  input  logic                  m_axi_bvalid,
  output logic                  m_axi_bready,
  output logic [0:0]            m_axi_arid,
  output logic [39:0]           m_axi_araddr,
  output logic [7:0]            m_axi_arlen,
  output logic [2:0]            m_axi_arsize,
  output logic [1:0]            m_axi_arburst,
  output logic                  m_axi_arlock,
  output logic [3:0]            m_axi_arcache,
  output logic [2:0]            m_axi_arprot,
  output logic                  m_axi_arvalid,
  input  logic                  m_axi_arready,
  input  logic [0:0]            m_axi_rid,
  input  logic [8*MemBytes-1:0] m_axi_rdata,
  input  logic [1:0]            m_axi_rresp,
  input  logic                  m_axi_rlast,
  input  logic                  m_axi_rvalid,
  output logic                  m_axi_rready
);
  localparam int InstrBits   = npu_isa_pkg::INSTRUCTION_BITS;
  localparam int WordBits    = 8 * Lanes;
  localparam int AddrBits    = 40;
  localparam int RunBits     = 28;
  localparam int Cols        = Groups * Lanes;
  localparam int LaneBits    = $clog2(Lanes);
  localparam int ActAddrBits = $clog2(ActWords);
  localparam int WgtAddrBits = $clog2(WeightWords);
  localparam int AccAddrBits = $clog2(2 * AccWords);
  localparam int RowAddrBits = WgtAddrBits - $clog2(Groups);
  localparam int Load        = npu_isa_pkg::UNIT_LOAD;
  localparam int Compute     = npu_isa_pkg::UNIT_COMPUTE;
  localparam int Vector      = npu_isa_pkg::UNIT_VECTOR;
  localparam int Store       = npu_isa_pkg::UNIT_STORE;

  if (Lanes < 4 || Lanes > 64 || 2 ** LaneBits != Lanes) begin : gen_check_lanes
    initial $fatal(1, "npu_top: Lanes must be a power of two from 4 to 64");
  end
  if (Cols > 64 || 2 ** $clog2(Groups) != Groups) begin : gen_check_groups
    initial $fatal(1, "npu_top: Groups must be a power of two and Groups * Lanes at most 64");
  end
  if (2 ** ActAddrBits != ActWords || 2 ** WgtAddrBits != WeightWords
      || 2 ** AccAddrBits != 2 * AccWords) begin : gen_check_words
    initial $fatal(1, "npu_top: ActWords, WeightWords and AccWords must be powers of two");
  end
  if (ActAddrBits > 24 || WgtAddrBits > 24 || AccAddrBits > 16) begin : gen_check_address
    initial $fatal(1, "npu_top: a buffer is larger than an instruction can address");
  end
  if (MemBytes < 4 || MemBytes > Lanes || 2 ** $clog2(MemBytes) != MemBytes) begin : gen_check_mem
    initial $fatal(1, "npu_top: MemBytes must be a power of two from 4 to Lanes");
  end
  if (WindowColumns < 1 || WindowColumns > 8) begin : gen_check_columns
    initial $fatal(1, "npu_top: WindowColumns must be from 1 to 8");
  end
  if (RowPipes != 0 && RowPipes != 1 && RowPipes != 2 && RowPipes != 4) begin : gen_check_pipes
    initial $fatal(1, "npu_top: RowPipes must be 0, 1, 2 or 4");
  end

  logic unit_rst_n, flush, halt, start;
  logic [AddrBits-1:0] base, program_addr;
  logic [31:0] count;
  logic reader_idle, writer_idle, illegal, read_error, write_error, read_beat, write_beat, progress;

  // One bit a unit, or four bits a unit, in the order of the units.
  logic [3:0] queue_valid, queue_ready, instr_valid, instr_ready, retire_valid, retire_ready;
  logic [3:0] busy, stall, unit_progress, waiting, retired, mark_valid, mark_ready;
  logic [15:0] missing, pop, push, available, full;
  logic [63:0] mark_layer;
  logic [InstrBits-1:0] fetched;

  assign read_beat  = m_axi_rvalid && m_axi_rready;
  assign write_beat = m_axi_wvalid && m_axi_wready;
  assign progress   = |unit_progress || |retired || |(queue_valid & queue_ready) || read_beat
                   || write_beat
                   || (m_axi_arvalid && m_axi_arready) || (m_axi_awvalid && m_axi_awready)
                   || (m_axi_bvalid && m_axi_bready);

  npu_control #(.Cols(Cols), .Lanes(Lanes), .AddrBits(AddrBits)) u_control (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .awaddr_i      (s_axil_awaddr),
    .awvalid_i     (s_axil_awvalid),
    .awready_o     (s_axil_awready),
    .wdata_i       (s_axil_wdata),
    .wstrb_i       (s_axil_wstrb),
    .wvalid_i      (s_axil_wvalid),
    .wready_o      (s_axil_wready),
    .bresp_o       (s_axil_bresp),
    .bvalid_o      (s_axil_bvalid),
    .bready_i      (s_axil_bready),
    .araddr_i      (s_axil_araddr),
    .arvalid_i     (s_axil_arvalid),
    .arready_o     (s_axil_arready),
    .rdata_o       (s_axil_rdata),
    .rresp_o       (s_axil_rresp),
    .rvalid_o      (s_axil_rvalid),
    .rready_i      (s_axil_rready),
    .irq_o         (irq_o),
    .unit_rst_no   (unit_rst_n),
    .flush_o       (flush),
    .halt_o        (halt),
    .start_o       (start),
    .base_o        (base),
    .program_o     (program_addr),
    .count_o       (count),
    .memory_idle_i (reader_idle && writer_idle),
    .illegal_i     (illegal),
    .read_error_i  (read_error),
    .write_error_i (write_error),
    .read_beat_i   (read_beat),
    .write_beat_i  (write_beat),
    .progress_i    (progress),
    .retired_i     (retired),
    .busy_i        (busy),
    .stall_i       (stall),
    .waiting_i     (waiting),
    .missing_i     (missing)
  );

  // Instructions: fetch, queues, tokens, marks.
  logic fetch_run_valid, fetch_run_ready, fetch_data_valid, fetch_data_ready;
  logic [AddrBits-1:0] fetch_run_addr;
  logic [RunBits-1:0] fetch_run_beats;
  logic [8*MemBytes-1:0] read_data;

  npu_fetch #(
    .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits), .RowPipes(RowPipes)
  ) u_fetch (
    .clk_i         (clk_i),
    .rst_ni        (unit_rst_n),
    .start_i       (start),
    .addr_i        (program_addr),
    .count_i       (count),
    .run_valid_o   (fetch_run_valid),
    .run_ready_i   (fetch_run_ready),
    .run_addr_o    (fetch_run_addr),
    .run_beats_o   (fetch_run_beats),
    .data_valid_i  (fetch_data_valid),
    .data_ready_o  (fetch_data_ready),
    .data_i        (read_data),
    .instr_valid_o (queue_valid),
    .instr_ready_i (queue_ready),
    .instr_o       (fetched),
    .illegal_o     (illegal)
  );

  npu_tokens u_tokens (
    .clk_i       (clk_i),
    .rst_ni      (unit_rst_n),
    .pop_i       (pop),
    .push_i      (push),
    .available_o (available),
    .full_o      (full)
  );

  logic [4*InstrBits-1:0] instrs;

  for (genvar u = 0; u < 4; u++) begin : gen_issue
    npu_issue #(.QueueDepth(QueueDepth)) u_issue (
      .clk_i           (clk_i),
      .rst_ni          (unit_rst_n),
      .halt_i          (halt),
      .enqueue_valid_i (queue_valid[u]),
      .enqueue_ready_o (queue_ready[u]),
      .enqueue_instr_i (fetched),
      .available_i     (available[4*u +: 4]),
      .pop_o           (pop[4*u +: 4]),
      .full_i          (full[4*u +: 4]),
      .push_o          (push[4*u +: 4]),
      .instr_valid_o   (instr_valid[u]),
      .instr_ready_i   (instr_ready[u]),
      .instr_o         (instrs[InstrBits*u +: InstrBits]),
      .retire_valid_i  (retire_valid[u]),
      .retire_ready_o  (retire_ready[u]),
      .mark_valid_o    (mark_valid[u]),
      .mark_ready_i    (mark_ready[u]),
      .mark_layer_o    (mark_layer[16*u +: 16]),
      .waiting_o       (waiting[u]),
      .missing_o       (missing[4*u +: 4]),
      .retired_o       (retired[u])
    );
  end

  npu_marks u_marks (
    .clk_i        (clk_i),
    .rst_ni       (unit_rst_n),
    .valid_i      (mark_valid),
    .ready_o      (mark_ready),
    .layer_i      (mark_layer),
    .mark_valid_o (mark_valid_o),
    .mark_layer_o (mark_layer_o)
  );

  // Memory.
  logic load_run_valid, load_run_ready, load_data_valid, load_data_ready;
  logic [AddrBits-1:0] load_run_addr;
  logic [RunBits-1:0] load_run_beats;
  logic store_run_valid, store_run_ready, store_run_last, store_data_valid, store_data_ready;
  logic store_done;
  logic [AddrBits-1:0] store_run_addr;
  logic [RunBits-1:0] store_run_beats;
  logic [8*MemBytes-1:0] store_data;
  logic unused_axi;

  assign m_axi_awid    = 1'b0;
  assign m_axi_awsize  = 3'($clog2(MemBytes));
  assign m_axi_awburst = 2'b01;
  assign m_axi_awlock  = 1'b0;
  assign m_axi_awcache = 4'b0011;
  assign m_axi_awprot  = 3'b000;
  assign m_axi_arid    = 1'b0;
  assign m_axi_arsize  = 3'($clog2(MemBytes));
  assign m_axi_arburst = 2'b01;
  assign m_axi_arlock  = 1'b0;
  assign m_axi_arcache = 4'b0011;
  assign m_axi_arprot  = 3'b000;
  assign unused_axi    = ^{s_axil_awprot, s_axil_arprot, m_axi_bid, m_axi_rid};

  npu_reader #(
    .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits), .ReadAhead(ReadAhead)
  ) u_reader (
    .clk_i              (clk_i),
    .rst_ni             (rst_ni),
    .unit_rst_ni        (unit_rst_n),
    .flush_i            (flush),
    .idle_o             (reader_idle),
    .error_o            (read_error),
    .fetch_run_valid_i  (fetch_run_valid),
    .fetch_run_ready_o  (fetch_run_ready),
    .fetch_run_addr_i   (fetch_run_addr),
    .fetch_run_beats_i  (fetch_run_beats),
    .fetch_data_valid_o (fetch_data_valid),
    .fetch_data_ready_i (fetch_data_ready),
    .load_run_valid_i   (load_run_valid),
    .load_run_ready_o   (load_run_ready),
    .load_run_addr_i    (load_run_addr),
    .load_run_beats_i   (load_run_beats),
    .load_data_valid_o  (load_data_valid),
    .load_data_ready_i  (load_data_ready),
    .data_o             (read_data),
    .araddr_o           (m_axi_araddr),
    .arlen_o            (m_axi_arlen),
    .arvalid_o          (m_axi_arvalid),
    .arready_i          (m_axi_arready),
    .rdata_i            (m_axi_rdata),
    .rresp_i            (m_axi_rresp),
    .rlast_i            (m_axi_rlast),
    .rvalid_i           (m_axi_rvalid),
    .rready_o           (m_axi_rready)
  );

  npu_writer #(.MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits)) u_writer (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .unit_rst_ni  (unit_rst_n),
    .flush_i      (flush),
    .idle_o       (writer_idle),
    .error_o      (write_error),
    .done_o       (store_done),
    .run_valid_i  (store_run_valid),
    .run_ready_o  (store_run_ready),
    .run_addr_i   (store_run_addr),
    .run_beats_i  (store_run_beats),
    .run_last_i   (store_run_last),
    .data_valid_i (store_data_valid),
    .data_ready_o (store_data_ready),
    .data_i       (store_data),
    .awaddr_o     (m_axi_awaddr),
    .awlen_o      (m_axi_awlen),
    .awvalid_o    (m_axi_awvalid),
    .awready_i    (m_axi_awready),
    .wdata_o      (m_axi_wdata),
    .wstrb_o      (m_axi_wstrb),
    .wlast_o      (m_axi_wlast),
    .wvalid_o     (m_axi_wvalid),
    .wready_i     (m_axi_wready),
    .bresp_i      (m_axi_bresp),
    .bvalid_i     (m_axi_bvalid),
    .bready_o     (m_axi_bready)
  );

  // Buffers.
  logic array_en, vw_valid, vr_valid, vr_ready, vr_data_valid, lw_valid, lw_ready;
  logic sr_valid, sr_ready, sr_data_valid;
  logic [ActAddrBits+LaneBits-1:0] array_addr;
  logic [ActAddrBits-1:0] vw_addr, vr_addr, lw_addr, sr_addr;
  logic [WordBits-1:0] array_data, vw_data, vr_data, lw_data, sr_data;

  npu_act_buffer #(.Lanes(Lanes), .ActWords(ActWords)) u_activations (
    .clk_i           (clk_i),
    .rst_ni          (unit_rst_n),
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
    .lw_valid_i      (lw_valid),
    .lw_ready_o      (lw_ready),
    .lw_addr_i       (lw_addr),
    .lw_data_i       (lw_data),
    .sr_valid_i      (sr_valid),
    .sr_ready_o      (sr_ready),
    .sr_addr_i       (sr_addr),
    .sr_data_o       (sr_data),
    .sr_data_valid_o (sr_data_valid)
  );

  logic fill_en, wr_valid, wr_ready, wr_data_valid, ww_valid, ww_ready;
  logic [RowAddrBits-1:0] fill_row;
  logic [Groups*WordBits-1:0] fill_data;
  logic [WgtAddrBits-1:0] wr_addr, ww_addr;
  logic [WordBits-1:0] wr_data, ww_data;

  npu_weight_buffer #(.Lanes(Lanes), .Groups(Groups), .WeightWords(WeightWords)) u_weights (
    .clk_i           (clk_i),
    .rst_ni          (unit_rst_n),
    .f_en_i          (fill_en),
    .f_row_i         (fill_row),
    .f_data_o        (fill_data),
    .vr_valid_i      (wr_valid),
    .vr_ready_o      (wr_ready),
    .vr_addr_i       (wr_addr),
    .vr_data_o       (wr_data),
    .vr_data_valid_o (wr_data_valid),
    .lw_valid_i      (ww_valid),
    .lw_ready_o      (ww_ready),
    .lw_addr_i       (ww_addr),
    .lw_data_i       (ww_data)
  );

  logic acc_valid, acc_overwrite, acc_high, acc_en;
  logic [AccAddrBits-1:0] acc_addr, acc_read_addr;
  logic [32*Cols-1:0] acc_sums, acc_data;

  npu_accumulators #(.Lanes(Lanes), .Groups(Groups), .AccWords(AccWords)) u_accumulators (
    .clk_i           (clk_i),
    .rst_ni          (unit_rst_n),
    .acc_valid_i     (acc_valid),
    .acc_addr_i      (acc_addr),
    .acc_overwrite_i (acc_overwrite),
    .acc_high_i      (acc_high),
    .acc_sums_i      (acc_sums),
    .rd_en_i         (acc_en),
    .rd_addr_i       (acc_read_addr),
    .rd_data_o       (acc_data)
  );

  // Units.
  npu_load #(
    .Lanes(Lanes), .ActWords(ActWords), .WeightWords(WeightWords), .MemBytes(MemBytes),
    .AddrBits(AddrBits), .RunBits(RunBits)
  ) u_load (
    .clk_i          (clk_i),
    .rst_ni         (unit_rst_n),
    .base_i         (base),
    .instr_valid_i  (instr_valid[Load]),
    .instr_ready_o  (instr_ready[Load]),
    .instr_i        (instrs[InstrBits*Load +: InstrBits]),
    .retire_valid_o (retire_valid[Load]),
    .retire_ready_i (retire_ready[Load]),
    .busy_o         (busy[Load]),
    .stall_o        (stall[Load]),
    .progress_o     (unit_progress[Load]),
    .run_valid_o    (load_run_valid),
    .run_ready_i    (load_run_ready),
    .run_addr_o     (load_run_addr),
    .run_beats_o    (load_run_beats),
    .data_valid_i   (load_data_valid),
    .data_ready_o   (load_data_ready),
    .data_i         (read_data),
    .act_valid_o    (lw_valid),
    .act_ready_i    (lw_ready),
    .act_addr_o     (lw_addr),
    .act_data_o     (lw_data),
    .wgt_valid_o    (ww_valid),
    .wgt_ready_i    (ww_ready),
    .wgt_addr_o     (ww_addr),
    .wgt_data_o     (ww_data)
  );

  npu_compute #(
    .Lanes(Lanes), .Groups(Groups), .ActWords(ActWords), .WeightWords(WeightWords),
    .AccWords(AccWords), .ColumnFill(RowPipes > 0 ? 1 : 0)
  ) u_compute (
    .clk_i           (clk_i),
    .rst_ni          (unit_rst_n),
    .instr_valid_i   (instr_valid[Compute]),
    .instr_i         (instrs[InstrBits*Compute +: InstrBits]),
    .instr_ready_o   (instr_ready[Compute]),
    .retire_valid_o  (retire_valid[Compute]),
    .retire_ready_i  (retire_ready[Compute]),
    .busy_o          (busy[Compute]),
    .stall_o         (stall[Compute]),
    .progress_o      (unit_progress[Compute]),
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
    .WindowColumns(WindowColumns), .RowPipes(RowPipes), .Lanes(Lanes), .Groups(Groups),
    .ActWords(ActWords), .WeightWords(WeightWords), .AccWords(AccWords)
  ) u_vector (
    .clk_i           (clk_i),
    .rst_ni          (unit_rst_n),
    .instr_valid_i   (instr_valid[Vector]),
    .instr_i         (instrs[InstrBits*Vector +: InstrBits]),
    .instr_ready_o   (instr_ready[Vector]),
    .retire_valid_o  (retire_valid[Vector]),
    .retire_ready_i  (retire_ready[Vector]),
    .busy_o          (busy[Vector]),
    .stall_o         (stall[Vector]),
    .progress_o      (unit_progress[Vector]),
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

  npu_store #(
    .Lanes(Lanes), .ActWords(ActWords), .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits)
  ) u_store (
    .clk_i            (clk_i),
    .rst_ni           (unit_rst_n),
    .base_i           (base),
    .instr_valid_i    (instr_valid[Store]),
    .instr_ready_o    (instr_ready[Store]),
    .instr_i          (instrs[InstrBits*Store +: InstrBits]),
    .retire_valid_o   (retire_valid[Store]),
    .retire_ready_i   (retire_ready[Store]),
    .busy_o           (busy[Store]),
    .stall_o          (stall[Store]),
    .progress_o       (unit_progress[Store]),
    .act_valid_o      (sr_valid),
    .act_ready_i      (sr_ready),
    .act_addr_o       (sr_addr),
    .act_data_i       (sr_data),
    .act_data_valid_i (sr_data_valid),
    .run_valid_o      (store_run_valid),
    .run_ready_i      (store_run_ready),
    .run_addr_o       (store_run_addr),
    .run_beats_o      (store_run_beats),
    .run_last_o       (store_run_last),
    .data_valid_o     (store_data_valid),
    .data_ready_i     (store_data_ready),
    .data_o           (store_data),
    .done_i           (store_done)
  );
endmodule
