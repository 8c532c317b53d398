// SPDX-License-Identifier: Apache-2.0
// The memory's side of the npu: the units load and store, and the AXI4 channels on which load shares
// reading with instruction fetch.
//
// `rst_ni` belongs to AXI, `unit_rst_ni` to the units; `idle_o` is high when no transaction is
// outstanding.  lw and ww are the writes of load into the activation and the weight buffer, sr the
// reads of store.  The parts are described in their own headers.

module npu_dma #(
  parameter int Lanes       = 16,
  parameter int ActWords    = 8192,
  parameter int WeightWords = 4096,
  parameter int MemBytes    = 16,
  parameter int AddrBits    = 40,
  parameter int RunBits     = 28,
  parameter int ReadAhead   = 256,
  localparam int ActAddr    = $clog2(ActWords),
  localparam int WgtAddr    = $clog2(WeightWords),
  localparam int InstrBits  = npu_isa_pkg::INSTRUCTION_BITS
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  unit_rst_ni,
  input  logic                  flush_i,
  input  logic [AddrBits-1:0]   base_i,
  output logic                  idle_o,
  output logic                  read_error_o,
  output logic                  write_error_o,
  input  logic                  fetch_run_valid_i,
  output logic                  fetch_run_ready_o,
  input  logic [AddrBits-1:0]   fetch_run_addr_i,
  input  logic [RunBits-1:0]    fetch_run_beats_i,
  output logic                  fetch_data_valid_o,
  input  logic                  fetch_data_ready_i,
  output logic [8*MemBytes-1:0] data_o,
  input  logic                  load_valid_i,
  input  logic [InstrBits-1:0]  load_i,
  output logic                  load_ready_o,
  output logic                  load_retire_o,
  input  logic                  load_retire_i,
  output logic                  load_busy_o,
  output logic                  load_stall_o,
  output logic                  load_progress_o,
  input  logic                  store_valid_i,
  input  logic [InstrBits-1:0]  store_i,
  output logic                  store_ready_o,
  output logic                  store_retire_o,
  input  logic                  store_retire_i,
  output logic                  store_busy_o,
  output logic                  store_stall_o,
  output logic                  store_progress_o,
  output logic                  lw_valid_o,
  input  logic                  lw_ready_i,
  output logic [ActAddr-1:0]    lw_addr_o,
  output logic [8*Lanes-1:0]    lw_data_o,
  output logic                  ww_valid_o,
  input  logic                  ww_ready_i,
  output logic [WgtAddr-1:0]    ww_addr_o,
  output logic [8*Lanes-1:0]    ww_data_o,
  output logic                  sr_valid_o,
  input  logic                  sr_ready_i,
  output logic [ActAddr-1:0]    sr_addr_o,
  input  logic [8*Lanes-1:0]    sr_data_i,
  input  logic                  sr_data_valid_i,
  output logic [AddrBits-1:0]   awaddr_o,
  output logic [7:0]            awlen_o,
  output logic                  awvalid_o,
  input  logic                  awready_i,
  output logic [8*MemBytes-1:0] wdata_o,
  output logic [MemBytes-1:0]   wstrb_o,
  output logic                  wlast_o,
  output logic                  wvalid_o,
  input  logic                  wready_i,
  input  logic [1:0]            bresp_i,
  input  logic                  bvalid_i,
  output logic                  bready_o,
  output logic [AddrBits-1:0]   araddr_o,
  output logic [7:0]            arlen_o,
  output logic                  arvalid_o,
  input  logic                  arready_i,
  input  logic [8*MemBytes-1:0] rdata_i,
  input  logic [1:0]            rresp_i,
  input  logic                  rlast_i,
  input  logic                  rvalid_i,
  output logic                  rready_o
);
  logic load_run_valid, load_run_ready, load_data_valid, load_data_ready;
  logic store_run_valid, store_run_ready, store_run_last, store_data_valid, store_data_ready;
  logic reader_idle, writer_idle, store_done;
  logic [AddrBits-1:0] load_run_addr, store_run_addr;
  logic [RunBits-1:0] load_run_beats, store_run_beats;
  logic [8*MemBytes-1:0] store_data;

  assign idle_o = reader_idle && writer_idle;

  npu_reader #(
    .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits), .ReadAhead(ReadAhead)
  ) u_reader (
    .clk_i              (clk_i),
    .rst_ni             (rst_ni),
    .unit_rst_ni        (unit_rst_ni),
    .flush_i            (flush_i),
    .idle_o             (reader_idle),
    .error_o            (read_error_o),
    .fetch_run_valid_i  (fetch_run_valid_i),
    .fetch_run_ready_o  (fetch_run_ready_o),
    .fetch_run_addr_i   (fetch_run_addr_i),
    .fetch_run_beats_i  (fetch_run_beats_i),
    .fetch_data_valid_o (fetch_data_valid_o),
    .fetch_data_ready_i (fetch_data_ready_i),
    .load_run_valid_i   (load_run_valid),
    .load_run_ready_o   (load_run_ready),
    .load_run_addr_i    (load_run_addr),
    .load_run_beats_i   (load_run_beats),
    .load_data_valid_o  (load_data_valid),
    .load_data_ready_i  (load_data_ready),
    .data_o             (data_o),
    .araddr_o           (araddr_o),
    .arlen_o            (arlen_o),
    .arvalid_o          (arvalid_o),
    .arready_i          (arready_i),
    .rdata_i            (rdata_i),
    .rresp_i            (rresp_i),
    .rlast_i            (rlast_i),
    .rvalid_i           (rvalid_i),
    .rready_o           (rready_o)
  );

  npu_writer #(.MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits)) u_writer (
    .clk_i        (clk_i),
    .rst_ni       (rst_ni),
    .unit_rst_ni  (unit_rst_ni),
    .flush_i      (flush_i),
    .idle_o       (writer_idle),
    .error_o      (write_error_o),
    .done_o       (store_done),
    .run_valid_i  (store_run_valid),
    .run_ready_o  (store_run_ready),
    .run_addr_i   (store_run_addr),
    .run_beats_i  (store_run_beats),
    .run_last_i   (store_run_last),
    .data_valid_i (store_data_valid),
    .data_ready_o (store_data_ready),
    .data_i       (store_data),
    .awaddr_o     (awaddr_o),
    .awlen_o      (awlen_o),
    .awvalid_o    (awvalid_o),
    .awready_i    (awready_i),
    .wdata_o      (wdata_o),
    .wstrb_o      (wstrb_o),
    .wlast_o      (wlast_o),
    .wvalid_o     (wvalid_o),
    .wready_i     (wready_i),
    .bresp_i      (bresp_i),
    .bvalid_i     (bvalid_i),
    .bready_o     (bready_o)
  );

  npu_load #(
    .Lanes(Lanes), .ActWords(ActWords), .WeightWords(WeightWords), .MemBytes(MemBytes),
    .AddrBits(AddrBits), .RunBits(RunBits)
  ) u_load (
    .clk_i          (clk_i),
    .rst_ni         (unit_rst_ni),
    .base_i         (base_i),
    .instr_valid_i  (load_valid_i),
    .instr_ready_o  (load_ready_o),
    .instr_i        (load_i),
    .retire_valid_o (load_retire_o),
    .retire_ready_i (load_retire_i),
    .busy_o         (load_busy_o),
    .stall_o        (load_stall_o),
    .progress_o     (load_progress_o),
    .run_valid_o    (load_run_valid),
    .run_ready_i    (load_run_ready),
    .run_addr_o     (load_run_addr),
    .run_beats_o    (load_run_beats),
    .data_valid_i   (load_data_valid),
    .data_ready_o   (load_data_ready),
    .data_i         (data_o),
    .act_valid_o    (lw_valid_o),
    .act_ready_i    (lw_ready_i),
    .act_addr_o     (lw_addr_o),
    .act_data_o     (lw_data_o),
    .wgt_valid_o    (ww_valid_o),
    .wgt_ready_i    (ww_ready_i),
    .wgt_addr_o     (ww_addr_o),
    .wgt_data_o     (ww_data_o)
  );

  npu_store #(
    .Lanes(Lanes), .ActWords(ActWords), .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits)
  ) u_store (
    .clk_i            (clk_i),
    .rst_ni           (unit_rst_ni),
    .base_i           (base_i),
    .instr_valid_i    (store_valid_i),
    .instr_ready_o    (store_ready_o),
    .instr_i          (store_i),
    .retire_valid_o   (store_retire_o),
    .retire_ready_i   (store_retire_i),
    .busy_o           (store_busy_o),
    .stall_o          (store_stall_o),
    .progress_o       (store_progress_o),
    .act_valid_o      (sr_valid_o),
    .act_ready_i      (sr_ready_i),
    .act_addr_o       (sr_addr_o),
    .act_data_i       (sr_data_i),
    .act_data_valid_i (sr_data_valid_i),
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
