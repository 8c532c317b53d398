// SPDX-License-Identifier: Apache-2.0
// RAM with a read port and a write port on one clock.
//
// Contract
// - Read data is valid in the cycle after the enable and holds until the next read.
// - Reading the address that is written in the same cycle gets either value; the users' ordering
//   rules it out.

module ram_1r1w #(
  parameter int Width = 8,
  parameter int Depth = 16,
  localparam int AddrBits = $clog2(Depth)
) (
  input  logic                clk_i,
  input  logic                read_en_i,
  input  logic [AddrBits-1:0] read_addr_i,
  output logic [Width-1:0]    read_data_o,
  input  logic                write_en_i,
  input  logic [AddrBits-1:0] write_addr_i,
  input  logic [Width-1:0]    write_data_i
);

  // A small one is made of look-up tables, whose read leaves time for logic behind it.
  if (Depth <= 64) begin : gen_small
    (* no_rw_check, ram_style = "distributed" *) logic [Width-1:0] mem [0:Depth-1];

    always_ff @(posedge clk_i) begin
      if (read_en_i) read_data_o <= mem[read_addr_i];
      if (write_en_i) mem[write_addr_i] <= write_data_i;
    end
  end else begin : gen_large
    (* no_rw_check, ram_style = "block" *) logic [Width-1:0] mem [0:Depth-1];

    always_ff @(posedge clk_i) begin
      if (read_en_i) read_data_o <= mem[read_addr_i];
      if (write_en_i) mem[write_addr_i] <= write_data_i;
    end
  end

endmodule
