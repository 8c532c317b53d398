// SPDX-License-Identifier: Apache-2.0
// Two units, one of which gives tokens to the other: the oldest instruction always finds the tokens
// that it takes and room for those that it gives, so no program in a legal order comes to a stop.
//
// Assumes of the program, which is free otherwise, what its order says: an instruction that takes a
// token comes after the one that gives it, and there are never more than 255.  `ledger_q` counts
// them as if every instruction were done when it is dealt.  What the two units exchange with others
// is free.
//
// An instruction that `follow_i` chooses freely is followed from when it is dealt to its retirement.
// `older_q` is, for each unit, how many dealt before it have not retired; when there are none it is
// the oldest.  While the units answer and other tokens are there it then retires in `Patience`
// cycles.

module deadlock_proof #(
  parameter int QueueDepth = 2,
  localparam int Units = npu_isa_pkg::UNITS,
  localparam int Patience  = 5,
  localparam int Giver = 0,
  localparam int Taker = 1,
  localparam int Limit = 255,
  localparam int Most = QueueDepth + 10,
  localparam int CountBits = $clog2(Most + 1)
) (
  input logic       clk_i,
  input logic       rst_ni,
  input logic       follow_i,
  input logic       to_taker_i,
  input logic       deal_valid_i,
  input logic [7:0] opcode_i,
  input logic [Units-1:0] instr_pop_i,
  input logic [Units-1:0] instr_push_i,
  input logic       instr_mark_i,
  input logic [1:0] halt_i,
  input logic [2*Units-1:0] available_i,
  input logic [2*Units-1:0] full_i,
  input logic [1:0] instr_ready_i,
  input logic [1:0] retire_valid_i,
  input logic [1:0] mark_ready_i
);
  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  logic [1:0] deal_valid, deal_ready, dealt, takes, gives, retired;
  logic [CountBits-1:0] held [0:1];
  logic [CountBits-1:0] issued [0:1];
  logic [Most-1:0] held_takes [0:1];
  logic [Most-1:0] held_gives [0:1];
  logic [1:0] stage [0:1];
  logic [Units*Units-1:0] available, full;

  assign deal_valid = deal_valid_i ? (to_taker_i ? 2'b10 : 2'b01) : 2'b00;
  assign dealt      = deal_valid & deal_ready;

  for (genvar u = 0; u < 2; u++) begin : gen_unit
    logic [Units-1:0] there, none;

    // Of the tokens between the two, those of the giver for the taker are the ones looked at.
    always_comb begin
      there = available_i[Units*u +: Units];
      none  = full_i[Units*u +: Units];
      if (u == Taker) there[Giver] = available[Units*Taker + Giver];
      else none[Taker] = full[Units*Giver + Taker];
    end

    watched_issue #(.QueueDepth(QueueDepth), .Partner(1 - u)) u_issue (
      .clk_i          (clk_i),
      .rst_ni         (rst_ni),
      .halt_i         (halt_i[u]),
      .deal_valid_i   (deal_valid[u]),
      .deal_ready_o   (deal_ready[u]),
      .opcode_i       (opcode_i),
      .instr_pop_i    (instr_pop_i),
      .instr_push_i   (instr_push_i),
      .instr_mark_i   (instr_mark_i),
      .available_i    (there),
      .take_o         (takes[u]),
      .full_i         (none),
      .give_o         (gives[u]),
      .instr_ready_i  (instr_ready_i[u]),
      .retire_valid_i (retire_valid_i[u]),
      .mark_ready_i   (mark_ready_i[u]),
      .retired_o      (retired[u]),
      .held_o         (held[u]),
      .issued_o       (issued[u]),
      .takes_o        (held_takes[u]),
      .gives_o        (held_gives[u]),
      .stage_o        (stage[u])
    );
  end

  npu_tokens u_tokens (
    .clk_i       (clk_i),
    .rst_ni      (rst_ni),
    .pop_i       ((Units*Units)'(takes[Taker]) << (Units*Taker + Giver)),
    .push_i      ((Units*Units)'(gives[Giver]) << (Units*Giver + Taker)),
    .available_o (available),
    .full_o      (full)
  );

  // Tokens in the order of the program, and before the instruction that is followed.
  logic [8:0] ledger_q, before_q;
  logic give, take;

  assign give = dealt[Giver] && instr_push_i[Taker];
  assign take = dealt[Taker] && instr_pop_i[Giver];

  always_comb begin
    if (take) takes_what_was_given: assume (ledger_q != '0);
    if (give) leaves_no_more: assume (ledger_q < 9'(Limit));
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) ledger_q <= '0;
    else ledger_q <= ledger_q + 9'(give) - 9'(take);
  end

  logic [CountBits-1:0] older_q [0:1];
  logic followed_q, mine_q, gives_q, takes_q, start, leaves, oldest;

  assign start  = follow_i && dealt != '0 && !followed_q;
  assign leaves = followed_q && retired[mine_q] && older_q[mine_q] == '0;
  assign oldest = followed_q && older_q[0] == '0 && older_q[1] == '0;

  for (genvar u = 0; u < 2; u++) begin : gen_older
    always_ff @(posedge clk_i) begin
      if (start) older_q[u] <= held[u] - CountBits'(retired[u]);
      else older_q[u] <= older_q[u] - CountBits'(retired[u] && older_q[u] != '0);
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) followed_q <= 1'b0;
    else followed_q <= start || (followed_q && !leaves);
    if (start) begin
      mine_q   <= to_taker_i;
      gives_q  <= give;
      takes_q  <= take;
      before_q <= ledger_q;
    end
  end

  // While everything else is there, cycles in which the oldest instruction did not leave.
  logic [2:0] quiet_q;
  logic [Units-1:0] others_there, others_room;
  logic free, waits;

  assign others_there = available_i[Units*mine_q +: Units] | (Units'(mine_q) << Giver);
  assign others_room  = full_i[Units*mine_q +: Units] & ~(Units'(!mine_q) << Taker);
  assign free = others_there == '1 && others_room == '0 && !halt_i[mine_q]
             && instr_ready_i[mine_q] && retire_valid_i[mine_q] && mark_ready_i[mine_q];
  // Whether the one that is followed is still in its queue.
  assign waits = older_q[mine_q] >= issued[mine_q];

  always_ff @(posedge clk_i) begin
    if (!rst_ni || !oldest || !free) quiet_q <= '0;
    else quiet_q <= quiet_q + 1'b1;
  end

  always_comb begin
    if (rst_ni) begin
      if (oldest && mine_q && waits && takes_q)
        oldest_finds_its_token: assert (available[Units*Taker + Giver]);
      if (oldest && !mine_q && gives_q)
        oldest_finds_room: assert (!full[Units*Giver + Taker]);
      oldest_retires: assert (quiet_q < 3'(Patience));
      if (held[0] == '0 && held[1] == '0) next_is_dealt: assert (deal_ready == '1);
    end
  end

  // What makes the above inductive: tokens there, and those that instructions inside will give and
  // take, are those in the order of the program; of all of them, and of the older ones.
  logic [8:0] tokens;
  logic [CountBits-1:0] will_give_q, will_take_q, older_give_q, older_take_q;
  logic [CountBits-1:0] will_give, will_take, older_give, older_take;

  assign tokens = 9'(u_tokens.gen_from[Giver].gen_to[Taker].gen_pair.count_q);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      will_give_q <= '0;
      will_take_q <= '0;
    end else begin
      will_give_q <= will_give_q + CountBits'(give) - CountBits'(gives[Giver]);
      will_take_q <= will_take_q + CountBits'(take) - CountBits'(takes[Taker]);
    end
    if (start) begin
      older_give_q <= will_give_q - CountBits'(gives[Giver]);
      older_take_q <= will_take_q - CountBits'(takes[Taker]);
    end else begin
      older_give_q <= older_give_q - CountBits'(gives[Giver] && older_q[Giver] != '0);
      older_take_q <= older_take_q - CountBits'(takes[Taker] && older_q[Taker] > issued[Taker]);
    end
  end

  // From the youngest to the oldest, so that a sum is that of the cycle before when one retires.
  always_comb begin
    will_give  = '0;
    will_take  = '0;
    older_give = '0;
    older_take = '0;
    for (int k = Most - 1; k >= 0; k--) begin
      will_give  = will_give + CountBits'(held_gives[Giver][k]);
      older_give = older_give
                 + CountBits'(held_gives[Giver][k] && CountBits'(k) < older_q[Giver]);
    end
    for (int k = QueueDepth; k >= 0; k--) begin
      will_take  = will_take
                 + CountBits'(1'(held_takes[Taker] >> (issued[Taker] + CountBits'(k))));
      older_take = older_take
                 + CountBits'(1'(held_takes[Taker] >> (issued[Taker] + CountBits'(k)))
                              && issued[Taker] + CountBits'(k) < older_q[Taker]);
    end
  end

  always_comb begin
    if (rst_ni) begin
      lemma_will_give: assert (will_give_q == will_give);
      lemma_will_take: assert (will_take_q == will_take);
      lemma_ledger: assert (tokens + 9'(will_give_q) == ledger_q + 9'(will_take_q));
      lemma_limit: assert (ledger_q <= 9'(Limit));
      lemma_flags: assert (available[Units*Taker + Giver] == (tokens != '0)
                           && full[Units*Giver + Taker] == (tokens == 9'(Limit)));
      // The oldest moves on with every cycle that `quiet_q` counts.
      lemma_progress: assert (quiet_q <= (oldest ? 3'(stage[mine_q]) : followed_q ? 3'd0 : 3'd4));
      if (followed_q) begin
        lemma_older_give: assert (older_give_q == older_give);
        lemma_older_take: assert (older_take_q == older_take);
        lemma_before: assert (before_q <= 9'(Limit));
        lemma_place: assert (older_q[mine_q] < held[mine_q]);
        lemma_older: assert (older_q[0] <= held[0] && older_q[1] <= held[1]);
        if (mine_q) begin
          lemma_no_gift: assert (!gives_q && (!takes_q || before_q != '0));
          lemma_takes: assert (1'(held_takes[Taker] >> older_q[Taker]) == takes_q);
          if (waits)
            lemma_there: assert (tokens + 9'(older_give_q) >= before_q + 9'(older_take_q));
        end else begin
          lemma_no_taking: assert (!takes_q && (!gives_q || before_q < 9'(Limit)));
          lemma_gives: assert (1'(held_gives[Giver] >> older_q[Giver]) == gives_q);
          lemma_room: assert (tokens + 9'(older_give_q) <= before_q + 9'(older_take_q));
        end
      end
    end
  end
endmodule
