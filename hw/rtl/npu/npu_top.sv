// SPDX-License-Identifier: Apache-2.0
// The npu: an instruction-driven tensor processor.  See docs/npu.md.
//
// Software writes the address of a program and the number of its instructions over AXI4-Lite and
// starts it; fetch deals the instructions to the queues of load, compute, vector, store and window,
// which work at the same time and wait for each other by tokens only.  Memory is reached over one
// AXI4 master with one ID.
//
// Sizes are powers of two: `ActWords` and `WeightWords` words of `Lanes` bytes, `AccWords` words of
// `Groups * Lanes` sums in each half of the accumulators, `MemBytes` bytes in a beat of memory.
// `WindowColumns` columns of a window are multiplied at once; `RowPipes` elements of a row are
// handled at once by SOFTMAX and NORM, which are illegal instructions when it is 0.
// Weights take `WeightBits` bits at least, 2, 4 or 8.
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
  parameter int WeightBits    = 2,
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
  localparam int InstrBits = npu_isa_pkg::INSTRUCTION_BITS;
  localparam int AddrBits  = 40;
  localparam int RunBits   = 28;
  localparam int Cols      = Groups * Lanes;
  localparam int ActAddr   = $clog2(ActWords);
  localparam int WgtAddr   = $clog2(WeightWords);
  localparam int AccAddr   = $clog2(2 * AccWords);
  localparam int Load      = npu_isa_pkg::UNIT_LOAD;
  localparam int Compute   = npu_isa_pkg::UNIT_COMPUTE;
  localparam int Vector    = npu_isa_pkg::UNIT_VECTOR;
  localparam int Store     = npu_isa_pkg::UNIT_STORE;
  localparam int Window    = npu_isa_pkg::UNIT_WINDOW;
  localparam int Units     = npu_isa_pkg::UNITS;

  if (Lanes < 4 || Lanes > 64 || 2 ** $clog2(Lanes) != Lanes) begin : gen_check_lanes
    initial $fatal(1, "npu_top: Lanes must be a power of two from 4 to 64");
  end
  if (Cols > 64 || 2 ** $clog2(Groups) != Groups) begin : gen_check_groups
    initial $fatal(1, "npu_top: Groups must be a power of two and Groups * Lanes at most 64");
  end
  if (2 ** ActAddr != ActWords || 2 ** WgtAddr != WeightWords
      || 2 ** AccAddr != 2 * AccWords) begin : gen_check_words
    initial $fatal(1, "npu_top: ActWords, WeightWords and AccWords must be powers of two");
  end
  if (ActAddr > 24 || WgtAddr > 24 || AccAddr > 16) begin : gen_check_address
    initial $fatal(1, "npu_top: a buffer is larger than an instruction can address");
  end
  if (MemBytes < 4 || MemBytes > Lanes || 2 ** $clog2(MemBytes) != MemBytes) begin : gen_check_mem
    initial $fatal(1, "npu_top: MemBytes must be a power of two from 4 to Lanes");
  end
  if (WindowColumns < 1 || WindowColumns > 8) begin : gen_check_columns
    initial $fatal(1, "npu_top: WindowColumns must be from 1 to 8");
  end
  if (RowPipes < 0 || RowPipes > 8 || RowPipes > Lanes || (RowPipes & (RowPipes - 1)) != 0)
  begin : gen_check_pipes
    initial $fatal(1, "npu_top: RowPipes must be 0, 1, 2, 4 or 8 and at most Lanes");
  end
  if (WeightBits != 2 && WeightBits != 4 && WeightBits != 8) begin : gen_check_bits
    initial $fatal(1, "npu_top: WeightBits must be 2, 4 or 8");
  end

  logic unit_rst_n, flush, halt, start;
  logic [AddrBits-1:0] base, program_addr;
  logic [31:0] count;
  logic memory_idle, illegal, read_error, write_error, read_beat, write_beat, dealt, progress;

  // A bit a unit, or one for every unit a unit, in the order of the units.
  logic [Units-1:0] instr_valid, instr_ready, retire_valid, retire_ready;
  logic [Units-1:0] busy, stall, unit_progress, waiting, retired;
  logic [Units*Units-1:0] missing;
  logic [Units*InstrBits-1:0] instrs;

  logic fetch_run_valid, fetch_run_ready, fetch_data_valid, fetch_data_ready;
  logic [AddrBits-1:0] fetch_run_addr;
  logic [RunBits-1:0] fetch_run_beats;
  logic [8*MemBytes-1:0] read_data;

  logic lw_valid, lw_ready, ww_valid, ww_ready, sr_valid, sr_ready, sr_data_valid;
  logic [ActAddr-1:0] lw_addr, sr_addr;
  logic [WgtAddr-1:0] ww_addr;
  logic [8*Lanes-1:0] lw_data, ww_data, sr_data;

  assign read_beat  = m_axi_rvalid && m_axi_rready;
  assign write_beat = m_axi_wvalid && m_axi_wready;
  assign progress   = |unit_progress || |retired || dealt || read_beat || write_beat
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
    .memory_idle_i (memory_idle),
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

  npu_program #(
    .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits), .RowPipes(RowPipes),
    .QueueDepth(QueueDepth)
  ) u_program (
    .clk_i          (clk_i),
    .rst_ni         (unit_rst_n),
    .start_i        (start),
    .halt_i         (halt),
    .addr_i         (program_addr),
    .count_i        (count),
    .illegal_o      (illegal),
    .progress_o     (dealt),
    .run_valid_o    (fetch_run_valid),
    .run_ready_i    (fetch_run_ready),
    .run_addr_o     (fetch_run_addr),
    .run_beats_o    (fetch_run_beats),
    .data_valid_i   (fetch_data_valid),
    .data_ready_o   (fetch_data_ready),
    .data_i         (read_data),
    .instr_valid_o  (instr_valid),
    .instr_ready_i  (instr_ready),
    .instrs_o       (instrs),
    .retire_valid_i (retire_valid),
    .retire_ready_o (retire_ready),
    .retired_o      (retired),
    .waiting_o      (waiting),
    .missing_o      (missing),
    .mark_valid_o   (mark_valid_o),
    .mark_layer_o   (mark_layer_o)
  );

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

  npu_dma #(
    .Lanes(Lanes), .ActWords(ActWords), .WeightWords(WeightWords), .MemBytes(MemBytes),
    .AddrBits(AddrBits), .RunBits(RunBits), .ReadAhead(ReadAhead)
  ) u_dma (
    .clk_i              (clk_i),
    .rst_ni             (rst_ni),
    .unit_rst_ni        (unit_rst_n),
    .flush_i            (flush),
    .base_i             (base),
    .idle_o             (memory_idle),
    .read_error_o       (read_error),
    .write_error_o      (write_error),
    .fetch_run_valid_i  (fetch_run_valid),
    .fetch_run_ready_o  (fetch_run_ready),
    .fetch_run_addr_i   (fetch_run_addr),
    .fetch_run_beats_i  (fetch_run_beats),
    .fetch_data_valid_o (fetch_data_valid),
    .fetch_data_ready_i (fetch_data_ready),
    .data_o             (read_data),
    .load_valid_i       (instr_valid[Load]),
    .load_i             (instrs[InstrBits*Load +: InstrBits]),
    .load_ready_o       (instr_ready[Load]),
    .load_retire_o      (retire_valid[Load]),
    .load_retire_i      (retire_ready[Load]),
    .load_busy_o        (busy[Load]),
    .load_stall_o       (stall[Load]),
    .load_progress_o    (unit_progress[Load]),
    .store_valid_i      (instr_valid[Store]),
    .store_i            (instrs[InstrBits*Store +: InstrBits]),
    .store_ready_o      (instr_ready[Store]),
    .store_retire_o     (retire_valid[Store]),
    .store_retire_i     (retire_ready[Store]),
    .store_busy_o       (busy[Store]),
    .store_stall_o      (stall[Store]),
    .store_progress_o   (unit_progress[Store]),
    .lw_valid_o         (lw_valid),
    .lw_ready_i         (lw_ready),
    .lw_addr_o          (lw_addr),
    .lw_data_o          (lw_data),
    .ww_valid_o         (ww_valid),
    .ww_ready_i         (ww_ready),
    .ww_addr_o          (ww_addr),
    .ww_data_o          (ww_data),
    .sr_valid_o         (sr_valid),
    .sr_ready_i         (sr_ready),
    .sr_addr_o          (sr_addr),
    .sr_data_i          (sr_data),
    .sr_data_valid_i    (sr_data_valid),
    .awaddr_o           (m_axi_awaddr),
    .awlen_o            (m_axi_awlen),
    .awvalid_o          (m_axi_awvalid),
    .awready_i          (m_axi_awready),
    .wdata_o            (m_axi_wdata),
    .wstrb_o            (m_axi_wstrb),
    .wlast_o            (m_axi_wlast),
    .wvalid_o           (m_axi_wvalid),
    .wready_i           (m_axi_wready),
    .bresp_i            (m_axi_bresp),
    .bvalid_i           (m_axi_bvalid),
    .bready_o           (m_axi_bready),
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

  npu_core #(
    .Lanes(Lanes), .Groups(Groups), .ActWords(ActWords), .WeightWords(WeightWords),
    .AccWords(AccWords), .WindowColumns(WindowColumns), .RowPipes(RowPipes),
    .WeightBits(WeightBits)
  ) u_core (
    .clk_i              (clk_i),
    .rst_ni             (unit_rst_n),
    .compute_valid_i    (instr_valid[Compute]),
    .compute_i          (instrs[InstrBits*Compute +: InstrBits]),
    .compute_ready_o    (instr_ready[Compute]),
    .compute_retire_o   (retire_valid[Compute]),
    .compute_retire_i   (retire_ready[Compute]),
    .compute_busy_o     (busy[Compute]),
    .compute_stall_o    (stall[Compute]),
    .compute_progress_o (unit_progress[Compute]),
    .vector_valid_i     (instr_valid[Vector]),
    .vector_i           (instrs[InstrBits*Vector +: InstrBits]),
    .vector_ready_o     (instr_ready[Vector]),
    .vector_retire_o    (retire_valid[Vector]),
    .vector_retire_i    (retire_ready[Vector]),
    .vector_busy_o      (busy[Vector]),
    .vector_stall_o     (stall[Vector]),
    .vector_progress_o  (unit_progress[Vector]),
    .window_valid_i     (instr_valid[Window]),
    .window_i           (instrs[InstrBits*Window +: InstrBits]),
    .window_ready_o     (instr_ready[Window]),
    .window_retire_o    (retire_valid[Window]),
    .window_retire_i    (retire_ready[Window]),
    .window_busy_o      (busy[Window]),
    .window_stall_o     (stall[Window]),
    .window_progress_o  (unit_progress[Window]),
    .lw_valid_i         (lw_valid),
    .lw_ready_o         (lw_ready),
    .lw_addr_i          (lw_addr),
    .lw_data_i          (lw_data),
    .ww_valid_i         (ww_valid),
    .ww_ready_o         (ww_ready),
    .ww_addr_i          (ww_addr),
    .ww_data_i          (ww_data),
    .sr_valid_i         (sr_valid),
    .sr_ready_o         (sr_ready),
    .sr_addr_i          (sr_addr),
    .sr_data_o          (sr_data),
    .sr_data_valid_o    (sr_data_valid)
  );
endmodule
