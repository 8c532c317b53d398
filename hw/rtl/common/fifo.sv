// SPDX-License-Identifier: Apache-2.0
// First-in first-out queue on a RAM with a registered read.
//
// Holds `Depth` entries (a power of two) in the RAM and one more in the output register.  An entry
// is readable two cycles after it was written at the earliest; both sides move one entry a cycle.
// `ready_o` and whether an entry can be fetched are registers of their own, worked out a cycle ahead.
// With `Pause` an entry is fetched in the cycle after the one before it left: it is readable two
// cycles after that, and the wide output register does not wait for `ready_i`.

module fifo #(
  parameter int Width = 8,
  parameter int Depth = 16,
  parameter int Pause = 0,
  localparam int PtrBits = $clog2(Depth) + 1
) (
  input  logic             clk_i,
  input  logic             rst_ni,

  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,

  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);
  if (Depth < 2 || 2 ** $clog2(Depth) != Depth) begin : gen_check_depth
    initial $fatal(1, "fifo: Depth must be a power of two and at least 2");
  end

  logic [Width-1:0] mem [0:Depth-1];
  logic [PtrBits-1:0] write_q, read_q;
  logic valid_q, room_q, some_q;
  logic push, fetch, last_place, last_entry;

  assign ready_o = room_q;
  assign push    = valid_i && room_q;
  assign fetch   = some_q && (!valid_q || (Pause == 0 && ready_i));
  assign valid_o = valid_q;

  assign last_place = PtrBits'(write_q - read_q) == PtrBits'(Depth - 1);
  assign last_entry = PtrBits'(write_q - read_q) == PtrBits'(1);

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      write_q <= '0;
      read_q  <= '0;
      valid_q <= 1'b0;
      room_q  <= 1'b1;
      some_q  <= 1'b0;
    end else begin
      if (push) write_q <= write_q + 1'b1;
      if (fetch) read_q <= read_q + 1'b1;
      valid_q <= fetch || (valid_q && !ready_i);
      room_q  <= fetch || (room_q && !(push && last_place));
      some_q  <= push || (some_q && !(fetch && last_entry));
    end
  end

  always_ff @(posedge clk_i) begin
    if (push) mem[write_q[PtrBits-2:0]] <= data_i;
  end

  always_ff @(posedge clk_i) begin
    if (fetch) data_o <= mem[read_q[PtrBits-2:0]];
  end
endmodule
