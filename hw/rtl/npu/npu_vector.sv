// SPDX-License-Identifier: Apache-2.0
// Requantises sums: executes DRAIN when `WindowColumns` is 0, else WINDOW_MAC, WINDOW_SUM and
// WINDOW_MAX, one instruction at a time.
//
// An instruction first reads its constants from the weight buffer, a word a cycle (taps for
// WINDOW_MAC, then the table when enabled, then 12 words of records), then issues the reads of its
// outputs, one a cycle, and writes every output 12 cycles after its last read was issued.
//
// Contract
// - `instr_i` is an instruction of this unit whose counts y and x (and window_y and window_x,
//   unless it is a DRAIN) are at least 1; a WINDOW_MAC has at most 64 taps.
// - Let S = taps (WINDOW_MAC) + 256 / Lanes (table) + 12, and N = y * x for DRAIN, which reads its
//   residual, or the low half of a wide one, in the same cycle, and twice that with a wide residual.
//   For a window N is the elements that npu_window reads, and y * x * residual.
//   After a handshake in cycle 0 the reads are issued in cycles S + 1 to S + N, later by
//   every cycle in which `wr_ready_i` or `vr_ready_i` held one up, the last word is written in
//   cycle S + N + 12, and `retire_valid_o` rises in cycle S + N + 13; `instr_ready_o` is high again
//   in the cycle after the retirement.
// - `emit_o`: the last read of an output is issued, which is only done while `room_i` is high.
// - Data of weight, activation and accumulator reads follow exactly 2 cycles after their handshake.
//   A word is written in the cycle of `vw_valid_o`.
// - `stall_o`: a read waits for its port.

module npu_vector #(
  parameter int WindowColumns = 5,
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int ActWords = 8192,
  parameter int WeightWords = 4096,
  parameter int AccWords = 512,
  localparam int Width = 8 * Lanes,
  localparam int Cols = Groups * Lanes,
  localparam int ActAddr = $clog2(ActWords),
  localparam int WgtAddr = $clog2(WeightWords),
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               instr_valid_i,
  input  logic [511:0]       instr_i,
  output logic               instr_ready_o,
  output logic               retire_valid_o,
  input  logic               retire_ready_i,
  output logic               busy_o,
  output logic               stall_o,
  output logic               progress_o,
  output logic               wr_valid_o,
  input  logic               wr_ready_i,
  output logic [WgtAddr-1:0] wr_addr_o,
  input  logic [Width-1:0]   wr_data_i,
  input  logic               wr_data_valid_i,
  output logic               acc_en_o,
  output logic [AccAddr-1:0] acc_addr_o,
  input  logic [Cols*32-1:0] acc_data_i,
  output logic               vr_valid_o,
  input  logic               vr_ready_i,
  output logic [ActAddr-1:0] vr_addr_o,
  input  logic [Width-1:0]   vr_data_i,
  input  logic               vr_data_valid_i,
  input  logic               room_i,
  output logic               emit_o,
  output logic               vw_valid_o,
  output logic [ActAddr-1:0] vw_addr_o,
  output logic [Width-1:0]   vw_data_o
);

  localparam logic Drain = WindowColumns == 0;
  localparam int Places = WindowColumns > 0 ? WindowColumns : 1;
  localparam int LaneBits = $clog2(Lanes);
  localparam int TableBits = 8 - LaneBits;
  localparam int TableWords = 256 / Lanes;
  localparam int GroupBits = Groups > 1 ? $clog2(Groups) : 1;
  localparam int ReadCycles = 2;
  localparam int WriteCycles = 12;

  localparam int StIdle = 0;
  localparam int StTaps = 1;
  localparam int StTable = 2;
  localparam int StRecords = 3;
  localparam int StIssue = 4;
  localparam int StFinish = 5;
  localparam int StRetire = 6;

  // One bit a state; `setup_q`: it is one in which constants are read.
  logic [6:0] state_q;
  logic [6:0] state_d;
  logic       setup_q;

  // The instruction's mode, held while it is inside.
  logic                 mac_q;
  logic                 max_q;
  logic                 signed_q;
  logic                 residual_q;
  logic                 residual_signed_q;
  logic                 residual_wide_q;
  logic                 table_q;
  logic                 high_q;
  logic [GroupBits-1:0] group_q;
  logic [15:0]          lo_q;
  logic [15:0]          hi_q;
  logic [6:0]           taps_q;
  logic [WgtAddr-1:0]   table_addr_q;
  logic [WgtAddr-1:0]   record_addr_q;

  logic       accept;
  logic [7:0] opcode;
  logic       is_mac;
  logic       one_tap;
  logic       has_table;

  assign accept = instr_valid_i && instr_ready_o;
  assign opcode = instr_i[npu_isa_pkg::OPCODE_LSB +: 8];
  assign is_mac = !Drain && opcode == npu_isa_pkg::OP_WINDOW_MAC;
  assign one_tap = instr_i[npu_isa_pkg::VECTOR_WINDOW_Y_LSB +: 8] == 8'd1 &&
                   instr_i[npu_isa_pkg::VECTOR_WINDOW_X_LSB +: 8] == 8'd1;
  assign has_table = instr_i[npu_isa_pkg::VECTOR_TABLE_LSB];

  // What an instruction says is taken in every cycle in which one could come.
  always_ff @(posedge clk_i) begin
    if (instr_ready_o) begin
      mac_q <= is_mac;
      max_q <= !Drain && opcode == npu_isa_pkg::OP_WINDOW_MAX;
      signed_q <= instr_i[npu_isa_pkg::VECTOR_INPUT_SIGNED_LSB];
      residual_q <= instr_i[npu_isa_pkg::VECTOR_RESIDUAL_LSB];
      residual_signed_q <= instr_i[npu_isa_pkg::VECTOR_RESIDUAL_SIGNED_LSB];
      residual_wide_q <= instr_i[npu_isa_pkg::DRAIN_RESIDUAL_WIDE_LSB];
      table_q <= has_table;
      high_q <= instr_i[npu_isa_pkg::VECTOR_OUTPUT_HIGH_LSB];
      group_q <= instr_i[npu_isa_pkg::VECTOR_GROUP_LSB +: GroupBits];
      lo_q <= instr_i[npu_isa_pkg::VECTOR_LO_LSB +: 16];
      hi_q <= instr_i[npu_isa_pkg::VECTOR_HI_LSB +: 16];
      taps_q <= instr_i[npu_isa_pkg::VECTOR_WINDOW_Y_LSB +: 7] *
                instr_i[npu_isa_pkg::VECTOR_WINDOW_X_LSB +: 7];
      table_addr_q <= instr_i[npu_isa_pkg::VECTOR_TABLE_ADDRESS_LSB +: WgtAddr];
      record_addr_q <= instr_i[npu_isa_pkg::VECTOR_RECORD_ADDRESS_LSB +: WgtAddr];
    end
  end

  // Phases of an instruction.  setup_index_q counts the words of the constants that are being read,
  // setup_number_q is one more; setup_end_q is high at the last one of a kind.
  logic [5:0] setup_index_q;
  logic [6:0] setup_number_q;
  logic [6:0] setup_words;
  logic       setup_end_q;
  logic       at_taps;
  logic       at_table;
  logic       setup_step;
  logic       setup_last;
  logic       step;
  logic       issue_last;
  logic       emit;
  logic       hold;
  logic       last;
  logic       read_valid;
  logic       act_valid;
  logic       write_last;

  assign at_taps = state_q[StTaps];
  assign at_table = state_q[StTable];
  assign setup_words = at_taps ? taps_q :
                       at_table ? 7'(TableWords) : 7'(npu_isa_pkg::RECORD_WORDS);
  assign setup_step = setup_q && wr_ready_i;
  assign setup_last = setup_step && setup_end_q;
  assign hold = emit && !room_i;
  assign step = state_q[StIssue] && read_valid && !hold && (!act_valid || vr_ready_i);
  assign emit_o = step && emit;
  assign issue_last = step && emit && last;

  assign state_d[StIdle] = (state_q[StIdle] && !accept) || (state_q[StRetire] && retire_ready_i);
  assign state_d[StTaps] = (accept && is_mac) || (at_taps && !setup_last);
  assign state_d[StTable] = (accept && !is_mac && has_table) ||
                            (setup_last && at_taps && table_q) || (at_table && !setup_last);
  assign state_d[StRecords] = (accept && !is_mac && !has_table) ||
                              (setup_last && at_taps && !table_q) || (setup_last && at_table) ||
                              (state_q[StRecords] && !setup_last);
  assign state_d[StIssue] = (state_q[StRecords] && setup_last) || (state_q[StIssue] && !issue_last);
  assign state_d[StFinish] = (state_q[StIssue] && issue_last) || (state_q[StFinish] && !write_last);
  assign state_d[StRetire] = (state_q[StFinish] && write_last) ||
                             (state_q[StRetire] && !retire_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= 7'd1 << StIdle;
      setup_q <= 1'b0;
    end else begin
      state_q <= state_d;
      setup_q <= accept || (setup_q && !(state_q[StRecords] && setup_last));
    end
  end

  always_ff @(posedge clk_i) begin
    if (instr_ready_o || setup_last) begin
      setup_index_q <= '0;
      setup_number_q <= 7'd1;
      setup_end_q <= instr_ready_o && is_mac && one_tap;
    end else if (setup_step) begin
      setup_index_q <= setup_number_q[5:0];
      setup_number_q <= setup_number_q + 7'd1;
      setup_end_q <= setup_number_q + 7'd1 == setup_words;
    end
    if (instr_ready_o) begin
      wr_addr_o <= is_mac ? instr_i[npu_isa_pkg::VECTOR_TAP_ADDRESS_LSB +: WgtAddr] :
                  has_table ? instr_i[npu_isa_pkg::VECTOR_TABLE_ADDRESS_LSB +: WgtAddr] :
                              instr_i[npu_isa_pkg::VECTOR_RECORD_ADDRESS_LSB +: WgtAddr];
    end else if (setup_last) begin
      wr_addr_o <= at_taps && table_q ? table_addr_q : record_addr_q;
    end else if (setup_step) begin
      wr_addr_o <= wr_addr_o + WgtAddr'(1);
    end
  end

  assign wr_valid_o = setup_q;
  assign instr_ready_o = state_q[StIdle];
  assign retire_valid_o = state_q[StRetire];
  assign busy_o = !state_q[StIdle];
  assign stall_o = (setup_q && !setup_step) || (state_q[StIssue] && !step);
  assign progress_o = setup_step || step || vw_valid_o;

  // Constants arrive: taps into their RAMs, table words and record bytes into the lanes.
  logic                 to_taps;
  logic                 to_table;
  logic                 first_word;
  logic [TableBits-1:0] setup_index;
  logic                 record_valid;
  logic                 table_valid;

  delay_line #(
    .Width (TableBits + 3),
    .Cycles(ReadCycles)
  ) u_setup (
    .clk_i (clk_i),
    .data_i({at_taps, at_table, setup_index_q == '0, setup_index_q[TableBits-1:0]}),
    .data_o({to_taps, to_table, first_word, setup_index})
  );

  assign table_valid = wr_data_valid_i && to_table;
  // The lanes shift in taps and table words too; the records, last of all, push them out.
  assign record_valid = wr_data_valid_i;

  // Reads of the outputs.
  logic               tap;
  logic               first;
  logic [5:0]         tap_index;
  logic [Places-1:0]  place;
  logic [ActAddr-1:0] out_addr;

  npu_reads #(
    .Columns (WindowColumns),
    .ActWords(ActWords),
    .AccWords(AccWords)
  ) u_reads (
    .clk_i      (clk_i),
    .rst_ni     (rst_ni),
    .idle_i     (instr_ready_o),
    .start_i    (accept),
    .instr_i    (instr_i),
    .valid_o    (read_valid),
    .step_i     (step),
    .act_valid_o(act_valid),
    .act_addr_o (vr_addr_o),
    .acc_addr_o (acc_addr_o),
    .out_addr_o (out_addr),
    .tap_o      (tap),
    .tap_index_o(tap_index),
    .first_o    (first),
    .place_o    (place),
    .emit_o     (emit),
    .last_o     (last)
  );

  assign vr_valid_o = state_q[StIssue] && read_valid && act_valid && !hold;
  assign acc_en_o = step && Drain && emit;

  // What travels beside a read: bit k of a shift register is one, k + 1 cycles after its issue.
  logic [ReadCycles:0]      gather_q;
  logic [ReadCycles:0]      first_q;
  logic [WriteCycles-1:0]   emit_q;
  logic [WriteCycles-1:0]   last_q;
  logic [5:0]               tap_index_q;
  logic [Places*Width-1:0] tap_words;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      gather_q <= '0;
      emit_q <= '0;
      last_q <= '0;
    end else begin
      gather_q <= {gather_q[ReadCycles-1:0], (step && tap) || acc_en_o};
      emit_q <= {emit_q[WriteCycles-2:0], emit_o};
      last_q <= {last_q[WriteCycles-2:0], issue_last};
    end
  end

  always_ff @(posedge clk_i) begin
    first_q <= {first_q[ReadCycles-1:0], first};
    tap_index_q <= tap_index;
  end

  assign write_last = last_q[WriteCycles-1];

  if (WindowColumns > 0) begin : gen_taps
    npu_taps #(
      .Columns(WindowColumns),
      .Width  (Width)
    ) u_taps (
      .clk_i        (clk_i),
      .place_i      (place),
      .write_valid_i(wr_data_valid_i && to_taps),
      .write_first_i(first_word),
      .write_data_i (wr_data_i),
      .read_en_i    (gather_q[0] && mac_q),
      .read_row_i   (tap_index_q),
      .read_data_o  (tap_words)
    );
  end else begin : gen_no_taps
    logic unused_taps;
    assign unused_taps = ^{to_taps, first_word, tap_index_q};
    assign tap_words = '0;
  end

  // The accumulators' columns of the instruction's group.
  logic [32*Lanes-1:0] sums_q;

  always_ff @(posedge clk_i) begin
    if (gather_q[ReadCycles-1] && Drain) begin
      for (int g = 0; g < Groups; g++) begin
        if (group_q == GroupBits'(g)) sums_q <= acc_data_i[g*32*Lanes +: 32*Lanes];
      end
    end
  end

  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [8*Places-1:0] taps;

    for (genvar p = 0; p < Places; p++) begin : gen_tap
      assign taps[8*p +: 8] = tap_words[p*Width + 8*l +: 8];
    end

    npu_lane #(
      .Columns(WindowColumns),
      .Lanes  (Lanes)
    ) u_lane (
      .clk_i            (clk_i),
      .record_valid_i   (record_valid),
      .record_i         (wr_data_i[8*l +: 8]),
      .table_valid_i    (table_valid),
      .table_row_i      (setup_index),
      .table_i          (wr_data_i),
      .mac_i            (mac_q),
      .max_i            (max_q),
      .signed_i         (signed_q),
      .residual_i       (residual_q),
      .residual_signed_i(residual_signed_q),
      .residual_wide_i  (residual_wide_q),
      .use_table_i      (table_q),
      .high_i           (high_q),
      .lo_i             (lo_q),
      .hi_i             (hi_q),
      .read_valid_i     (vr_data_valid_i),
      .read_i           (vr_data_i[8*l +: 8]),
      .tap_i            (taps),
      .place_i          (place),
      .gather_valid_i   (gather_q[ReadCycles]),
      .gather_first_i   (first_q[ReadCycles]),
      .drain_sum_i      (sums_q[32*l +: 32]),
      .stage_valid_i    (emit_q[WriteCycles-2:3]),
      .result_o         (vw_data_o[8*l +: 8])
    );
  end

  delay_line #(
    .Width (ActAddr),
    .Cycles(WriteCycles)
  ) u_out_address (
    .clk_i (clk_i),
    .data_i(out_addr),
    .data_o(vw_addr_o)
  );

  assign vw_valid_o = emit_q[WriteCycles-1];

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule
