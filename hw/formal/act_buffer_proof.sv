// SPDX-License-Identifier: Apache-2.0
// npu_act_buffer, port B: every access that is granted happens, and at most one a bank.
//
// One word that `word_i` chooses freely is followed: what any writer was granted to write there
// last is what any reader gets, marked valid, exactly 2 cycles after its grant.  The vector's
// write is always granted; a client waits only for one of higher priority in its bank.

module act_buffer_proof #(
  parameter int ActWords = 8,
  localparam int Lanes   = 4,
  localparam int Width   = 8 * Lanes,
  localparam int ActAddr = $clog2(ActWords)
) (
  input logic               clk_i,
  input logic               rst_ni,
  input logic [ActAddr-1:0] word_i,
  input logic [4:0]         bit_i,
  input logic               vw_valid_i,
  input logic [ActAddr-1:0] vw_addr_i,
  input logic [Width-1:0]   vw_data_i,
  input logic               vr_valid_i,
  input logic [ActAddr-1:0] vr_addr_i,
  input logic               gw_valid_i,
  input logic [ActAddr-1:0] gw_addr_i,
  input logic [Width-1:0]   gw_data_i,
  input logic               gr_valid_i,
  input logic [ActAddr-1:0] gr_addr_i,
  input logic               lw_valid_i,
  input logic [ActAddr-1:0] lw_addr_i,
  input logic [Width-1:0]   lw_data_i,
  input logic               sr_valid_i,
  input logic [ActAddr-1:0] sr_addr_i
);
  logic vr_ready, gw_ready, gr_ready, lw_ready, sr_ready;
  logic vr_data_valid, gr_data_valid, sr_data_valid;
  logic [Width-1:0] a_data, vr_data, gr_data, sr_data;

  reset_first u_reset (.clk_i(clk_i), .rst_ni(rst_ni));

  npu_act_buffer #(.Lanes(Lanes), .ActWords(ActWords)) u_dut (
    .clk_i           (clk_i),
    .rst_ni          (rst_ni),
    .a_en_i          (1'b0),
    .a_addr_i        ('0),
    .a_data_o        (a_data),
    .vw_valid_i      (vw_valid_i),
    .vw_addr_i       (vw_addr_i),
    .vw_data_i       (vw_data_i),
    .vr_valid_i      (vr_valid_i),
    .vr_ready_o      (vr_ready),
    .vr_addr_i       (vr_addr_i),
    .vr_data_o       (vr_data),
    .vr_data_valid_o (vr_data_valid),
    .gw_valid_i      (gw_valid_i),
    .gw_ready_o      (gw_ready),
    .gw_addr_i       (gw_addr_i),
    .gw_data_i       (gw_data_i),
    .gr_valid_i      (gr_valid_i),
    .gr_ready_o      (gr_ready),
    .gr_addr_i       (gr_addr_i),
    .gr_data_o       (gr_data),
    .gr_data_valid_o (gr_data_valid),
    .lw_valid_i      (lw_valid_i),
    .lw_ready_o      (lw_ready),
    .lw_addr_i       (lw_addr_i),
    .lw_data_i       (lw_data_i),
    .sr_valid_i      (sr_valid_i),
    .sr_ready_o      (sr_ready),
    .sr_addr_i       (sr_addr_i),
    .sr_data_o       (sr_data),
    .sr_data_valid_o (sr_data_valid)
  );

  logic [ActAddr-1:0] word_q;
  logic [4:0] bit_q;
  logic [1:0] vr_due_q, gr_due_q, sr_due_q, vr_here_q, gr_here_q, sr_here_q;
  logic [1:0] vr_bit_q, gr_bit_q, sr_bit_q;
  logic started_q = 1'b0, written_q, value_q, vr, gw, gr, lw, sr, vw_here, gw_here, lw_here;

  assign vr = vr_valid_i && vr_ready;
  assign gw = gw_valid_i && gw_ready;
  assign gr = gr_valid_i && gr_ready;
  assign lw = lw_valid_i && lw_ready;
  assign sr = sr_valid_i && sr_ready;
  assign vw_here = vw_valid_i && vw_addr_i == word_q;
  assign gw_here = gw && gw_addr_i == word_q;
  assign lw_here = lw && lw_addr_i == word_q;

  always_ff @(posedge clk_i) begin
    started_q <= 1'b1;
    word_q    <= started_q ? word_q : word_i;
    bit_q     <= started_q ? bit_q : bit_i;
    if (!rst_ni) begin
      written_q <= 1'b0;
      vr_due_q  <= '0;
      gr_due_q  <= '0;
      sr_due_q  <= '0;
    end else begin
      written_q <= written_q || vw_here || gw_here || lw_here;
      vr_due_q  <= {vr_due_q[0], vr};
      gr_due_q  <= {gr_due_q[0], gr};
      sr_due_q  <= {sr_due_q[0], sr};
    end
    vr_here_q <= {vr_here_q[0], written_q && vr_addr_i == word_q};
    gr_here_q <= {gr_here_q[0], written_q && gr_addr_i == word_q};
    sr_here_q <= {sr_here_q[0], written_q && sr_addr_i == word_q};
    vr_bit_q  <= {vr_bit_q[0], value_q};
    gr_bit_q  <= {gr_bit_q[0], value_q};
    sr_bit_q  <= {sr_bit_q[0], value_q};
    if (vw_here) value_q <= vw_data_i[bit_q];
    else if (gw_here) value_q <= gw_data_i[bit_q];
    else if (lw_here) value_q <= lw_data_i[bit_q];
  end

  always_comb begin
    if (rst_ni) begin
      vr_marked: assert (vr_data_valid == vr_due_q[1]);
      gr_marked: assert (gr_data_valid == gr_due_q[1]);
      sr_marked: assert (sr_data_valid == sr_due_q[1]);
      if (vr_due_q[1] && vr_here_q[1]) vr_reads: assert (vr_data[bit_q] == vr_bit_q[1]);
      if (gr_due_q[1] && gr_here_q[1]) gr_reads: assert (gr_data[bit_q] == gr_bit_q[1]);
      if (sr_due_q[1] && sr_here_q[1]) sr_reads: assert (sr_data[bit_q] == sr_bit_q[1]);
      if (vw_valid_i && gw) one_writer: assert (vw_addr_i[0] != gw_addr_i[0]);
      if ((vw_valid_i || gw) && lw)
        one_loader: assert (lw_addr_i[0] != (vw_valid_i ? vw_addr_i[0] : gw_addr_i[0]));
      if (!vw_valid_i) vr_waits_for_vw: assert (vr_ready);
      if (!vw_valid_i && !vr_valid_i) gw_waits_for_vector: assert (gw_ready);
      if (!vw_valid_i && !vr_valid_i && !gw_valid_i) gr_waits_for_writes: assert (gr_ready);
      if (!vw_valid_i && !vr_valid_i && !gw_valid_i && !gr_valid_i) begin
        lw_waits_for_units: assert (lw_ready);
        if (!lw_valid_i) sr_waits_for_others: assert (sr_ready);
      end
    end
  end
endmodule
