// SPDX-License-Identifier: Apache-2.0
// Activation buffer: ActWords words of Lanes elements of 8 bits in two banks, even and odd words.
//
// Contract
// - Port A belongs to the array: `a_en_i` reads Lanes consecutive elements from element address
//   `a_addr_i`, aligned or not, wrapping at the end of the buffer; always accepted, `a_data_o` is
//   valid exactly 2 cycles later and holds until the next one.
// - Port B of each bank takes one access a cycle, in this order of priority: vector write (vw,
//   always accepted), vector read (vr), window write (gw), window read (gr), load write (lw), store
//   read (sr).  Accesses to different banks do not disturb each other.  A ready is combinational from the valids and addresses of the
//   clients of higher priority, never from its own valid.
// - Data of a read follow exactly 2 cycles after its handshake, marked by its data_valid.
// - A write is seen by every read that starts in a later cycle; what a read on port A gets of a
//   word written in the same cycle is undefined.

module npu_act_buffer #(
  parameter int Lanes = 16,
  parameter int ActWords = 8192,
  localparam int Width = 8 * Lanes,
  localparam int ActAddr = $clog2(ActWords),
  localparam int LaneBits = $clog2(Lanes)
) (
  input  logic                        clk_i,
  input  logic                        rst_ni,
  input  logic                        a_en_i,
  input  logic [ActAddr+LaneBits-1:0] a_addr_i,
  output logic [Width-1:0]            a_data_o,
  input  logic                        vw_valid_i,
  input  logic [ActAddr-1:0]          vw_addr_i,
  input  logic [Width-1:0]            vw_data_i,
  input  logic                        vr_valid_i,
  output logic                        vr_ready_o,
  input  logic [ActAddr-1:0]          vr_addr_i,
  output logic [Width-1:0]            vr_data_o,
  output logic                        vr_data_valid_o,
  input  logic                        gw_valid_i,
  output logic                        gw_ready_o,
  input  logic [ActAddr-1:0]          gw_addr_i,
  input  logic [Width-1:0]            gw_data_i,
  input  logic                        gr_valid_i,
  output logic                        gr_ready_o,
  input  logic [ActAddr-1:0]          gr_addr_i,
  output logic [Width-1:0]            gr_data_o,
  output logic                        gr_data_valid_o,
  input  logic                        lw_valid_i,
  output logic                        lw_ready_o,
  input  logic [ActAddr-1:0]          lw_addr_i,
  input  logic [Width-1:0]            lw_data_i,
  input  logic                        sr_valid_i,
  output logic                        sr_ready_o,
  input  logic [ActAddr-1:0]          sr_addr_i,
  output logic [Width-1:0]            sr_data_o,
  output logic                        sr_data_valid_o
);

  localparam int RowBits = ActAddr - 1;

  logic [2*Width-1:0] a_bank_data;
  logic [2*Width-1:0] b_bank_data;

  // Port A: the lanes from the offset on come from the word of the first element, those below it
  // from the word after; then a rotation by the offset, one power of two at a time.  Both words go
  // from their banks straight into registers, and from these through the rotation to the output.
  logic [ActAddr-1:0]            a_word;
  logic [RowBits-1:0]            a_even_row;
  logic [LaneBits-1:0]           a_offset_q1;
  logic [LaneBits-1:0]           a_offset_q2;
  logic [Lanes-1:0]              a_below;
  logic                          a_odd_q;
  logic [Lanes-1:0]              a_from_odd_q;
  logic [2*Width-1:0]            a_words_q;
  logic [(LaneBits+1)*Width-1:0] a_rotated;

  assign a_word = a_addr_i[LaneBits +: ActAddr];
  assign a_even_row = a_word[ActAddr-1:1] + RowBits'(a_word[0]);
  assign a_below = ~({Lanes{1'b1}} << a_offset_q1);

  for (genvar i = 0; i < Lanes; i++) begin : gen_select
    assign a_rotated[8*i +: 8] =
        a_from_odd_q[i] ? a_words_q[Width + 8*i +: 8] : a_words_q[8*i +: 8];
  end

  for (genvar k = 0; k < LaneBits; k++) begin : gen_rotate
    localparam int Bits = 8 << k;

    logic [Width-1:0] source;

    assign source = a_rotated[k*Width +: Width];
    assign a_rotated[(k+1)*Width +: Width] =
        a_offset_q2[k] ? {source[Bits-1:0], source[Width-1:Bits]} : source;
  end

  always_ff @(posedge clk_i) begin
    if (a_en_i) begin
      a_offset_q1 <= a_addr_i[LaneBits-1:0];
      a_odd_q <= a_word[0];
    end
    a_offset_q2 <= a_offset_q1;
    a_from_odd_q <= {Lanes{a_odd_q}} ^ a_below;
    a_words_q <= a_bank_data;
  end

  assign a_data_o = a_rotated[LaneBits*Width +: Width];

  // Port B: fixed priority in each bank.  Which banks the vector and the window unit ask for:
  logic [1:0] vector_here;
  logic [1:0] window_here;

  logic vr_go;
  logic gr_go;
  logic sr_go;

  assign vr_ready_o = !(vw_valid_i && vw_addr_i[0] == vr_addr_i[0]);
  assign gw_ready_o = !vector_here[gw_addr_i[0]];
  assign gr_ready_o = !vector_here[gr_addr_i[0]] &&
                      !(gw_valid_i && gw_addr_i[0] == gr_addr_i[0]);
  assign lw_ready_o = !vector_here[lw_addr_i[0]] && !window_here[lw_addr_i[0]];
  assign sr_ready_o = !vector_here[sr_addr_i[0]] && !window_here[sr_addr_i[0]] &&
                      !(lw_valid_i && lw_addr_i[0] == sr_addr_i[0]);
  assign vr_go = vr_valid_i && vr_ready_o;
  assign gr_go = gr_valid_i && gr_ready_o;
  assign sr_go = sr_valid_i && sr_ready_o;

  // What a bank does is chosen by who asks for it, so it does not wait for who is granted.
  for (genvar k = 0; k < 2; k++) begin : gen_bank
    logic               vw_here;
    logic               vr_here;
    logic               gw_here;
    logic               gr_here;
    logic               lw_here;
    logic               sr_here;
    logic [RowBits-1:0] a_row;
    logic [RowBits-1:0] row;

    assign a_row = k == 0 ? a_even_row : a_word[ActAddr-1:1];
    assign vw_here = vw_valid_i && vw_addr_i[0] == 1'(k);
    assign vr_here = vr_valid_i && vr_addr_i[0] == 1'(k);
    assign gw_here = gw_valid_i && gw_addr_i[0] == 1'(k);
    assign gr_here = gr_valid_i && gr_addr_i[0] == 1'(k);
    assign lw_here = lw_valid_i && lw_addr_i[0] == 1'(k);
    assign sr_here = sr_valid_i && sr_addr_i[0] == 1'(k);
    assign row = vw_here ? vw_addr_i[ActAddr-1:1] :
                 vr_here ? vr_addr_i[ActAddr-1:1] :
                 gw_here ? gw_addr_i[ActAddr-1:1] :
                 gr_here ? gr_addr_i[ActAddr-1:1] :
                 lw_here ? lw_addr_i[ActAddr-1:1] : sr_addr_i[ActAddr-1:1];

    assign vector_here[k] = vw_here || vr_here;
    assign window_here[k] = gw_here || gr_here;

    ram_2p #(
      .Width(Width),
      .Depth(ActWords / 2)
    ) u_ram (
      .clk_i    (clk_i),
      .a_en_i   (a_en_i),
      .a_addr_i (a_row),
      .a_data_o (a_bank_data[k*Width +: Width]),
      .b_en_i   (vw_here || vr_here || gw_here || gr_here || lw_here || sr_here),
      .b_write_i(vw_here || (!vr_here && (gw_here || (!gr_here && lw_here)))),
      .b_addr_i (row),
      .b_data_i (vw_here ? vw_data_i : gw_here ? gw_data_i : lw_data_i),
      .b_data_o (b_bank_data[k*Width +: Width])
    );
  end

  // Port B data: the bank that was read, then an output register for each reader.
  logic vr_go_q;
  logic vr_odd_q;
  logic gr_go_q;
  logic gr_odd_q;
  logic sr_go_q;
  logic sr_odd_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      vr_go_q <= 1'b0;
      gr_go_q <= 1'b0;
      sr_go_q <= 1'b0;
      vr_data_valid_o <= 1'b0;
      gr_data_valid_o <= 1'b0;
      sr_data_valid_o <= 1'b0;
    end else begin
      vr_go_q <= vr_go;
      gr_go_q <= gr_go;
      sr_go_q <= sr_go;
      vr_data_valid_o <= vr_go_q;
      gr_data_valid_o <= gr_go_q;
      sr_data_valid_o <= sr_go_q;
    end
  end

  always_ff @(posedge clk_i) begin
    vr_odd_q <= vr_addr_i[0];
    gr_odd_q <= gr_addr_i[0];
    sr_odd_q <= sr_addr_i[0];
    if (vr_go_q) vr_data_o <= vr_odd_q ? b_bank_data[Width +: Width] : b_bank_data[0 +: Width];
    if (gr_go_q) gr_data_o <= gr_odd_q ? b_bank_data[Width +: Width] : b_bank_data[0 +: Width];
    if (sr_go_q) sr_data_o <= sr_odd_q ? b_bank_data[Width +: Width] : b_bank_data[0 +: Width];
  end

endmodule
