// SPDX-License-Identifier: Apache-2.0
// npu_tokens: for any pair of units, tokens there are those given less those taken, never fewer
// than none nor more than 255, and `available_o` and `full_o` say so.
//
// Assumes what issue_proof asserts of the units: none takes a token that is not available or gives
// one where `full_o` is high.

module tokens_proof #(
  localparam int Units = npu_isa_pkg::UNITS
) (
  input logic                   clk_i,
  input logic                   rst_ni,
  input logic [2:0]             from_i,
  input logic [2:0]             to_i,
  input logic [Units*Units-1:0] pop_i,
  input logic [Units*Units-1:0] push_i
);
  logic [Units*Units-1:0] available, full;
  logic [2:0] from_q, to_q;
  logic [4:0] of_giver, of_taker;
  logic given, taken, started_q = 1'b0;
  logic [9:0] tokens_q;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  npu_tokens u_dut (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .pop_i       (pop_i),
    .push_i      (push_i),
    .available_o (available),
    .full_o      (full)
  );

  // The pair is chosen once and kept.
  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    from_q    <= started_q ? from_q : from_i;
    to_q      <= started_q ? to_q : to_i;
  end

  assign of_giver = 5'(Units) * 5'(from_q) + 5'(to_q);
  assign of_taker = 5'(Units) * 5'(to_q) + 5'(from_q);
  assign given    = push_i[of_giver];
  assign taken    = pop_i[of_taker];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) tokens_q <= '0;
    else tokens_q <= tokens_q + 10'(given) - 10'(taken);
  end

  // What makes the proof inductive: the flags of every counter, and which one is followed.
  logic [Units*Units-1:0] flags_wrong, count_wrong;

  for (genvar f = 0; f < Units; f++) begin : gen_from
    for (genvar t = 0; t < Units; t++) begin : gen_to
      if (f == t) begin : gen_self
        assign {flags_wrong[Units*f + t], count_wrong[Units*f + t]} = '0;
      end else begin : gen_pair
        logic [7:0] count;

        assign count = u_dut.gen_from[f].gen_to[t].gen_pair.count_q;
        assign flags_wrong[Units*f + t] = available[Units*t + f] != (count != '0)
                                       || full[Units*f + t] != (count == '1);
        assign count_wrong[Units*f + t] = from_q == 3'(f) && to_q == 3'(t)
                                       && tokens_q != 10'(count);
      end
    end
  end

  always_comb begin
    lemma_started: assert (started_q == u_reset.started_q);
    if (started_q) lemma_pair: assert (from_q < 3'(Units) && to_q < 3'(Units));
    if (rst_ni && started_q) begin
      lemma_flags: assert (flags_wrong == '0);
      lemma_count: assert (count_wrong == '0);
    end
  end

  always_comb begin
    assume (from_i < 3'(Units) && to_i < 3'(Units));
    assume ((pop_i & ~available) == '0 && (push_i & full) == '0);
    if (rst_ni && started_q && from_q != to_q) begin
      bounded: assert (tokens_q <= 10'd255);
      available_when_there: assert (available[of_taker] == (tokens_q != '0));
      full_at_255: assert (full[of_giver] == (tokens_q == 10'd255));
    end
  end
endmodule
