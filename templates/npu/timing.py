"""Cycles of the npu's instructions as closed forms, from issue to retirement on idle ports.

The numbers are those of the contracts in hw/rtl/npu/*.sv; docs/npu.md, "Timing", explains them.
The mapper sums these forms; the simulator adds queues, ports and memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cache

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, RECORD_WORDS, TABLE_ENTRIES

COMPUTE_PIPELINE = 6
"""Cycles of a COMPUTE beyond fill, tiles and the adder tree."""
VECTOR_PIPELINE = 13
"""Cycles from a vector instruction's last read to its retirement."""
WINDOW_PIPELINE = 15
"""The same of a window instruction, whose words wait for the buffer's port in a queue."""
LOAD_PIPELINE = 7
"""Cycles of a LOAD beyond memory latency and data: first address, and the last write."""
STORE_PIPELINE = 7
"""Cycles of a STORE beyond data and acknowledgement: first beat, and retirement."""
NORM_ROW, NORM_ROOT, NORM_BLOCK, NORM_LAST = 7, 56, 20, 9
"""Cycles of a NORM: of a row beyond its blocks and pipes, of its root, of a block of results, and
what the last block has more."""
WALK_SLICES = 2
"""Cycles from the start of a walk over a row to its last slice, beside blocks and tail."""
SOFTMAX_MAXIMUM, SOFTMAX_SUM, SOFTMAX_WRITE = 2, 38, 18
"""Cycles from the last slice until a row's maximum is known, or its sum's reciprocal, beside the
folding of the pipes; and until a block's results are written."""
ROW_RETIRE = 1
"""Cycles from the end of a SOFTMAX or NORM to its retirement."""
FILL = 4
"""Least cycles of the fill of a weight tile: the accumulators add to a sum again after as many."""
QUEUE = 2
"""Cycles that an instruction spends in its queue at least."""


def fill_cycles(design: NpuDesign, weight_bits: int) -> int:
    """Cycles that bring a weight tile into the array, a word of every slice a cycle."""
    return max(design.tile_rows(weight_bits), FILL)


def tile_period(design: NpuDesign, pixels: int, weight_bits: int) -> int:
    """Cycles between two weight tiles: a tile is brought in while the one before multiplies."""
    return max(pixels, fill_cycles(design, weight_bits))


def compute_cycles(design: NpuDesign, tiles: int, pixels: int, weight_bits: int) -> int:
    """A COMPUTE of `tiles` weight tiles on `pixels` pixels, its first fill included."""
    tree = design.lanes.bit_length() - 1
    period = tile_period(design, pixels, weight_bits)
    fill = fill_cycles(design, weight_bits)
    return (tiles - 1) * period + pixels + fill + tree + COMPUTE_PIPELINE


def table_words(design: NpuDesign) -> int:
    """Words of the weight buffer that a table takes."""
    return TABLE_ENTRIES // design.lanes


def vector_cycles(design: NpuDesign, reads: int, table: bool = False) -> int:
    """A DRAIN: constants, then its reads: once an output, its residual in the same cycle."""
    return constant_cycles(design, 0, table) + reads + VECTOR_PIPELINE


def window_cycles(design: NpuDesign, reads: int, taps: int = 0, table: bool = False) -> int:
    """A window: constants, then its elements (`row_reads`) and residuals."""
    return constant_cycles(design, taps, table) + reads + WINDOW_PIPELINE


def constant_cycles(design: NpuDesign, taps: int, table: bool) -> int:
    """Cycles in which a DRAIN or a window reads records, `taps` taps and its table."""
    return RECORD_WORDS + taps + (table_words(design) if table else 0)


def new_columns(design: NpuDesign, window_x: int, stride: int, dilation: int) -> int:
    """Columns that a window reads when it is not the first of its row.

    The others are those of the window before it; none are when the window is wider than the unit,
    when windows lie apart, or with dilation.
    """
    slides = window_x <= design.window_columns and dilation == 1 and 1 <= stride < window_x
    return stride if slides else window_x


def row_reads(outputs: int, window: tuple[int, int], new: int) -> int:
    """Elements read for `outputs` windows (rows, columns) of one row, `new` columns each."""
    return window[0] * (window[1] + (outputs - 1) * new)


@dataclass(frozen=True, slots=True)
class RowTiming:
    """Rows in an engine: `period` cycles a block of lanes, and `tail` more behind the last one."""

    period: int
    tail: int


def row_timing(design: NpuDesign, reads: int, made: int = 1) -> RowTiming:
    """Of rows whose blocks are `reads` words: the slowest of reading, handling and writing them."""
    slices = design.lanes // design.row_lanes
    period = max(reads, slices, made)
    return RowTiming(period, reads + slices - period)


def norm_sum_cycles(design: NpuDesign, blocks: int, rows: int, reads: int) -> int:
    """The first pass of a NORM: sums of every row, and its root beside the next row's sums."""
    own = row_timing(design, reads)
    row = blocks * own.period + own.tail + design.row_lanes + NORM_ROW
    return row + (rows - 1) * max(row, NORM_ROOT) + NORM_ROOT


def norm_block_cycles(design: NpuDesign, rows: int, reads: int, made: int) -> int:
    """The second pass of a NORM over one block: its records, then `rows` rows."""
    own = row_timing(design, reads, made)
    return rows * own.period + own.tail + NORM_BLOCK


def norm_cycles(
    design: NpuDesign, blocks: int, rows: int, reads: int, made: int = 1, again: bool = False
) -> int:
    """A NORM of `rows` rows of `blocks` blocks, each of `reads` words and `made` results.

    With `again` the sums of the one before hold.
    """
    sums = 0 if again else norm_sum_cycles(design, blocks, rows, reads)
    apply = blocks * norm_block_cycles(design, rows, reads, made) + NORM_LAST + made - 1
    return sums + apply + ROW_RETIRE


class Walk(IntEnum):
    """What a SOFTMAX makes when it goes over a row."""

    MAXIMUM = 0
    SUM = 1
    SCALE = 2


def softmax_walks(rows: int) -> Iterator[tuple[Walk, int]]:
    """The walks of a SOFTMAX in their order, each with its row."""
    for row in range(rows):
        yield Walk.MAXIMUM, row
        if row > 1:
            yield Walk.SCALE, row - 2
        yield Walk.SUM, row
    yield from ((Walk.SCALE, row) for row in range(max(rows - 2, 0), rows))


@cache
def softmax_cycles(design: NpuDesign, blocks: int, rows: int, reads: int) -> int:
    """A SOFTMAX; `reads` counts the mask's word of a block too."""
    own = row_timing(design, reads)
    length, last = blocks * own.period, blocks * own.period + own.tail + WALK_SLICES
    free, maximum, reciprocals = 1, 0, [0]
    for walk, row in softmax_walks(rows):
        start = free
        if walk is Walk.MAXIMUM:
            maximum = start + last + design.row_lanes + SOFTMAX_MAXIMUM
        elif walk is Walk.SUM:
            start = max(start, maximum, reciprocals[-1])
            reciprocals.append(start + last + design.row_lanes + SOFTMAX_SUM)
        else:
            start = max(start, reciprocals[row + 1])
        free = start + length
    return free - length + last + SOFTMAX_WRITE + ROW_RETIRE


def memory_cycles(design: NpuDesign, words: int) -> int:
    """Beats that move `words` words over the memory port."""
    return words * design.word_bytes // design.memory_bytes_per_cycle


def load_cycles(design: NpuDesign, memory_words: int, buffer_words: int) -> int:
    """A LOAD of `memory_words` that writes `buffer_words`, padding included."""
    data = max(memory_cycles(design, memory_words), buffer_words)
    widen = int(design.word_bytes > design.memory_bytes_per_cycle)
    return design.memory_latency_cycles + data + LOAD_PIPELINE + widen


def store_cycles(design: NpuDesign, words: int) -> int:
    """A STORE of `words` words up to memory's acknowledgement."""
    narrow = int(design.word_bytes > design.memory_bytes_per_cycle)
    data = memory_cycles(design, words)
    return design.memory_latency_cycles + data + STORE_PIPELINE + narrow


def fetch_words(design: NpuDesign, instructions: int) -> int:
    """What fetching `instructions` instructions costs memory, in words."""
    return instructions * INSTRUCTION_BYTES // design.word_bytes
