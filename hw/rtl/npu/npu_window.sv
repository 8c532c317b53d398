// SPDX-License-Identifier: Apache-2.0
// Address generator of the vector and the window unit: walks the outputs of an instruction and, within
// one, the elements of its window and then its residual.  Instructions are DRAINs, which have no
// window, when `Columns` is 0, else they are windows.
//
// A window of at most `Columns` columns is read column by column, top to bottom, and the columns
// that it shares with the window before it in its row are not read again: when columns are
// neighbours (`window_x_stride` is 1) and `source_x_stride` is from 1 to `window_x` - 1, a window
// after its row's first reads `source_x_stride` new columns.  A wider window is read row by row.
//
// Contract
// - `start_i` loads `instr_i`; from the next cycle the outputs describe the first read.  `step_i`
//   moves on to the next; the instruction is through with the step in which `emit_o` and `last_o`
//   are high.
// - `act_valid_o`: the activation word at `act_addr_o` has to be read, for a window's element when
//   `tap_o`, else as the residual: of a DRAIN's wide one the high half first.
// - `first_o`: the element is a column's first, or the window's when it is read row by row;
//   `tap_index_o` counts the elements since then.  `place_o` is one-hot and holds: the position in
//   a chain of `Columns` columns that ends with a window's last; the last one if read row by row.
// - `acc_addr_o` is the accumulator word of the output, `out_addr_o` the word to be written.
// - `emit_o`: this step completes an output; `last_o`: that output is the instruction's last.

module npu_window #(
  parameter int Columns = 5,
  parameter int ActWords = 8192,
  parameter int AccWords = 512,
  localparam int Places = Columns > 0 ? Columns : 1,
  localparam int ActAddr = $clog2(ActWords),
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic               clk_i,
  input  logic               start_i,
  input  logic [511:0]       instr_i,
  input  logic               step_i,
  output logic               act_valid_o,
  output logic [ActAddr-1:0] act_addr_o,
  output logic [AccAddr-1:0] acc_addr_o,
  output logic [ActAddr-1:0] out_addr_o,
  output logic               tap_o,
  output logic [5:0]         tap_index_o,
  output logic               first_o,
  output logic [Places-1:0]  place_o,
  output logic               emit_o,
  output logic               last_o
);

  localparam logic Drain = Columns == 0;

  logic residual_q;
  logic at_residual_q;
  logic wide;
  logic wide_q;
  logic at_high_q;

  // How the instruction's windows are read.
  logic [7:0]  window_y;
  logic [7:0]  window_x;
  logic [15:0] x_stride;
  logic [15:0] wx_stride;
  logic        by_columns;
  logic        by_columns_q;
  logic        slides_q;

  // The window is two loops: the inner one is along a column, or along a row.
  logic [15:0] y_left_q;
  logic [15:0] x_left_q;
  logic [15:0] x_reload_q;
  logic [7:0]  outer_left_q;
  logic [7:0]  inner_left_q;
  logic [7:0]  outer_reload_q;
  logic [7:0]  inner_reload_q;
  logic [7:0]  slide_reload_q;
  logic        window_last;
  logic        slide;

  // Whether a loop is at its last is worked out a step ahead, as is what is read.
  logic [7:0]  inner_count;
  logic [7:0]  outer_count;
  logic [15:0] y_count;
  logic [15:0] x_count;
  logic        inner_last_q;
  logic        inner_one_q;
  logic        outer_last_q;
  logic        outer_one_q;
  logic        slide_one_q;
  logic        x_last_q;
  logic        x_one_q;
  logic        y_last_q;
  logic        tap_q;
  logic        act_valid_q;

  logic [ActAddr-1:0] element_q;
  logic [ActAddr-1:0] outer_base_q;
  logic [ActAddr-1:0] x_base_q;
  logic [ActAddr-1:0] y_base_q;
  logic [ActAddr-1:0] inner_stride_q;
  logic [ActAddr-1:0] outer_stride_q;
  logic [ActAddr-1:0] x_stride_q;
  logic [ActAddr-1:0] y_stride_q;
  logic [ActAddr-1:0] base;
  logic [ActAddr-1:0] stride;
  logic [ActAddr-1:0] next_element;

  logic [ActAddr-1:0] residual_addr_q;
  logic [ActAddr-1:0] residual_line_q;
  logic [ActAddr-1:0] residual_stride_q;
  logic [ActAddr-1:0] high_offset_q;
  logic [ActAddr-1:0] next_residual;
  logic [ActAddr-1:0] out_line_q;
  logic [ActAddr-1:0] out_stride_q;
  logic [ActAddr-1:0] next_out;

  assign wide = Drain && instr_i[npu_isa_pkg::VECTOR_RESIDUAL_LSB] &&
                instr_i[npu_isa_pkg::DRAIN_RESIDUAL_WIDE_LSB];
  assign window_y = instr_i[npu_isa_pkg::VECTOR_WINDOW_Y_LSB +: 8];
  assign window_x = instr_i[npu_isa_pkg::VECTOR_WINDOW_X_LSB +: 8];
  assign x_stride = instr_i[npu_isa_pkg::VECTOR_SOURCE_X_STRIDE_LSB +: 16];
  assign wx_stride = instr_i[npu_isa_pkg::VECTOR_WINDOW_X_STRIDE_LSB +: 16];
  assign by_columns = window_x <= 8'(Places);
  assign inner_count = by_columns ? window_y : window_x;
  assign outer_count = by_columns ? window_x : window_y;
  assign y_count = instr_i[npu_isa_pkg::VECTOR_Y_LSB +: 16];
  assign x_count = instr_i[npu_isa_pkg::VECTOR_X_LSB +: 16];
  assign window_last = inner_last_q && outer_last_q;
  assign slide = slides_q && !x_last_q;

  assign tap_o = tap_q;
  assign emit_o = (Drain && !at_high_q) || at_residual_q || (window_last && !residual_q);
  assign last_o = x_last_q && y_last_q;
  assign act_valid_o = act_valid_q;
  assign act_addr_o = tap_q ? element_q :
                      at_high_q ? residual_addr_q + high_offset_q : residual_addr_q;

  assign base = !inner_last_q ? element_q :
                !outer_last_q || slide ? outer_base_q : !x_last_q ? x_base_q : y_base_q;
  assign stride = !inner_last_q ? inner_stride_q :
                  !outer_last_q || slide ? outer_stride_q : !x_last_q ? x_stride_q : y_stride_q;
  assign next_element = base + stride;
  assign next_residual = x_last_q ? residual_line_q + residual_stride_q
                                : residual_addr_q + ActAddr'(1);
  assign next_out = x_last_q ? out_line_q + out_stride_q : out_addr_o + ActAddr'(1);

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      residual_q <= instr_i[npu_isa_pkg::VECTOR_RESIDUAL_LSB];
      wide_q <= wide;
      high_offset_q <= instr_i[npu_isa_pkg::DRAIN_RESIDUAL_HIGH_OFFSET_LSB +: ActAddr];
      act_valid_q <= !Drain || instr_i[npu_isa_pkg::VECTOR_RESIDUAL_LSB];
      y_left_q <= y_count - 16'd1;
      y_last_q <= y_count == 16'd1;
      x_left_q <= x_count - 16'd1;
      x_last_q <= x_count == 16'd1;
      x_reload_q <= x_count - 16'd1;
      x_one_q <= x_count == 16'd1;
      acc_addr_o <= instr_i[npu_isa_pkg::VECTOR_SOURCE_ADDRESS_LSB +: AccAddr];
      residual_addr_q <= instr_i[npu_isa_pkg::VECTOR_RESIDUAL_ADDRESS_LSB +: ActAddr];
      residual_line_q <= instr_i[npu_isa_pkg::VECTOR_RESIDUAL_ADDRESS_LSB +: ActAddr];
      residual_stride_q <= ActAddr'(instr_i[npu_isa_pkg::VECTOR_RESIDUAL_ROW_STRIDE_LSB +: 16]);
      out_addr_o <= instr_i[npu_isa_pkg::VECTOR_OUTPUT_ADDRESS_LSB +: ActAddr];
      out_line_q <= instr_i[npu_isa_pkg::VECTOR_OUTPUT_ADDRESS_LSB +: ActAddr];
      out_stride_q <= ActAddr'(instr_i[npu_isa_pkg::VECTOR_OUTPUT_ROW_STRIDE_LSB +: 16]);
    end else if (step_i && emit_o) begin
      x_left_q <= x_last_q ? x_reload_q : x_left_q - 16'd1;
      x_last_q <= x_last_q ? x_one_q : x_left_q == 16'd1;
      acc_addr_o <= acc_addr_o + AccAddr'(1);
      residual_addr_q <= next_residual;
      out_addr_o <= next_out;
      if (x_last_q) begin
        y_left_q <= y_left_q - 16'd1;
        y_last_q <= y_left_q == 16'd1;
        residual_line_q <= next_residual;
        out_line_q <= next_out;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      by_columns_q <= by_columns;
      slides_q <= by_columns && wx_stride == 16'd1 && x_stride != '0 && x_stride < 16'(window_x);
      place_o <= by_columns ? Places'(1) << (8'(Places) - window_x) : Places'(1) << (Places - 1);
      inner_reload_q <= inner_count - 8'd1;
      inner_one_q <= inner_count == 8'd1;
      outer_reload_q <= outer_count - 8'd1;
      outer_one_q <= outer_count == 8'd1;
      slide_reload_q <= x_stride[7:0] - 8'd1;
      slide_one_q <= x_stride[7:0] == 8'd1;
      inner_stride_q <= by_columns ? instr_i[npu_isa_pkg::VECTOR_WINDOW_Y_STRIDE_LSB +: ActAddr]
                                   : ActAddr'(wx_stride);
      outer_stride_q <= by_columns ? ActAddr'(wx_stride)
                                   : instr_i[npu_isa_pkg::VECTOR_WINDOW_Y_STRIDE_LSB +: ActAddr];
      x_stride_q <= ActAddr'(x_stride);
      y_stride_q <= instr_i[npu_isa_pkg::VECTOR_SOURCE_Y_STRIDE_LSB +: ActAddr];
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      at_residual_q <= 1'b0;
      tap_q <= !Drain;
      at_high_q <= wide;
      first_o <= 1'b1;
      tap_index_o <= '0;
      inner_left_q <= inner_count - 8'd1;
      inner_last_q <= inner_count == 8'd1;
      outer_left_q <= outer_count - 8'd1;
      outer_last_q <= outer_count == 8'd1;
      element_q <= instr_i[npu_isa_pkg::VECTOR_SOURCE_ADDRESS_LSB +: ActAddr];
      outer_base_q <= instr_i[npu_isa_pkg::VECTOR_SOURCE_ADDRESS_LSB +: ActAddr];
      x_base_q <= instr_i[npu_isa_pkg::VECTOR_SOURCE_ADDRESS_LSB +: ActAddr];
      y_base_q <= instr_i[npu_isa_pkg::VECTOR_SOURCE_ADDRESS_LSB +: ActAddr];
    end else if (step_i) begin
      at_residual_q <= tap_q && window_last && residual_q;
      tap_q <= !Drain && !(tap_q && window_last && residual_q);
      at_high_q <= wide_q && !at_high_q;
      if (tap_q) begin
        first_o <= window_last || (inner_last_q && by_columns_q);
        tap_index_o <= window_last || (inner_last_q && by_columns_q) ? '0 : tap_index_o + 6'd1;
        inner_left_q <= inner_last_q ? inner_reload_q : inner_left_q - 8'd1;
        inner_last_q <= inner_last_q ? inner_one_q : inner_left_q == 8'd1;
        if (window_last) begin
          outer_left_q <= slide ? slide_reload_q : outer_reload_q;
          outer_last_q <= slide ? slide_one_q : outer_one_q;
        end else if (inner_last_q) begin
          outer_left_q <= outer_left_q - 8'd1;
          outer_last_q <= outer_left_q == 8'd1;
        end
        element_q <= next_element;
        if (inner_last_q) outer_base_q <= next_element;
        if (window_last) x_base_q <= next_element;
        if (window_last && x_last_q) y_base_q <= next_element;
      end
    end
  end

  logic unused_instr;
  assign unused_instr = ^instr_i;

endmodule
