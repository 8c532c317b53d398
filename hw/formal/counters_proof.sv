// SPDX-License-Identifier: Apache-2.0
// npu_control: each of the 23 counters is cleared when units are, counts its event while a run goes
// on, in all 64 bits, and is what its two addresses read.
//
// The proof starts from any state, so bits that no simulation reaches are in it too.

module counters_proof #(
  parameter int Counter = 0,
  localparam int Units  = npu_isa_pkg::UNITS
) (
  input logic                   clk_i,
  input logic                   rst_ni,
  input logic [11:0]            awaddr_i,
  input logic                   awvalid_i,
  input logic [31:0]            wdata_i,
  input logic [3:0]             wstrb_i,
  input logic                   wvalid_i,
  input logic                   bready_i,
  input logic                   high_i,
  input logic                   arvalid_i,
  input logic                   rready_i,
  input logic                   memory_idle_i,
  input logic                   illegal_i,
  input logic                   read_error_i,
  input logic                   write_error_i,
  input logic                   read_beat_i,
  input logic                   write_beat_i,
  input logic                   progress_i,
  input logic [Units-1:0]       retired_i,
  input logic [Units-1:0]       busy_i,
  input logic [Units-1:0]       stall_i,
  input logic [Units-1:0]       waiting_i,
  input logic [Units*Units-1:0] missing_i
);
  localparam int Address = (Counter < 3) ? 'h100 + 8 * Counter : 'h120 + 8 * (Counter - 3);
  localparam int Unit = (Counter < 3) ? 0 : (Counter - 3) / 4;
  localparam int Kind = (Counter - 3) % 4;

  logic awready, wready, bvalid, arready, rvalid, irq, unit_rst_n, flush, halt, start;
  logic [1:0] bresp, rresp;
  logic [31:0] rdata, count;
  logic [39:0] base, program_addr;

  npu_control u_dut (
    .clk_i         (clk_i),
    .rst_ni        (rst_ni),
    .awaddr_i      (awaddr_i),
    .awvalid_i     (awvalid_i),
    .awready_o     (awready),
    .wdata_i       (wdata_i),
    .wstrb_i       (wstrb_i),
    .wvalid_i      (wvalid_i),
    .wready_o      (wready),
    .bresp_o       (bresp),
    .bvalid_o      (bvalid),
    .bready_i      (bready_i),
    .araddr_i      (12'(Address) | {9'd0, high_i, 2'b00}),
    .arvalid_i     (arvalid_i),
    .arready_o     (arready),
    .rdata_o       (rdata),
    .rresp_o       (rresp),
    .rvalid_o      (rvalid),
    .rready_i      (rready_i),
    .irq_o         (irq),
    .unit_rst_no   (unit_rst_n),
    .flush_o       (flush),
    .halt_o        (halt),
    .start_o       (start),
    .base_o        (base),
    .program_o     (program_addr),
    .count_o       (count),
    .memory_idle_i (memory_idle_i),
    .illegal_i     (illegal_i),
    .read_error_i  (read_error_i),
    .write_error_i (write_error_i),
    .read_beat_i   (read_beat_i),
    .write_beat_i  (write_beat_i),
    .progress_i    (progress_i),
    .retired_i     (retired_i),
    .busy_i        (busy_i),
    .stall_i       (stall_i),
    .waiting_i     (waiting_i),
    .missing_i     (missing_i)
  );

  logic running, happens, empty_waits, asked_q1 = 1'b0, asked_q2 = 1'b0, high_q, happened_q, started_q = 1'b0;
  logic [63:0] count_q;
  logic [31:0] word_q;

  assign running     = u_dut.state_q == 2'd2;
  assign empty_waits = waiting_i[Unit] && missing_i[Units*Unit +: Units] != '0 && !busy_i[Unit];

  always_comb begin
    if (Counter == 0) happens = 1'b1;
    else if (Counter == 1) happens = read_beat_i;
    else if (Counter == 2) happens = write_beat_i;
    else if (Kind == 0) happens = busy_i[Unit];
    else if (Kind == 1) happens = empty_waits;
    else if (Kind == 2) happens = stall_i[Unit];
    else happens = retired_i[Unit];
  end

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    asked_q1  <= arvalid_i && arready && rst_ni;
    asked_q2  <= asked_q1 && rst_ni;
    high_q    <= high_i;
    word_q    <= high_q ? count_q[63:32] : count_q[31:0];
    happened_q <= unit_rst_n && running && happens;
    if (!unit_rst_n) count_q <= '0;
    else count_q <= count_q + 64'(happened_q);
  end

  always_comb begin
    if (!started_q) assume (count_q == u_dut.values[64*Counter +: 64]
                            && happened_q == u_dut.step_q[Counter]);
    counts: assert (count_q == u_dut.values[64*Counter +: 64]);
    if (asked_q2) reads: assert (rvalid && rdata == word_q && rresp == 2'b00);
  end
endmodule
