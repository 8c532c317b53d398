"""The area of an npu, estimated from its parameters: no tool runs, microseconds an estimate.

The unit is the gate equivalent (GE): four transistors, a NAND of two inputs.  Multipliers and
what serves them grow with rows * cols, those of windows with rows * window_columns, lanes of
vector and window unit with rows, engines of rows with row_lanes, control with nothing; the
coefficients are least squares over Yosys runs of the RTL (`benchmarks/area.py`, docs/area.md),
which they meet within 3 %.  Memory bits are counted exactly.  Wires and layout density are left
out: areas compare npus with each other, and with nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import MAX_NORM_ROWS, MAX_TAPS

TRANSISTORS_A_GATE = 4
TRANSISTORS_A_REGISTER_BIT = 24
TRANSISTORS_A_MEMORY_BIT = 6
ROW_CONSTANT_BITS = 65
"""What a norm keeps of each row: its sum, its reciprocal root, and a shift."""


@dataclass(frozen=True, slots=True)
class Area:
    """What an npu is made of: transistors of its logic, bits of registers and of memories."""

    logic_transistors: int
    register_bits: int
    memory_bits: int

    @property
    def transistors(self) -> int:
        """All of it."""
        registers = TRANSISTORS_A_REGISTER_BIT * self.register_bits
        return self.logic_transistors + registers + TRANSISTORS_A_MEMORY_BIT * self.memory_bits

    @property
    def kge(self) -> float:
        """All of it in thousands of gate equivalents."""
        return self.transistors / TRANSISTORS_A_GATE / 1000


def estimate_area(design: NpuDesign) -> Area:
    """The estimated area of `design`; memory latencies of up to 256 cycles."""
    multipliers, window, rows = design.multipliers, design.window_multipliers, design.rows
    engines = _row_engines(design)
    logic = 3855 * multipliers + 4681 * window + 73_290 * rows + 147_500
    registers = 58 * multipliers + 47 * window + 1_047 * rows + 6_240
    memories = _buffer_bits(design) + _queue_bits(design) + _tap_bits(design)
    return Area(
        logic_transistors=logic + engines.logic_transistors,
        register_bits=registers + engines.register_bits,
        memory_bits=memories + engines.memory_bits,
    )


def _row_engines(design: NpuDesign) -> Area:
    """The engines of softmax and norms, fitted to Yosys runs of `npu_softmax` and `npu_norm`."""
    lanes, pipes = design.lanes, design.row_lanes
    if not pipes:
        return Area(0, 0, 0)
    return Area(
        logic_transistors=141_000 * pipes + 1_650 * lanes + 77_200,
        register_bits=1_623 * pipes + 178 * lanes + 2_030,
        memory_bits=ROW_CONSTANT_BITS * MAX_NORM_ROWS,
    )


def _buffer_bits(design: NpuDesign) -> int:
    kib = design.activation_buffer_kib + design.weight_buffer_kib + design.accumulator_buffer_kib
    return 8 * 1024 * kib


def _queue_bits(design: NpuDesign) -> int:
    """Queues of instructions, of words on their way, and of beats from memory; tables."""
    return 51_116 + 4_352 * design.lanes + 512 * design.memory_bytes_per_cycle


def _tap_bits(design: NpuDesign) -> int:
    """Taps of a window: column k from the last of at most MAX_TAPS / (k + 1) rows, a power of 2."""
    rows = (MAX_TAPS >> (k + 1).bit_length() - 1 for k in range(design.window_columns))
    return 8 * design.lanes * sum(rows)
