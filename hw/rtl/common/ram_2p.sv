// SPDX-License-Identifier: Apache-2.0
// RAM with two ports on one clock: port A reads, port B reads or writes.
//
// Contract
// - Read data is valid in the cycle after the enable and holds until the port's next read.
// - A write does not change port B's read data.
// - Port A reading the address that port B writes in the same cycle gets either value; the users'
//   ordering rules it out.

module ram_2p #(
  parameter int Width = 8,
  parameter int Depth = 16,
  localparam int AddrBits = $clog2(Depth)
) (
  input  logic                clk_i,
  input  logic                a_en_i,
  input  logic [AddrBits-1:0] a_addr_i,
  output logic [Width-1:0]    a_data_o,
  input  logic                b_en_i,
  input  logic                b_write_i,
  input  logic [AddrBits-1:0] b_addr_i,
  input  logic [Width-1:0]    b_data_i,
  output logic [Width-1:0]    b_data_o
);

  (* no_rw_check *) logic [Width-1:0] mem [0:Depth-1];

  always_ff @(posedge clk_i) begin
    if (a_en_i) a_data_o <= mem[a_addr_i];
  end

  always_ff @(posedge clk_i) begin
    if (b_en_i) begin
      if (b_write_i) mem[b_addr_i] <= b_data_i;
      else b_data_o <= mem[b_addr_i];
    end
  end

endmodule
