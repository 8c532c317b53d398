// SPDX-License-Identifier: Apache-2.0
// Walks the buffer side of a LOAD or STORE, one word a step, padding included.
//
// A box is taken by `box_valid_i`; its first step is valid a cycle later, then one a cycle, and the
// next box follows without a gap.  `step_inside_o` is low on padding, `step_last_o` high on the
// last word.  A box without a word gives one step with `step_present_o` low and `step_last_o` high.

module npu_box_words #(
  localparam int AddrBits = 24
) (
  input  logic                clk_i,
  input  logic                rst_ni,

  input  logic                box_valid_i,
  output logic                box_ready_o,
  input  logic [15:0]         planes_i,
  input  logic [15:0]         rows_i,
  input  logic [15:0]         words_i,
  input  logic [AddrBits-1:0] address_i,
  input  logic [AddrBits-1:0] row_stride_i,
  input  logic [AddrBits-1:0] plane_stride_i,
  input  logic [7:0]          pad_top_i,
  input  logic [7:0]          pad_bottom_i,
  input  logic [7:0]          pad_left_i,
  input  logic [7:0]          pad_right_i,

  output logic                step_valid_o,
  input  logic                step_ready_i,
  output logic                step_present_o,
  output logic [AddrBits-1:0] step_addr_o,
  output logic                step_inside_o,
  output logic                step_last_o
);
  // Indices and ends count rows and words of the padded box.
  logic [16:0] col_q, row_q, col_end_q, row_end_q, inner_col_end_q, inner_row_end_q;
  logic [16:0] col_start_q, row_start_q;
  logic [15:0] plane_left_q;
  logic [AddrBits-1:0] addr_q, row_addr_q, plane_addr_q, row_stride_q, plane_stride_q;
  logic active_q, empty, take, advance, last_col, last_row, last_plane;
  logic [16:0] col_next, row_next;
  logic [AddrBits-1:0] row_addr_next, plane_addr_next;

  assign empty      = plane_left_q == '0 || row_end_q == '0 || col_end_q == '0;
  assign col_next   = col_q + 1'b1;
  assign row_next   = row_q + 1'b1;
  assign last_col   = col_next == col_end_q;
  assign last_row   = row_next == row_end_q;
  assign last_plane = plane_left_q == 16'd1;

  assign step_valid_o   = active_q;
  assign step_present_o = !empty;
  assign step_addr_o    = addr_q;
  assign step_inside_o  = col_q >= col_start_q && col_q < inner_col_end_q
                       && row_q >= row_start_q && row_q < inner_row_end_q;
  assign step_last_o    = empty || (last_col && last_row && last_plane);

  assign advance     = active_q && step_ready_i;
  assign box_ready_o = !active_q || (advance && step_last_o);
  assign take        = box_valid_i && box_ready_o;

  assign row_addr_next   = row_addr_q + row_stride_q;
  assign plane_addr_next = plane_addr_q + plane_stride_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_q <= 1'b0;
    else if (box_ready_o) active_q <= box_valid_i;
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      col_q           <= '0;
      row_q           <= '0;
      plane_left_q    <= planes_i;
      addr_q          <= address_i;
      row_addr_q      <= address_i;
      plane_addr_q    <= address_i;
      row_stride_q    <= row_stride_i;
      plane_stride_q  <= plane_stride_i;
      col_start_q     <= 17'(pad_left_i);
      row_start_q     <= 17'(pad_top_i);
      inner_col_end_q <= 17'(pad_left_i) + 17'(words_i);
      inner_row_end_q <= 17'(pad_top_i) + 17'(rows_i);
      col_end_q       <= 17'(pad_left_i) + 17'(words_i) + 17'(pad_right_i);
      row_end_q       <= 17'(pad_top_i) + 17'(rows_i) + 17'(pad_bottom_i);
    end else if (advance && !last_col) begin
      col_q  <= col_next;
      addr_q <= addr_q + 1'b1;
    end else if (advance && !last_row) begin
      col_q      <= '0;
      row_q      <= row_next;
      addr_q     <= row_addr_next;
      row_addr_q <= row_addr_next;
    end else if (advance) begin
      col_q        <= '0;
      row_q        <= '0;
      plane_left_q <= plane_left_q - 1'b1;
      addr_q       <= plane_addr_next;
      row_addr_q   <= plane_addr_next;
      plane_addr_q <= plane_addr_next;
    end
  end
endmodule
