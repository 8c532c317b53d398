// SPDX-License-Identifier: Apache-2.0
// Control registers on AXI4-Lite, the life of a run, counters and watchdog.
//
// Registers are those of docs/npu.md.  WSTRB is honoured; a write to an address that holds no
// writable register, and a read of one that holds none, are answered with SLVERR (reads give 0).
// One write and one read are handled at a time.  A start is ignored while STATUS is busy or in
// error; PROGRAM, COUNT and BASE must not change while it is busy.
//
// A start resets the units and clears counters and tokens, then pulses `start_o`.  The run is done
// when `count_o` instructions have retired.  On an error `halt_o` stays high until a soft reset.  A
// soft reset holds `unit_rst_no` low and `flush_o` high, and STATUS busy, until `memory_idle_i`
// says that no AXI transaction is outstanding.  The watchdog sees progress two cycles late.
//
// Counters of a unit: cycles with an instruction inside (busy); cycles in which the unit is empty
// and its next instruction waits for a token; cycles stalled on a port or memory; instructions
// retired.

module npu_control #(
  parameter int Cols     = 16,
  parameter int Lanes    = 16,
  parameter int AddrBits = 40,
  localparam int Units   = npu_isa_pkg::UNITS
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic [11:0]            awaddr_i,
  input  logic                   awvalid_i,
  output logic                   awready_o,
  input  logic [31:0]            wdata_i,
  input  logic [3:0]             wstrb_i,
  input  logic                   wvalid_i,
  output logic                   wready_o,
  output logic [1:0]             bresp_o,
  output logic                   bvalid_o,
  input  logic                   bready_i,
  input  logic [11:0]            araddr_i,
  input  logic                   arvalid_i,
  output logic                   arready_o,
  output logic [31:0]            rdata_o,
  output logic [1:0]             rresp_o,
  output logic                   rvalid_o,
  input  logic                   rready_i,

  output logic                   irq_o,
  output logic                   unit_rst_no,
  output logic                   flush_o,
  output logic                   halt_o,
  output logic                   start_o,
  output logic [AddrBits-1:0]    base_o,
  output logic [AddrBits-1:0]    program_o,
  output logic [31:0]            count_o,

  input  logic                   memory_idle_i,
  input  logic                   illegal_i,
  input  logic                   read_error_i,
  input  logic                   write_error_i,
  input  logic                   read_beat_i,
  input  logic                   write_beat_i,
  input  logic                   progress_i,
  input  logic [Units-1:0]       retired_i,
  input  logic [Units-1:0]       busy_i,
  input  logic [Units-1:0]       stall_i,
  input  logic [Units-1:0]       waiting_i,
  input  logic [Units*Units-1:0] missing_i
);
  localparam logic [31:0] Id      = 32'h494E_5447;
  localparam logic [31:0] Version = {
    8'(Lanes), 8'(Cols), 8'(Lanes), 8'(npu_isa_pkg::ISA_VERSION)
  };
  localparam logic [1:0] Okay   = 2'b00;
  localparam logic [1:0] SlvErr = 2'b10;

  localparam logic [1:0] StateIdle  = 2'd0;
  localparam logic [1:0] StateClear = 2'd1;
  localparam logic [1:0] StateRun   = 2'd2;
  localparam logic [1:0] StateReset = 2'd3;

  // Write channel: address and data are held until both are there.
  logic aw_held_q, w_held_q, bvalid_q, write, write_known;
  logic [9:0] write_word_q;
  logic [31:0] wdata_q, mask;
  logic [3:0] wstrb_q;
  logic write_control, start, soft_reset;
  logic unused_low_bits;

  assign unused_low_bits = ^{awaddr_i[1:0], araddr_i[1:0]};
  assign awready_o = !aw_held_q;
  assign wready_o  = !w_held_q;
  assign write     = aw_held_q && w_held_q && !bvalid_q;
  assign bvalid_o  = bvalid_q;
  assign mask      = {{8{wstrb_q[3]}}, {8{wstrb_q[2]}}, {8{wstrb_q[1]}}, {8{wstrb_q[0]}}};

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      aw_held_q <= 1'b0;
      w_held_q  <= 1'b0;
      bvalid_q  <= 1'b0;
    end else begin
      aw_held_q <= !write && (aw_held_q || awvalid_i);
      w_held_q  <= !write && (w_held_q || wvalid_i);
      bvalid_q  <= write || (bvalid_q && !bready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (awready_o) write_word_q <= awaddr_i[11:2];
    if (wready_o) wdata_q <= wdata_i;
    if (wready_o) wstrb_q <= wstrb_i;
    if (write) bresp_o <= write_known ? Okay : SlvErr;
  end

  // Writable registers.
  logic [31:0] program_low_q, program_high_q, count_q, watchdog_q, base_low_q, base_high_q;
  logic interrupt_q;

  assign write_control = write && write_word_q == 10'h002 && wstrb_q[0];
  assign start         = write_control && wdata_q[0] && !wdata_q[1];
  assign soft_reset    = write_control && wdata_q[1];

  always_comb begin
    case (write_word_q)
      10'h002, 10'h004, 10'h005, 10'h006, 10'h007, 10'h008, 10'h00A, 10'h00B: write_known = 1'b1;
      default: write_known = 1'b0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      program_low_q  <= '0;
      program_high_q <= '0;
      count_q        <= '0;
      watchdog_q     <= '0;
      interrupt_q    <= 1'b0;
      base_low_q     <= '0;
      base_high_q    <= '0;
    end else if (write) begin
      case (write_word_q)
        10'h004: program_low_q <= (program_low_q & ~mask) | (wdata_q & mask);
        10'h005: program_high_q <= (program_high_q & ~mask) | (wdata_q & mask);
        10'h006: count_q <= (count_q & ~mask) | (wdata_q & mask);
        10'h007: watchdog_q <= (watchdog_q & ~mask) | (wdata_q & mask);
        10'h008: interrupt_q <= wstrb_q[0] ? wdata_q[0] : interrupt_q;
        10'h00A: base_low_q <= (base_low_q & ~mask) | (wdata_q & mask);
        10'h00B: base_high_q <= (base_high_q & ~mask) | (wdata_q & mask);
        default: ;
      endcase
    end
  end

  logic [63:0] base_sum;
  logic unused_base_sum;

  assign base_sum  = {base_high_q, base_low_q} + {program_high_q, program_low_q};
  assign base_o    = AddrBits'({base_high_q, base_low_q});
  assign program_o = AddrBits'(base_sum);
  assign count_o   = count_q;
  assign unused_base_sum = ^base_sum;

  // The life of a run.  `left_q` counts instructions down to the last but those of the cycle before.
  logic [1:0] state_q;
  logic [31:0] left_q, quiet_q;
  logic [2:0] retired_now, retired_now_q;
  logic [7:0] error_q;
  logic done_q, finish, progress_q, expired_q, flush_q, halt_q, begin_run, clear;

  assign begin_run   = start && state_q == StateIdle && error_q == '0;
  assign clear       = !rst_ni || state_q == StateClear || state_q == StateReset;
  always_comb begin
    retired_now = '0;
    for (int u = 0; u < Units; u++) retired_now = retired_now + 3'(retired_i[u]);
  end

  assign finish      = state_q == StateRun && left_q == 32'(retired_now_q);

  assign unit_rst_no = !clear;
  assign flush_o     = flush_q;
  assign halt_o      = halt_q;
  assign irq_o       = interrupt_q && (done_q || error_q != '0);

  // `flush_q` is high in StateReset, `halt_q` with an error.
  always_ff @(posedge clk_i) begin
    if (!rst_ni) flush_q <= 1'b0;
    else flush_q <= soft_reset || (flush_q && !memory_idle_i);
    if (!rst_ni || soft_reset) halt_q <= 1'b0;
    else if (state_q == StateRun)
      halt_q <= halt_q || read_error_i || write_error_i || illegal_i || (expired_q && !finish);
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= StateIdle;
      start_o <= 1'b0;
      done_q  <= 1'b0;
      error_q <= '0;
    end else if (soft_reset) begin
      state_q <= StateReset;
      start_o <= 1'b0;
      done_q  <= 1'b0;
      error_q <= '0;
    end else begin
      start_o <= state_q == StateClear;
      case (state_q)
        StateIdle: begin
          if (begin_run) state_q <= StateClear;
          if (begin_run) done_q <= 1'b0;
        end
        StateClear: state_q <= StateRun;
        StateRun: begin
          if (error_q != '0 || finish) state_q <= StateIdle;
          if (error_q == '0) begin
            if (read_error_i) error_q <= 8'd2;
            else if (write_error_i) error_q <= 8'd3;
            else if (illegal_i) error_q <= 8'd1;
            else if (finish) done_q <= 1'b1;
            else if (expired_q) error_q <= 8'd4;
          end
        end
        default: if (memory_idle_i) state_q <= StateIdle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (clear) begin
      left_q        <= count_q;
      retired_now_q <= '0;
      quiet_q       <= '0;
      progress_q    <= 1'b0;
      expired_q     <= 1'b0;
    end else if (state_q == StateRun) begin
      left_q        <= left_q - 32'(retired_now_q);
      retired_now_q <= retired_now;
      quiet_q       <= progress_q ? '0 : quiet_q + 1'b1;
      progress_q    <= progress_i;
      expired_q     <= watchdog_q != '0 && !progress_q && quiet_q >= watchdog_q;
    end
  end

  // Counters, in the order of their addresses: cycles, beats, then four a unit.  They count what was
  // the cycle before.
  localparam int Counters = 3 + 4 * Units;

  logic [Counters-1:0] step, step_q;
  logic [64*Counters-1:0] values;

  assign step[0] = state_q == StateRun;
  assign step[1] = read_beat_i;
  assign step[2] = write_beat_i;

  for (genvar u = 0; u < Units; u++) begin : gen_steps
    assign step[3 + 4*u] = busy_i[u];
    assign step[4 + 4*u] = waiting_i[u] && missing_i[Units*u +: Units] != '0 && !busy_i[u];
    assign step[5 + 4*u] = stall_i[u];
    assign step[6 + 4*u] = retired_i[u];
  end

  always_ff @(posedge clk_i) begin
    if (clear) step_q <= '0;
    else step_q <= state_q == StateRun ? step : '0;
  end

  for (genvar c = 0; c < Counters; c++) begin : gen_counters
    logic [63:0] count_c_q;

    assign values[64*c +: 64] = count_c_q;

    always_ff @(posedge clk_i) begin
      if (clear) count_c_q <= '0;
      else count_c_q <= count_c_q + 64'(step_q[c]);
    end
  end

  // Read channel: what an address holds the cycle after it was taken.
  logic [31:0] status, counter_word, read_data;
  logic [31:0] waiting_low, waiting_high;
  logic [63:0] waiting_words;
  logic [9:0] read_word_q;
  logic [2047:0] slots;
  logic read_known, is_counter, rvalid_q, read_q;

  assign status = {16'd0, error_q, 5'd0, error_q != '0, done_q, state_q != StateIdle};

  for (genvar u = 0; u < Units; u++) begin : gen_waiting
    assign waiting_words[8*u +: 8] = 8'({busy_i[u], waiting_i[u], missing_i[Units*u +: Units]});
  end

  assign waiting_words[63:8*Units] = '0;
  assign {waiting_high, waiting_low} = waiting_words;

  // Counters by address: behind the first three there is room for a fourth.
  assign slots[191:0] = values[191:0];
  assign slots[255:192] = '0;
  assign slots[64*Counters+63:256] = values[64*Counters-1:192];
  assign slots[2047:64*Counters+64] = '0;

  assign is_counter = read_word_q >= 10'h040 && read_word_q < 10'(16'h048 + 8 * Units)
                   && read_word_q != 10'h046 && read_word_q != 10'h047;
  assign counter_word = slots[{read_word_q[5:0], 5'd0} +: 32];

  always_comb begin
    read_known = 1'b1;
    read_data  = '0;
    case (read_word_q)
      10'h000: read_data = Id;
      10'h001: read_data = Version;
      10'h002: read_data = '0;
      10'h003: read_data = status;
      10'h004: read_data = program_low_q;
      10'h005: read_data = program_high_q;
      10'h006: read_data = count_q;
      10'h007: read_data = watchdog_q;
      10'h008: read_data = {31'd0, interrupt_q};
      10'h009: read_data = waiting_low;
      10'h00A: read_data = base_low_q;
      10'h00B: read_data = base_high_q;
      10'h00C: read_data = waiting_high;
      default: begin
        read_known = is_counter;
        read_data  = counter_word;
      end
    endcase
  end

  assign arready_o = !rvalid_q && !read_q;
  assign rvalid_o  = rvalid_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      read_q   <= 1'b0;
      rvalid_q <= 1'b0;
    end else begin
      read_q   <= arvalid_i && arready_o;
      rvalid_q <= read_q || (rvalid_q && !rready_i);
    end
  end

  always_ff @(posedge clk_i) begin
    if (arready_o) read_word_q <= araddr_i[11:2];
    if (read_q) rdata_o <= read_data;
    if (read_q) rresp_o <= read_known ? Okay : SlvErr;
  end
endmodule
