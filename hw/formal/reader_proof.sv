// SPDX-License-Identifier: Apache-2.0
// npu_reader: fetch and load share a read channel, and neither loses, doubles or receives what is
// not its own.
//
// The highest address bit tells whose burst is on the channel: fetch reads the lower half.  One
// burst that `mark_i` chooses freely is followed until its data come back.  A burst on AR stays
// until it is taken; at most 16 are outstanding; at most one burst of load goes before one of fetch
// that waits.  No soft reset comes.
//
// Assumes runs of up to 7 beats that stay in their half, and of the memory: data only for bursts
// that were sent, in their order and number.

module reader_proof #(
  parameter int ReadAhead = 4,
  localparam int MemBytes = 4,
  localparam int AddrBits = 14,
  localparam int RunBits  = 9
) (
  input logic                clk_i,
  input logic                rst_ni,
  input logic                mark_i,
  input logic                fetch_run_valid_i,
  input logic [AddrBits-4:0] fetch_word_i,
  input logic [RunBits-1:0]  fetch_run_beats_i,
  input logic                fetch_data_ready_i,
  input logic                load_run_valid_i,
  input logic [AddrBits-4:0] load_word_i,
  input logic [RunBits-1:0]  load_run_beats_i,
  input logic                load_data_ready_i,
  input logic                arready_i,
  input logic [7:0]          rdata_i,
  input logic                rlast_i,
  input logic                rvalid_i
);
  logic idle, read_error, fetch_run_ready, load_run_ready, fetch_valid, load_valid, arvalid, rready;
  logic [8*MemBytes-1:0] data;
  logic [AddrBits-1:0] araddr;
  logic [7:0] arlen;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  npu_reader #(
    .MemBytes(MemBytes), .AddrBits(AddrBits), .RunBits(RunBits), .ReadAhead(ReadAhead)
  ) u_dut (
    .clk_i              (clk_i),
    .rst_ni             (rst_ni),
    .unit_rst_ni        (rst_ni),
    .flush_i            (1'b0),
    .idle_o             (idle),
    .error_o            (read_error),
    .fetch_run_valid_i  (fetch_run_valid_i),
    .fetch_run_ready_o  (fetch_run_ready),
    .fetch_run_addr_i   ({1'b0, fetch_word_i, 2'b00}),
    .fetch_run_beats_i  (fetch_run_beats_i),
    .fetch_data_valid_o (fetch_valid),
    .fetch_data_ready_i (fetch_data_ready_i),
    .load_run_valid_i   (load_run_valid_i),
    .load_run_ready_o   (load_run_ready),
    .load_run_addr_i    ({1'b1, load_word_i, 2'b00}),
    .load_run_beats_i   (load_run_beats_i),
    .load_data_valid_o  (load_valid),
    .load_data_ready_i  (load_data_ready_i),
    .data_o             (data),
    .araddr_o           (araddr),
    .arlen_o            (arlen),
    .arvalid_o          (arvalid),
    .arready_i          (arready_i),
    .rdata_i            (32'(rdata_i)),
    .rresp_i            (2'b00),
    .rlast_i            (rlast_i),
    .rvalid_i           (rvalid_i),
    .rready_o           (rready)
  );

  // Bursts on their way, beats that each client asked for and that were not yet sent for, and the
  // burst that is followed.
  logic [5:0] bursts_q, ahead_q;
  logic [9:0] fetch_asked_q, load_asked_q;
  logic [3:0] beats_q;
  logic [1:0] passed_q;
  logic sent, beat, last, start, followed_q, mine, of_load_q, load, held_q;
  logic [AddrBits-1:0] addr_q;
  logic [7:0] len_q;

  assign sent = arvalid && arready_i;
  assign beat = rvalid_i && rready;
  assign last = beat && rlast_i;
  assign load = araddr[AddrBits-1];
  assign start = sent && mark_i && !followed_q;
  assign mine  = followed_q && ahead_q == '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      bursts_q      <= '0;
      followed_q    <= 1'b0;
      fetch_asked_q <= '0;
      load_asked_q  <= '0;
      passed_q      <= '0;
      held_q        <= 1'b0;
    end else begin
      bursts_q   <= bursts_q + 6'(sent) - 6'(last);
      followed_q <= start || (followed_q && !(mine && last));
      held_q     <= arvalid && !arready_i;
      fetch_asked_q <= fetch_asked_q
                     + (fetch_run_valid_i && fetch_run_ready ? 10'(fetch_run_beats_i) : '0)
                     - (sent && !load ? 10'(arlen) + 10'd1 : '0);
      load_asked_q <= load_asked_q
                    + (load_run_valid_i && load_run_ready ? 10'(load_run_beats_i) : '0)
                    - (sent && load ? 10'(arlen) + 10'd1 : '0);
      if (fetch_asked_q == '0 || (sent && !load)) passed_q <= '0;
      else if (sent) passed_q <= passed_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    addr_q <= araddr;
    len_q  <= arlen;
    if (start) begin
      ahead_q   <= bursts_q - 6'(last);
      beats_q   <= 4'(arlen) + 1'b1;
      of_load_q <= load;
    end else begin
      ahead_q <= ahead_q - 6'(last);
      beats_q <= beats_q - 4'(mine && beat);
    end
  end

  always_comb begin
    if (fetch_run_valid_i)
      assume (fetch_run_beats_i != '0 && fetch_run_beats_i < 9'd8
              && fetch_word_i[AddrBits-4:3] != '1);
    if (load_run_valid_i)
      assume (load_run_beats_i != '0 && load_run_beats_i < 9'd8
              && load_word_i[AddrBits-4:3] != '1);
    if (rvalid_i) assume (bursts_q != '0);
    if (rvalid_i && mine) assume (rlast_i == (beats_q == 4'd1));
    if (rst_ni) begin
      bounded: assert (bursts_q <= 6'd16);
      if (held_q) stays: assert (arvalid && araddr == addr_q && arlen == len_q);
      one_client: assert (!(fetch_valid && load_valid));
      if (beat) some_client: assert (fetch_valid || load_valid);
      if (rvalid_i && mine && of_load_q) load_gets_its_own: assert (!fetch_valid);
      if (rvalid_i && mine && !of_load_q) fetch_gets_its_own: assert (!load_valid);
      if (sent && load) load_asked: assert (10'(arlen) + 10'd1 <= load_asked_q);
      if (sent && !load) fetch_asked: assert (10'(arlen) + 10'd1 <= fetch_asked_q);
      fetch_goes_first: assert (passed_q <= 2'd1);
    end
  end

  // The burst at hand of a run of few beats: the rest of the run, or of the page.
  function automatic logic burst_is_right(
    input logic valid, input logic is_final, input logic [8:0] beats, input logic [RunBits-1:0] left,
    input logic [10:0] page_left, input logic [9:0] offset
  );
    begin
      burst_is_right = left == '0;
      if (valid) begin
        burst_is_right = left != '0 && page_left == 11'd1024 - 11'(offset)
          && is_final == (11'(left) <= page_left)
          && 11'(beats) == (is_final ? 11'(left) : page_left);
      end
    end
  endfunction

  // What makes the above inductive: where the burst that is followed is, and what is left of runs.
  logic [4:0] fill;
  logic [9:0] pending;
  logic followed_slot, newest_slot, fetch_burst, load_burst;

  assign fetch_burst = burst_is_right(
    u_dut.u_fetch_split.valid_q, u_dut.u_fetch_split.final_q, u_dut.u_fetch_split.beats_q,
    u_dut.u_fetch_split.left_q, u_dut.u_fetch_split.page_left_q,
    u_dut.u_fetch_split.addr_q[11:2]
  );
  assign load_burst = burst_is_right(
    u_dut.u_load_split.valid_q, u_dut.u_load_split.final_q, u_dut.u_load_split.beats_q,
    u_dut.u_load_split.left_q, u_dut.u_load_split.page_left_q, u_dut.u_load_split.addr_q[11:2]
  );
  assign fill    = u_dut.u_order.write_q - u_dut.u_order.read_q;
  assign pending = arvalid ? 10'(arlen) + 10'd1 : '0;
  assign followed_slot = (u_dut.u_order.valid_q && ahead_q == '0) ? u_dut.u_order.data_o
    : u_dut.u_order.mem[4'(6'(u_dut.u_order.read_q) + ahead_q - 6'(u_dut.u_order.valid_q))];
  assign newest_slot = (u_dut.u_order.valid_q && bursts_q == '0) ? u_dut.u_order.data_o
    : u_dut.u_order.mem[4'(6'(u_dut.u_order.read_q) + bursts_q - 6'(u_dut.u_order.valid_q))];

  always_comb begin
    if (rst_ni) begin
      lemma_fill: assert (fill <= 5'd16);
      lemma_flags: assert (u_dut.u_order.room_q == (fill != 5'd16)
                           && u_dut.u_order.some_q == (fill != '0));
      lemma_order: assert (6'(fill) + 6'(u_dut.u_order.valid_q) == 6'(u_dut.bursts_q));
      lemma_bursts: assert (6'(u_dut.bursts_q) == bursts_q + 6'(arvalid));
      lemma_most: assert (u_dut.bursts_q <= 5'd16);
      lemma_full: assert (u_dut.full_q == (u_dut.bursts_q == 5'd16));
      if (followed_q) lemma_ahead: assert (ahead_q < bursts_q);
      if (followed_q) lemma_slot: assert (followed_slot == of_load_q);
      if (followed_q) lemma_beats: assert (beats_q != '0 && beats_q < 4'd8);
      if (arvalid) lemma_newest: assert (newest_slot == load);
      if (arvalid) lemma_length: assert (arlen < 8'd7);
      lemma_fetch: assert (fetch_asked_q == 10'(u_dut.u_fetch_split.left_q)
                                            + (load ? '0 : pending));
      lemma_load: assert (load_asked_q == 10'(u_dut.u_load_split.left_q) + (load ? pending : '0));
      lemma_short: assert (u_dut.u_fetch_split.left_q < 9'd8 && u_dut.u_load_split.left_q < 9'd8);
      lemma_fetch_burst: assert (fetch_burst);
      lemma_load_burst: assert (load_burst);
      if (u_dut.u_fetch_split.left_q != '0)
        lemma_low: assert (15'(u_dut.u_fetch_split.addr_q)
                           + 15'({u_dut.u_fetch_split.left_q, 2'b00}) <= 15'd8192);
      if (u_dut.u_load_split.left_q != '0)
        lemma_high: assert (u_dut.u_load_split.addr_q[AddrBits-1]
                            && 15'(u_dut.u_load_split.addr_q)
                               + 15'({u_dut.u_load_split.left_q, 2'b00}) <= 15'd16384);
      if (passed_q != '0) lemma_passed: assert (!(arvalid && load) && fetch_asked_q != '0);
    end
  end
endmodule
