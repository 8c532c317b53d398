// SPDX-License-Identifier: Apache-2.0
// Weight buffer: WeightWords words of Lanes bytes in Groups slices; word `a` is row `a / Groups` of
// slice `a % Groups`.
//
// Contract
// - Port A fills the array: `f_en_i` reads row `f_row_i` of every slice; always accepted,
//   `f_data_o` (slice 0 in the low bits) is valid exactly 2 cycles later.
// - Port B of each slice takes one access a cycle: the vector unit's read (vr, always accepted)
//   before the window unit's (gr) before the load's write (lw).  A ready is combinational from the
//   valids and addresses of those that go before.
// - Data of a read follow exactly 2 cycles after its handshake, marked by its data_valid.
// - A write is seen by every read that starts in a later cycle; what a read on port A gets of a
//   word written in the same cycle is undefined.

module npu_weight_buffer #(
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int WeightWords = 4096,
  localparam int Width = 8 * Lanes,
  localparam int WgtAddr = $clog2(WeightWords),
  localparam int GroupBits = $clog2(Groups),
  localparam int RowBits = WgtAddr - GroupBits
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    f_en_i,
  input  logic [RowBits-1:0]      f_row_i,
  output logic [Groups*Width-1:0] f_data_o,
  input  logic                    vr_valid_i,
  output logic                    vr_ready_o,
  input  logic [WgtAddr-1:0]      vr_addr_i,
  output logic [Width-1:0]        vr_data_o,
  output logic                    vr_data_valid_o,
  input  logic                    gr_valid_i,
  output logic                    gr_ready_o,
  input  logic [WgtAddr-1:0]      gr_addr_i,
  output logic [Width-1:0]        gr_data_o,
  output logic                    gr_data_valid_o,
  input  logic                    lw_valid_i,
  output logic                    lw_ready_o,
  input  logic [WgtAddr-1:0]      lw_addr_i,
  input  logic [Width-1:0]        lw_data_i
);

  localparam logic [WgtAddr-1:0] SliceMask = WgtAddr'(Groups - 1);

  logic [WgtAddr-1:0]      vr_slice;
  logic [WgtAddr-1:0]      gr_slice;
  logic [WgtAddr-1:0]      lw_slice;
  logic [WgtAddr-1:0]      vr_slice_q;
  logic [WgtAddr-1:0]      gr_slice_q;
  logic                    vr_go_q;
  logic                    gr_go_q;
  logic [Groups*Width-1:0] f_slice_data;
  logic [Groups*Width-1:0] b_slice_data;
  logic [Groups-1:0]       vr_here_q;
  logic [Groups-1:0]       gr_here_q;

  assign vr_slice = vr_addr_i & SliceMask;
  assign gr_slice = gr_addr_i & SliceMask;
  assign lw_slice = lw_addr_i & SliceMask;
  assign vr_ready_o = 1'b1;
  assign gr_ready_o = !(vr_valid_i && vr_slice == gr_slice);
  assign lw_ready_o = !(vr_valid_i && vr_slice == lw_slice) &&
                      !(gr_valid_i && gr_slice == lw_slice);

  for (genvar g = 0; g < Groups; g++) begin : gen_slice
    logic               vr_here;
    logic               gr_here;
    logic               lw_here;
    logic [RowBits-1:0] row;

    assign vr_here = vr_valid_i && vr_slice == WgtAddr'(g);
    assign gr_here = gr_valid_i && gr_ready_o && gr_slice == WgtAddr'(g);
    assign lw_here = lw_valid_i && lw_ready_o && lw_slice == WgtAddr'(g);
    assign vr_here_q[g] = vr_slice_q == WgtAddr'(g);
    assign gr_here_q[g] = gr_slice_q == WgtAddr'(g);
    assign row = vr_here ? vr_addr_i[WgtAddr-1:GroupBits] :
                 gr_here ? gr_addr_i[WgtAddr-1:GroupBits] : lw_addr_i[WgtAddr-1:GroupBits];

    ram_2p #(
      .Width(Width),
      .Depth(WeightWords / Groups)
    ) u_ram (
      .clk_i    (clk_i),
      .a_en_i   (f_en_i),
      .a_addr_i (f_row_i),
      .a_data_o (f_slice_data[g*Width +: Width]),
      .b_en_i   (vr_here || gr_here || lw_here),
      .b_write_i(lw_here),
      .b_addr_i (row),
      .b_data_i (lw_data_i),
      .b_data_o (b_slice_data[g*Width +: Width])
    );
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      vr_go_q <= 1'b0;
      gr_go_q <= 1'b0;
      vr_data_valid_o <= 1'b0;
      gr_data_valid_o <= 1'b0;
    end else begin
      vr_go_q <= vr_valid_i;
      gr_go_q <= gr_valid_i && gr_ready_o;
      vr_data_valid_o <= vr_go_q;
      gr_data_valid_o <= gr_go_q;
    end
  end

  always_ff @(posedge clk_i) begin
    vr_slice_q <= vr_slice;
    gr_slice_q <= gr_slice;
    f_data_o <= f_slice_data;
    for (int g = 0; g < Groups; g++) begin
      if (vr_go_q && vr_here_q[g]) vr_data_o <= b_slice_data[g*Width +: Width];
      if (gr_go_q && gr_here_q[g]) gr_data_o <= b_slice_data[g*Width +: Width];
    end
  end

endmodule
