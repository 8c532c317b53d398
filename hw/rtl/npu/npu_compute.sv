// Compute unit: walks a COMPUTE instruction's weight tiles and pixels and feeds the multiplier array,
// one vector a cycle.
//
// A fill walks block, fy, fx and brings one tile row a cycle into the array's shadow weights; a stream
// walks y, x over the tile that is active.  While the stream works on a tile the fill brings the next
// one, which may belong to the next instruction.
//
// Contract
// - `instr_i` is a COMPUTE instruction (its opcode is not looked at) whose counts blocks, fy, fx, y and
//   x are all at least 1.  At most 4 instructions are inside.
// - An instruction retires, in order, once its last sums are readable in the accumulators.
// - Let L = log2(Lanes) and T the number of tiles of P pixels.  After a handshake in cycle 0 on an idle
//   unit the first vector is read in cycle Lanes + 1, the first vector of each further tile max(P, Lanes)
//   cycles after the one before it, and `retire_valid_o` rises in cycle
//   (T - 1) * max(P, Lanes) + P + Lanes + L + 6.
// - `instr_ready_o` rises in the cycle in which the first vector of an instruction's last tile is read;
//   the first vector of the next instruction follows that tile after max(P, Lanes + 1 + wait) cycles, with
//   `wait` the cycles from ready to valid.
// - Activations arrive exactly 2 cycles after `a_en_o`, weights exactly 2 cycles after `f_en_o`; sums
//   leave 2 cycles after their `acc_valid_o`.
// - `stall_o`: weights are brought in and no vector is streamed.

module npu_compute #(
  parameter int Lanes = 16,
  parameter int Groups = 1,
  parameter int ActWords = 8192,
  parameter int WeightWords = 4096,
  parameter int AccWords = 512,
  localparam int Width = 8 * Lanes,
  localparam int Cols = Groups * Lanes,
  localparam int LaneBits = $clog2(Lanes),
  localparam int ElementBits = $clog2(ActWords) + LaneBits,
  localparam int GroupBits = $clog2(Groups),
  localparam int RowBits = $clog2(WeightWords) - GroupBits,
  localparam int AccAddr = $clog2(2 * AccWords)
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  input  logic                    instr_valid_i,
  input  logic [511:0]            instr_i,
  output logic                    instr_ready_o,
  output logic                    retire_valid_o,
  input  logic                    retire_ready_i,
  output logic                    busy_o,
  output logic                    stall_o,
  output logic                    progress_o,
  output logic                    a_en_o,
  output logic [ElementBits-1:0]  a_addr_o,
  input  logic [Width-1:0]        a_data_i,
  output logic                    f_en_o,
  output logic [RowBits-1:0]      f_row_o,
  input  logic [Groups*Width-1:0] f_data_i,
  output logic                    acc_valid_o,
  output logic [AccAddr-1:0]      acc_addr_o,
  output logic                    acc_overwrite_o,
  output logic [Cols*32-1:0]      acc_sums_o
);

endmodule
