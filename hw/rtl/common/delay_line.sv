// SPDX-License-Identifier: Apache-2.0
// Delays a bus by a fixed number of cycles; without reset, for data that travel beside a valid bit.
//
// Contract: data_o is data_i of Cycles cycles before; Cycles >= 2.

module delay_line #(
  parameter int Width = 8,
  parameter int Cycles = 2
) (
  input  logic             clk_i,
  input  logic [Width-1:0] data_i,
  output logic [Width-1:0] data_o
);

  if (Width < 1 || Cycles < 2) begin : gen_check_cycles
    initial $fatal(1, "delay_line: Width must be at least 1 and Cycles at least 2");
  end

  logic [Cycles*Width-1:0] stages_q;

  always_ff @(posedge clk_i) begin
    stages_q <= {stages_q[(Cycles-1)*Width-1:0], data_i};
  end

  assign data_o = stages_q[(Cycles-1)*Width +: Width];

endmodule
