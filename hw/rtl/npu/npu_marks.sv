// SPDX-License-Identifier: Apache-2.0
// Merges the layer marks of the units into one stream of pulses, at most one a cycle.
//
// The lowest unit wins; a marked instruction of another unit retires in a later cycle.  The pulse
// comes one cycle after the retirement.

module npu_marks #(
  localparam int Units = npu_isa_pkg::UNITS
) (
  input  logic                clk_i,
  input  logic                rst_ni,

  input  logic [Units-1:0]    valid_i,
  output logic [Units-1:0]    ready_o,
  input  logic [16*Units-1:0] layer_i,

  output logic                mark_valid_o,
  output logic [15:0]         mark_layer_o
);
  logic [15:0] layer;

  assign ready_o[0] = 1'b1;

  for (genvar u = 1; u < Units; u++) begin : gen_ready
    assign ready_o[u] = valid_i[u-1:0] == '0;
  end

  always_comb begin
    layer = '0;
    for (int u = 0; u < Units; u++) begin
      if (valid_i[u] && ready_o[u]) layer = layer_i[16*u +: 16];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) mark_valid_o <= 1'b0;
    else mark_valid_o <= |valid_i;
  end

  always_ff @(posedge clk_i) begin
    mark_layer_o <= layer;
  end
endmodule
