// SPDX-License-Identifier: Apache-2.0
// delay_line: what enters leaves `Cycles` cycles later, for any one word.

module delay_proof #(
  parameter int Width  = 4,
  parameter int Cycles = 5,
  localparam int AgeBits = $clog2(Cycles + 1)
) (
  input logic             clk_i,
  input logic             mark_i,
  input logic [Width-1:0] data_i
);
  logic [Width-1:0] data, word_q;
  logic [AgeBits-1:0] age_q = '0;

  delay_line #(.Width(Width), .Cycles(Cycles)) u_dut (
    .clk_i  (clk_i),
    .data_i (data_i),
    .data_o (data)
  );

  always_ff @(posedge clk_i) begin
    if (age_q == '0) begin
      word_q <= data_i;
      age_q  <= AgeBits'(mark_i);
    end else begin
      age_q <= (age_q == AgeBits'(Cycles)) ? '0 : age_q + 1'b1;
    end
  end

  always_comb if (age_q == AgeBits'(Cycles)) delayed: assert (data == word_q);
endmodule
