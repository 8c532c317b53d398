// SPDX-License-Identifier: Apache-2.0
// Joins `OutBits / InBits` narrow beats into one wide one; the first beat becomes the lowest bits.
//
// The wide beat is valid one cycle after its last narrow one; narrow beats are taken without a gap
// as long as wide ones leave; with `Pause` none is taken in the cycle in which a wide one leaves, so
// that `ready_o` does not wait for `ready_i`.  With equal widths the stream passes straight through.

module stream_widen #(
  parameter int InBits  = 32,
  parameter int OutBits = 128,
  parameter int Pause   = 0,
  localparam int Ratio  = OutBits / InBits
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
  if (Ratio * InBits != OutBits || Ratio < 1) begin : gen_check_widths
    initial $fatal(1, "stream_widen: OutBits must be a multiple of InBits");
  end

  if (Ratio == 1) begin : gen_wire
    logic unused_clock;
    assign unused_clock = clk_i ^ rst_ni;
    assign ready_o = ready_i;
    assign valid_o = valid_i;
    assign data_o  = data_i;
  end else begin : gen_join
    localparam int CountBits = $clog2(Ratio + 1);

    logic [OutBits-1:0] data_q;
    logic [CountBits-1:0] count_q;
    logic take;

    assign valid_o = count_q == CountBits'(Ratio);
    assign ready_o = !valid_o || (Pause == 0 && ready_i);
    assign take    = valid_i && ready_o;
    assign data_o  = data_q;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        count_q <= '0;
      end else if (valid_o && ready_i) begin
        count_q <= CountBits'(take);
      end else if (take) begin
        count_q <= count_q + 1'b1;
      end
    end

    always_ff @(posedge clk_i) begin
      if (take) data_q <= {data_i, data_q[OutBits-1:InBits]};
    end
  end
endmodule
