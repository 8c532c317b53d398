// SPDX-License-Identifier: Apache-2.0
// Dependency tokens: one counter of 8 bits for every ordered pair of units.
//
// With U = UNITS, bit `U*u + v` of `pop_i`: unit u takes a token of unit v this cycle; of `push_i`:
// unit u gives one to unit v.  `available_o[U*u + v]` is high while unit v has left a token for unit
// u, `full_o[U*u + v]` while the counter that unit u pushes to unit v is full.  A unit has no
// counter with itself: that pair is always available and never full.

module npu_tokens #(
  localparam int Units = npu_isa_pkg::UNITS
) (
  input  logic                   clk_i,
  input  logic                   rst_ni,

  input  logic [Units*Units-1:0] pop_i,
  input  logic [Units*Units-1:0] push_i,
  output logic [Units*Units-1:0] available_o,
  output logic [Units*Units-1:0] full_o
);
  for (genvar f = 0; f < Units; f++) begin : gen_from
    for (genvar t = 0; t < Units; t++) begin : gen_to
      if (f == t) begin : gen_self
        logic unused_self;
        assign unused_self = pop_i[Units*t + f] ^ push_i[Units*f + t];
        assign available_o[Units*t + f] = 1'b1;
        assign full_o[Units*f + t] = 1'b0;
      end else begin : gen_pair
        logic [7:0] count_q;
        logic some_q, full_q, push, pop;

        assign push = push_i[Units*f + t];
        assign pop  = pop_i[Units*t + f];
        assign available_o[Units*t + f] = some_q;
        assign full_o[Units*f + t] = full_q;

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
