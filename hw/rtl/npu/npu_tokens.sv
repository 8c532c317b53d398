// SPDX-License-Identifier: Apache-2.0
// Dependency tokens: one counter of 8 bits for every ordered pair of units.
//
// Bit `4*u + v` of `pop_i`: unit u takes a token of unit v this cycle; of `push_i`: unit u gives
// one to unit v.  `available_o[4*u + v]` is high while unit v has left a token for unit u,
// `full_o[4*u + v]` while the counter that unit u pushes to unit v is full.  A unit has no counter
// with itself: that pair is always available and never full.

module npu_tokens (
  input  logic        clk_i,
  input  logic        rst_ni,

  input  logic [15:0] pop_i,
  input  logic [15:0] push_i,
  output logic [15:0] available_o,
  output logic [15:0] full_o
);
  for (genvar f = 0; f < 4; f++) begin : gen_from
    for (genvar t = 0; t < 4; t++) begin : gen_to
      if (f == t) begin : gen_self
        logic unused_self;
        assign unused_self = pop_i[4*t + f] ^ push_i[4*f + t];
        assign available_o[4*t + f] = 1'b1;
        assign full_o[4*f + t] = 1'b0;
      end else begin : gen_pair
        logic [7:0] count_q;
        logic some_q, full_q, push, pop;

        assign push = push_i[4*f + t];
        assign pop  = pop_i[4*t + f];
        assign available_o[4*t + f] = some_q;
        assign full_o[4*f + t] = full_q;

        always_ff @(posedge clk_i) begin
          if (!rst_ni) begin
            count_q <= '0;
            some_q  <= 1'b0;
            full_q  <= 1'b0;
          end else begin
            count_q <= count_q + 8'(push) - 8'(pop);
            some_q  <= push || (some_q && !(pop && count_q == 8'd1));
            full_q  <= !pop && (full_q || (push && count_q == 8'd254));
          end
        end
      end
    end
  end
endmodule
