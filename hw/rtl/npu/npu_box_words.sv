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
  // Indices count rows and columns of the padded box: `_after_q` those of the row and column after
  // the ones at hand.  Whether those at hand are last or inside is worked out a step ahead.
  logic [16:0] col_after_q, row_after_q, col_end_q, row_end_q, inner_col_end_q, inner_row_end_q;
  logic [7:0] col_start_q, row_start_q;
  logic [15:0] plane_left_q;
  logic [AddrBits-1:0] addr_q, row_addr_q, plane_addr_q, row_stride_q, plane_stride_q;
  logic active_q, empty_q, last_col_q, last_row_q, last_plane_q, col_inside_q, row_inside_q;
  logic one_col_q, one_row_q, first_col_inside_q, first_row_inside_q;
  logic advance, one_col, one_row, first_col_inside, first_row_inside;
  logic [AddrBits-1:0] row_addr_next, plane_addr_next;

  assign step_valid_o   = active_q;
  assign step_present_o = !empty_q;
  assign step_addr_o    = addr_q;
  assign step_inside_o  = col_inside_q && row_inside_q;
  assign step_last_o    = empty_q || (last_col_q && last_row_q && last_plane_q);

  assign advance     = active_q && step_ready_i;
  assign box_ready_o = !active_q || (advance && step_last_o);

  assign row_addr_next   = row_addr_q + row_stride_q;
  assign plane_addr_next = plane_addr_q + plane_stride_q;

  // Whether three counts sum to 1.
  function automatic logic is_one(
    input logic [7:0] lead, input logic [15:0] middle, input logic [7:0] tail
  );
    begin
      is_one = {lead[7:1], middle[15:1], tail[7:1]} == '0
        && {1'b0, lead[0]} + {1'b0, middle[0]} + {1'b0, tail[0]} == 2'd1;
    end
  endfunction

  assign one_col          = is_one(pad_left_i, words_i, pad_right_i);
  assign one_row          = is_one(pad_top_i, rows_i, pad_bottom_i);
  assign first_col_inside = pad_left_i == '0 && words_i != '0;
  assign first_row_inside = pad_top_i == '0 && rows_i != '0;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) active_q <= 1'b0;
    else if (box_ready_o) active_q <= box_valid_i;
  end

  // The box, taken in every cycle in which one could come; ends are the last index.
  always_ff @(posedge clk_i) begin
    if (box_ready_o) begin
      empty_q            <= planes_i == '0 || {pad_top_i, rows_i, pad_bottom_i} == '0
                         || {pad_left_i, words_i, pad_right_i} == '0;
      row_stride_q       <= row_stride_i;
      plane_stride_q     <= plane_stride_i;
      col_start_q        <= pad_left_i;
      row_start_q        <= pad_top_i;
      inner_col_end_q    <= 17'(pad_left_i) + 17'(words_i);
      inner_row_end_q    <= 17'(pad_top_i) + 17'(rows_i);
      col_end_q          <= 17'(pad_left_i) + 17'(words_i) + 17'(pad_right_i) - 17'd1;
      row_end_q          <= 17'(pad_top_i) + 17'(rows_i) + 17'(pad_bottom_i) - 17'd1;
      one_col_q          <= one_col;
      one_row_q          <= one_row;
      first_col_inside_q <= first_col_inside;
      first_row_inside_q <= first_row_inside;
    end
  end

  always_ff @(posedge clk_i) begin
    if (box_ready_o) begin
      col_after_q  <= 17'd1;
      last_col_q   <= one_col;
      col_inside_q <= first_col_inside;
    end else if (advance && !last_col_q) begin
      col_after_q  <= col_after_q + 1'b1;
      last_col_q   <= col_after_q == col_end_q;
      col_inside_q <= col_after_q != inner_col_end_q
                   && (col_inside_q || col_after_q == 17'(col_start_q));
    end else if (advance) begin
      col_after_q  <= 17'd1;
      last_col_q   <= one_col_q;
      col_inside_q <= first_col_inside_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (box_ready_o) begin
      row_after_q  <= 17'd1;
      last_row_q   <= one_row;
      row_inside_q <= first_row_inside;
    end else if (advance && last_col_q && !last_row_q) begin
      row_after_q  <= row_after_q + 1'b1;
      last_row_q   <= row_after_q == row_end_q;
      row_inside_q <= row_after_q != inner_row_end_q
                   && (row_inside_q || row_after_q == 17'(row_start_q));
    end else if (advance && last_col_q) begin
      row_after_q  <= 17'd1;
      last_row_q   <= one_row_q;
      row_inside_q <= first_row_inside_q;
    end
  end

  always_ff @(posedge clk_i) begin
    if (box_ready_o) begin
      plane_left_q <= planes_i;
      last_plane_q <= planes_i == 16'd1;
      addr_q       <= address_i;
      row_addr_q   <= address_i;
      plane_addr_q <= address_i;
    end else if (advance && !last_col_q) begin
      addr_q <= addr_q + 1'b1;
    end else if (advance && !last_row_q) begin
      addr_q     <= row_addr_next;
      row_addr_q <= row_addr_next;
    end else if (advance) begin
      plane_left_q <= plane_left_q - 1'b1;
      last_plane_q <= plane_left_q == 16'd2;
      addr_q       <= plane_addr_next;
      row_addr_q   <= plane_addr_next;
      plane_addr_q <= plane_addr_next;
    end
  end
endmodule
