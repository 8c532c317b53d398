// SPDX-License-Identifier: Apache-2.0
// Reads memory for two clients, instruction fetch and load, over one AXI4 read channel.
//
// A client asks for a run of consecutive beats; runs are cut into bursts and a burst of fetch goes
// before one of load.  Data return in the order of the bursts (one ID).  At most 16 bursts are
// outstanding, and a burst of load is sent only while fewer than `ReadAhead` beats of load are,
// which bounds how long a fetch waits. A burst is on the AR channel two cycles after its run was
// taken at the earliest, then one a cycle up to the run's last.
//
// `rst_ni` belongs to AXI; `unit_rst_ni` (soft reset) forgets the runs that are not yet on the AXI
// channel. While `flush_i` is high no new burst is sent and arriving data are dropped; `idle_o` is
// high when nothing is outstanding.  `error_o` pulses on a response other than OKAY.

module npu_reader #(
  parameter int MemBytes  = 16,
  parameter int AddrBits  = 40,
  parameter int RunBits   = 28,
  parameter int ReadAhead = 256
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  logic                  unit_rst_ni,
  input  logic                  flush_i,
  output logic                  idle_o,
  output logic                  error_o,

  input  logic                  fetch_run_valid_i,
  output logic                  fetch_run_ready_o,
  input  logic [AddrBits-1:0]   fetch_run_addr_i,
  input  logic [RunBits-1:0]    fetch_run_beats_i,
  output logic                  fetch_data_valid_o,
  input  logic                  fetch_data_ready_i,

  input  logic                  load_run_valid_i,
  output logic                  load_run_ready_o,
  input  logic [AddrBits-1:0]   load_run_addr_i,
  input  logic [RunBits-1:0]    load_run_beats_i,
  output logic                  load_data_valid_o,
  input  logic                  load_data_ready_i,

  output logic [8*MemBytes-1:0] data_o,

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
  localparam int Outstanding = 16;
  localparam int AheadBits   = $clog2(ReadAhead + 256) + 1;

  if (ReadAhead < 1) begin : gen_check_ahead
    initial $fatal(1, "npu_reader: ReadAhead must be at least 1");
  end

  logic fetch_valid, fetch_ready, load_valid, load_ready;
  logic [AddrBits-1:0] fetch_addr, load_addr;
  logic [8:0] fetch_beats, load_beats;
  logic unused_fetch_last, unused_load_last;

  axi_burst_split #(
    .AddrBits(AddrBits), .RunBits(RunBits), .BeatBytes(MemBytes)
  ) u_fetch_split (
    .clk_i         (clk_i),
    .rst_ni        (unit_rst_ni),
    .run_valid_i   (fetch_run_valid_i),
    .run_ready_o   (fetch_run_ready_o),
    .run_addr_i    (fetch_run_addr_i),
    .run_beats_i   (fetch_run_beats_i),
    .run_last_i    (1'b0),
    .burst_valid_o (fetch_valid),
    .burst_ready_i (fetch_ready),
    .burst_addr_o  (fetch_addr),
    .burst_beats_o (fetch_beats),
    .burst_last_o  (unused_fetch_last)
  );

  axi_burst_split #(
    .AddrBits(AddrBits), .RunBits(RunBits), .BeatBytes(MemBytes)
  ) u_load_split (
    .clk_i         (clk_i),
    .rst_ni        (unit_rst_ni),
    .run_valid_i   (load_run_valid_i),
    .run_ready_o   (load_run_ready_o),
    .run_addr_i    (load_run_addr_i),
    .run_beats_i   (load_run_beats_i),
    .run_last_i    (1'b0),
    .burst_valid_o (load_valid),
    .burst_ready_i (load_ready),
    .burst_addr_o  (load_addr),
    .burst_beats_o (load_beats),
    .burst_last_o  (unused_load_last)
  );

  logic [4:0] bursts_q;
  logic [AheadBits-1:0] ahead_q;
  logic arvalid_q, full_q, near_q, room, take_fetch, take_load, beat, burst_end;
  logic order_valid, order_load, order_ready_unused;

  // Whether all bursts are outstanding, and whether few enough beats of load are, is worked out a
  // cycle ahead.
  assign room = (!arvalid_q || arready_i) && !full_q && !flush_i;
  assign fetch_ready = room;
  assign load_ready  = room && !fetch_valid && near_q;
  assign take_fetch  = fetch_valid && fetch_ready;
  assign take_load   = load_valid && load_ready;

  // Of the beats ahead, with a burst taken and without: fewer than `ReadAhead`, and with one come.
  logic [1:0] ahead_near, taken_near;

  assign ahead_near = {ahead_q <= AheadBits'(ReadAhead), ahead_q < AheadBits'(ReadAhead)};
  assign taken_near = {
    ahead_q + AheadBits'(load_beats) <= AheadBits'(ReadAhead),
    ahead_q + AheadBits'(load_beats) < AheadBits'(ReadAhead)
  };

  fifo #(.Width(1), .Depth(Outstanding)) u_order (
    .clk_i   (clk_i),
    .rst_ni  (rst_ni),
    .valid_i (take_fetch || take_load),
    .ready_o (order_ready_unused),
    .data_i  (take_load),
    .valid_o (order_valid),
    .ready_i (burst_end),
    .data_o  (order_load)
  );

  assign rready_o = order_valid
                 && (flush_i || (order_load ? load_data_ready_i : fetch_data_ready_i));
  assign beat      = rvalid_i && rready_o;
  assign burst_end = beat && rlast_i;
  assign data_o    = rdata_i;
  assign load_data_valid_o  = rvalid_i && order_valid && order_load && !flush_i;
  assign fetch_data_valid_o = rvalid_i && order_valid && !order_load && !flush_i;
  assign error_o   = beat && rresp_i != 2'b00;
  assign idle_o    = bursts_q == '0;
  assign arvalid_o = arvalid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      arvalid_q <= 1'b0;
      bursts_q  <= '0;
      full_q    <= 1'b0;
      ahead_q   <= '0;
      near_q    <= 1'b1;
    end else begin
      arvalid_q <= take_fetch || take_load || (arvalid_q && !arready_i);
      bursts_q  <= bursts_q + 5'(take_fetch || take_load) - 5'(burst_end);
      full_q    <= !burst_end && (full_q || ((take_fetch || take_load)
                                             && bursts_q == 5'(Outstanding - 1)));
      near_q    <= take_load ? (beat && order_load ? taken_near[1] : taken_near[0])
                             : (beat && order_load ? ahead_near[1] : ahead_near[0]);
      ahead_q   <= ahead_q + (take_load ? AheadBits'(load_beats) : '0)
                 - AheadBits'(beat && order_load);
    end
  end

  always_ff @(posedge clk_i) begin
    if (room) begin
      araddr_o <= fetch_valid ? fetch_addr : load_addr;
      arlen_o  <= 8'((fetch_valid ? fetch_beats : load_beats) - 9'd1);
    end
  end
endmodule
