// SPDX-License-Identifier: Apache-2.0
// Merges the layer marks of the four units into one stream of pulses, at most one a cycle.
//
// The lowest unit wins; a marked instruction of another unit retires in a later cycle.  The pulse
// comes one cycle after the retirement.

module npu_marks (
  input  logic        clk_i,
  input  logic        rst_ni,

  input  logic [3:0]  valid_i,
  output logic [3:0]  ready_o,
  input  logic [63:0] layer_i,

  output logic        mark_valid_o,
  output logic [15:0] mark_layer_o
);
  logic [15:0] layer;

  assign ready_o = {~|valid_i[2:0], ~|valid_i[1:0], ~valid_i[0], 1'b1};

  assign layer = valid_i[0] ? layer_i[15:0]
               : valid_i[1] ? layer_i[31:16]
               : valid_i[2] ? layer_i[47:32]
               : layer_i[63:48];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) mark_valid_o <= 1'b0;
    else mark_valid_o <= |valid_i;
  end

  always_ff @(posedge clk_i) begin
    mark_layer_o <= layer;
  end
endmodule
