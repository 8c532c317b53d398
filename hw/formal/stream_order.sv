// SPDX-License-Identifier: Apache-2.0
// Asserts that what enters a stream block leaves it once, in order and unchanged.
//
// A transfer moves `PushBeats` beats in and `PopBeats` out, lowest first.  Beats inside are counted;
// one that `mark_i` and `lane_i` choose freely is followed: its bits are kept with the number of
// beats before it, and compared when those have left.  What holds for any beat holds for all.
//
// Contract: nothing leaves that did not enter, at most `Most` beats are inside, and a beat is
// offered to the outside `Latency` cycles after the block last gave or took one, at the latest.

module stream_order #(
  parameter int Width     = 4,
  parameter int PushBeats = 1,
  parameter int PopBeats  = 1,
  parameter int Most      = 16,
  parameter int Latency   = 2,
  localparam int CountBits = $clog2(Most + PushBeats + 1) + 1,
  localparam int LaneBits  = $clog2(PushBeats + 1),
  localparam int QuietBits = $clog2(Latency + 2)
) (
  input logic                       clk_i,
  input logic                       rst_ni,
  input logic                       mark_i,
  input logic [LaneBits-1:0]        lane_i,
  input logic                       push_i,
  input logic [PushBeats*Width-1:0] push_data_i,
  input logic                       valid_i,
  input logic                       pop_i,
  input logic [PopBeats*Width-1:0]  pop_data_i
);
  logic [CountBits-1:0] inside_q, ahead_q, left;
  logic [QuietBits-1:0] quiet_q;
  logic [Width-1:0] word_q, here;
  logic followed_q, start, leaves;

  assign left   = inside_q - (pop_i ? CountBits'(PopBeats) : '0);
  assign start  = mark_i && push_i && !followed_q;
  assign leaves = followed_q && pop_i && ahead_q < CountBits'(PopBeats);
  assign here   = Width'(pop_data_i >> (32'(ahead_q) * Width));

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      inside_q   <= '0;
      quiet_q    <= '0;
      followed_q <= 1'b0;
    end else begin
      inside_q   <= left + (push_i ? CountBits'(PushBeats) : '0);
      followed_q <= start || (followed_q && !leaves);
      if (push_i || pop_i) quiet_q <= '0;
      else if (quiet_q != QuietBits'(Latency)) quiet_q <= quiet_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start) begin
      word_q  <= Width'(push_data_i >> (32'(lane_i) * Width));
      ahead_q <= left + CountBits'(lane_i);
    end else if (pop_i) begin
      ahead_q <= ahead_q - CountBits'(PopBeats);
    end
  end

  always_comb begin
    assume (32'(lane_i) < PushBeats);
    if (rst_ni) begin
      bounded: assert (inside_q <= CountBits'(Most));
      if (valid_i) only_what_entered: assert (inside_q >= CountBits'(PopBeats));
      if (leaves) in_order: assert (here == word_q);
      if (quiet_q == QuietBits'(Latency) && inside_q >= CountBits'(PopBeats))
        offered: assert (valid_i);
    end
  end
endmodule
