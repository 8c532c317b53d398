// SPDX-License-Identifier: Apache-2.0
// Splits a wide beat into `InBits / OutBits` narrow ones, lowest bits first.
//
// The first narrow beat is valid one cycle after the wide one was taken; narrow beats leave without
// a gap as long as wide ones come.  With equal widths the stream passes straight through.

module stream_narrow #(
  parameter int InBits  = 128,
  parameter int OutBits = 32,
  localparam int Ratio  = InBits / OutBits
) (
  input  logic               clk_i,
  input  logic               rst_ni,

  input  logic               valid_i,
  output logic               ready_o,
  input  logic [InBits-1:0]  data_i,

  output logic               valid_o,
  input  logic               ready_i,
  output logic [OutBits-1:0] data_o
);
  if (Ratio * OutBits != InBits || Ratio < 1) begin : gen_check_widths
    initial $fatal(1, "stream_narrow: InBits must be a multiple of OutBits");
  end

  if (Ratio == 1) begin : gen_wire
    logic unused_clock;
    assign unused_clock = clk_i ^ rst_ni;
    assign ready_o = ready_i;
    assign valid_o = valid_i;
    assign data_o  = data_i;
  end else begin : gen_split
    localparam int CountBits = $clog2(Ratio + 1);

    logic [InBits-1:0] data_q;
    logic [CountBits-1:0] left_q;
    logic take;

    assign valid_o = left_q != '0;
    assign ready_o = !valid_o || (left_q == CountBits'(1) && ready_i);
    assign take    = valid_i && ready_o;
    assign data_o  = data_q[OutBits-1:0];

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        left_q <= '0;
      end else if (take) begin
        left_q <= CountBits'(Ratio);
      end else if (valid_o && ready_i) begin
        left_q <= left_q - 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      if (take) data_q <= data_i;
      else if (ready_i) data_q <= {{OutBits{1'b0}}, data_q[InBits-1:OutBits]};
    end
  end
endmodule
