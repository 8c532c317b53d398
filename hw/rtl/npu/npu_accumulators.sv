// SPDX-License-Identifier: Apache-2.0
// Accumulators: two halves of AccWords words, a word holding Cols = Groups * Lanes sums of 32 bits.
// The most significant address bit names the half.
//
// Contract
// - Accumulation: `acc_valid_i` with `acc_addr_i`, `acc_overwrite_i` and `acc_high_i` starts one
//   read-modify-write a cycle; its `acc_sums_i` follow exactly 2 cycles later.  The word becomes
//   the sums when overwriting, else the sums are added to it; they count 256 times with
//   `acc_high_i`.  Reads that start 4 or more cycles after `acc_valid_i` see the new word; until
//   then the word may not be accumulated again or read.
// - Reading: `rd_en_i` reads the word at `rd_addr_i`; always accepted, `rd_data_o` is valid exactly
//   2 cycles later, and holds until the next read of its half while `rd_addr_i` names that half.
// - Both may work at once, on different halves only.

module npu_accumulators #(
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int AccWords = 512,
  localparam int Cols = Groups * Lanes,
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic               clk_i,
  input  logic               rst_ni,
  input  logic               acc_valid_i,
  input  logic [AccAddr-1:0] acc_addr_i,
  input  logic               acc_overwrite_i,
  input  logic               acc_high_i,
  input  logic [Cols*32-1:0] acc_sums_i,
  input  logic               rd_en_i,
  input  logic [AccAddr-1:0] rd_addr_i,
  output logic [Cols*32-1:0] rd_data_o
);

  localparam int Width = 32 * Cols;
  localparam int RowBits = AccAddr - 1;

  logic [2:0]         valid_q;
  logic [1:0]         overwrite_q;
  logic [1:0]         high_q;
  logic [AccAddr-1:0] addr_q1;
  logic [AccAddr-1:0] addr_q2;
  logic [AccAddr-1:0] addr_q3;
  logic [1:0]         rd_half_q;
  logic [2*Width-1:0] half_data;
  logic [Width-1:0]   word;
  logic [Width-1:0]   sums;
  logic [Width-1:0]   sum_q;

  for (genvar h = 0; h < 2; h++) begin : gen_half
    logic             acc_here;
    logic             rd_here;
    logic [Width-1:0] read_data;
    logic [Width-1:0] data_q;

    assign acc_here = acc_valid_i && !acc_overwrite_i && acc_addr_i[AccAddr-1] == 1'(h);
    assign rd_here = rd_en_i && rd_addr_i[AccAddr-1] == 1'(h);
    assign half_data[h*Width +: Width] = data_q;

    ram_1r1w #(
      .Width(Width),
      .Depth(AccWords)
    ) u_ram (
      .clk_i       (clk_i),
      .read_en_i   (acc_here || rd_here),
      .read_addr_i (acc_here ? acc_addr_i[RowBits-1:0] : rd_addr_i[RowBits-1:0]),
      .read_data_o (read_data),
      .write_en_i  (valid_q[2] && addr_q3[AccAddr-1] == 1'(h)),
      .write_addr_i(addr_q3[RowBits-1:0]),
      .write_data_i(sum_q)
    );

    always_ff @(posedge clk_i) begin
      data_q <= read_data;
    end
  end

  assign word = addr_q2[AccAddr-1] ? half_data[Width +: Width] : half_data[0 +: Width];
  assign rd_data_o = rd_half_q[1] ? half_data[Width +: Width] : half_data[0 +: Width];

  for (genvar c = 0; c < Cols; c++) begin : gen_sums
    assign sums[c*32 +: 32] = high_q[1] ? {acc_sums_i[c*32 +: 24], 8'b0} : acc_sums_i[c*32 +: 32];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[1:0], acc_valid_i};
  end

  always_ff @(posedge clk_i) begin
    overwrite_q <= {overwrite_q[0], acc_overwrite_i};
    high_q <= {high_q[0], acc_high_i};
    addr_q1 <= acc_addr_i;
    addr_q2 <= addr_q1;
    addr_q3 <= addr_q2;
    rd_half_q <= {rd_half_q[0], rd_addr_i[AccAddr-1]};
    if (valid_q[1]) begin
      for (int c = 0; c < Cols; c++) begin
        sum_q[c*32 +: 32] <= (overwrite_q[1] ? 32'd0 : word[c*32 +: 32]) + sums[c*32 +: 32];
      end
    end
  end

endmodule
