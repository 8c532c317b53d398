// SPDX-License-Identifier: Apache-2.0
// Writes runs of consecutive beats over one AXI4 write channel.
//
// A run is cut into bursts; W beats are taken from the data stream in the same order, one a cycle,
// and do not wait for their address to be accepted.  `done_o` pulses when memory has acknowledged
// the last burst of a run that was taken with `run_last_i`.  At most 16 bursts are outstanding.
// The first burst is on the AW channel two cycles after its run was taken, its first beat on the W
// channel five cycles after.
//
// `rst_ni` belongs to AXI; `unit_rst_ni` (soft reset) forgets the runs that are not yet on the AXI
// channel. While `flush_i` is high no new burst is sent and begun bursts are completed with empty
// strobes; `idle_o` is high when nothing is outstanding.  `error_o` pulses on a response other than
// OKAY.

module npu_writer #(
  parameter int MemBytes = 16,
  parameter int AddrBits = 40,
  parameter int RunBits  = 28
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  unit_rst_ni,
  input  logic                  flush_i,
  output logic                  idle_o,
  output logic                  error_o,
  output logic                  done_o,

  input  logic                  run_valid_i,
  output logic                  run_ready_o,
  input  logic [AddrBits-1:0]   run_addr_i,
  input  logic [RunBits-1:0]    run_beats_i,
  input  logic                  run_last_i,

  input  logic                  data_valid_i,
  output logic                  data_ready_o,
  input  logic [8*MemBytes-1:0] data_i,

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
  output logic                  bready_o
);
  localparam int Outstanding = 16;

  logic burst_valid, burst_ready, burst_last, take_burst;
  logic [AddrBits-1:0] burst_addr;
  logic [8:0] burst_beats;

  axi_burst_split #(
    .AddrBits(AddrBits), .RunBits(RunBits), .BeatBytes(MemBytes)
  ) u_split (
    .clk_i         (clk_i),
    .rst_ni        (unit_rst_ni),
    .run_valid_i   (run_valid_i),
    .run_ready_o   (run_ready_o),
    .run_addr_i    (run_addr_i),
    .run_beats_i   (run_beats_i),
    .run_last_i    (run_last_i),
    .burst_valid_o (burst_valid),
    .burst_ready_i (burst_ready),
    .burst_addr_o  (burst_addr),
    .burst_beats_o (burst_beats),
    .burst_last_o  (burst_last)
  );

  logic [4:0] bursts_q;
  logic awvalid_q, full_q, unused_length_ready, unused_last_ready;
  logic length_valid, length_ready, acknowledged_valid, acknowledged_last, acknowledge;
  logic [7:0] length;

  assign burst_ready = (!awvalid_q || awready_i) && !full_q && !flush_i;
  assign take_burst  = burst_valid && burst_ready;

  // Both queues have room for every burst that may be outstanding.
  fifo #(.Width(8), .Depth(Outstanding)) u_lengths (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (take_burst),
    .ready_o (unused_length_ready),
    .data_i  (8'(burst_beats - 9'd1)),
    .valid_o (length_valid),
    .ready_i (length_ready),
    .data_o  (length)
  );

  fifo #(.Width(1), .Depth(Outstanding)) u_lasts (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (take_burst),
    .ready_o (unused_last_ready),
    .data_i  (burst_last),
    .valid_o (acknowledged_valid),
    .ready_i (acknowledge),
    .data_o  (acknowledged_last)
  );

  assign bready_o    = acknowledged_valid;
  assign acknowledge = bvalid_i && bready_o;
  assign done_o      = acknowledge && acknowledged_last;
  assign error_o     = acknowledge && bresp_i != 2'b00;
  assign idle_o      = bursts_q == '0;
  assign awvalid_o   = awvalid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      awvalid_q <= 1'b0;
      bursts_q  <= '0;
      full_q    <= 1'b0;
    end else begin
      awvalid_q <= take_burst || (awvalid_q && !awready_i);
      bursts_q  <= bursts_q + 5'(take_burst) - 5'(acknowledge);
      full_q    <= !acknowledge && (full_q || (take_burst && bursts_q == 5'(Outstanding - 1)));
    end
  end

  always_ff @(posedge clk_i) begin
    if (burst_ready) begin
      awaddr_o <= burst_addr;
      awlen_o  <= 8'(burst_beats - 9'd1);
    end
  end

  // `left_q` counts the beats of the burst at hand after the next one.
  logic [7:0] left_q;
  logic active_q, wvalid_q, beat_free, beat_take;

  assign beat_free    = !wvalid_q || wready_i;
  assign beat_take    = active_q && beat_free && (data_valid_i || flush_i);
  assign data_ready_o = active_q && beat_free && !flush_i;
  assign length_ready = !active_q || (beat_take && left_q == '0);
  assign wvalid_o     = wvalid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      wvalid_q <= 1'b0;
    end else begin
      if (length_ready) active_q <= length_valid;
      wvalid_q <= beat_take || (wvalid_q && !wready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (length_ready) left_q <= length;
    else if (beat_take) left_q <= left_q - 1'b1;
    if (beat_free) begin
      wdata_o <= data_i;
      wlast_o <= left_q == '0;
      wstrb_o <= {MemBytes{!flush_i}};
    end
  end
endmodule
