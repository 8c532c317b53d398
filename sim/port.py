"""The activation buffer's port B under one vector instruction, stepped cycle by cycle.

The buffer has two banks, even and odd words, and each takes one access a cycle: the vector unit's
write before its read before the accesses of load and store.  The vector unit never waits for the
others, so what it does to itself and leaves to them depends on the banks of its addresses alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain

import numpy as np

WRITE_DELAY = 12
"""Cycles from the last read of an output to its write."""
BANKS = 2
"""Banks of the activation buffer; addresses and strides are given modulo their number."""

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Source:
    """The windows of an instruction: what they span and the banks in which they are.

    shape                               rows and columns of a window
    address, y_stride, x_stride         of the first window, and of the way to the next
    window_y_stride, window_x_stride    of the way to the next row and column of a window
    by_columns                          whether a window is read column by column
    new                                 columns that a window reads after its row's first
    """

    shape: Pair
    address: int
    y_stride: int
    x_stride: int
    window_y_stride: int
    window_x_stride: int
    by_columns: bool
    new: int


@dataclass(frozen=True, slots=True)
class PortUse:
    """What a vector instruction makes of the port between its first read and its last write.

    stalls      cycles in which its own writes hold up its reads
    share       words a cycle that remain for a unit that walks through the buffer
    """

    stalls: int
    share: float


@cache
def use_port(
    shape: Pair, source: Source | None, residual: tuple[Pair, ...], output: Pair
) -> PortUse:
    """Step a vector instruction of `shape` (y, x) outputs.

    `output` and, for each read of an output's residual, `residual` hold the banks of address and
    row stride; without `source` the sums come from the accumulators.
    """
    if source is None and not residual:
        return PortUse(0, 1.0)
    rows = [_row_reads(y, shape[1], source, residual) for y in range(shape[0])]
    reads = [bank for row in rows for output in row for bank in output]
    ends = set(accumulate(len(output) for row in rows for output in row))
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    written = iter(((output[0] + y * output[1] + x) % BANKS).tolist())
    writes: dict[int, int] = {}
    cycle = position = others = 0
    while position < len(reads) or cycle <= max(writes):
        write = writes.get(cycle)
        read = reads[position] if position < len(reads) else None
        if read == write:
            read = None
        if read is not None:
            position += 1
            if position in ends:
                writes[cycle + WRITE_DELAY] = next(written)
        bank = others % BANKS
        others += bank not in (write, read)
        cycle += 1
    stalls = cycle - len(reads) - WRITE_DELAY
    return PortUse(stalls, others / cycle)


def _row_reads(
    y: int, outputs: int, source: Source | None, residual: tuple[Pair, ...]
) -> list[list[int]]:
    """Banks of the activation reads of row `y`, output by output, in order of issue."""
    row = [_window_reads(y, x, source) if source else [] for x in range(outputs)]
    for x, reads in enumerate(row):
        reads += [(address + y * stride + x) % BANKS for address, stride in residual]
    return row


def _window_reads(y: int, x: int, source: Source) -> list[int]:
    """Banks of the elements that output (y, x) reads, its window's last columns."""
    rows, columns = source.shape
    first = columns - source.new if x else 0
    start = source.address + y * source.y_stride + x * source.x_stride
    at = [
        [start + wy * source.window_y_stride + wx * source.window_x_stride for wy in range(rows)]
        for wx in range(first, columns)
    ]
    order = chain(*at) if source.by_columns else chain(*zip(*at, strict=True))
    return [address % BANKS for address in order]
