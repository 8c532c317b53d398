"""The activation buffer's port B under one vector instruction, stepped cycle by cycle.

The buffer has two banks, even and odd words, and each takes one access a cycle: the vector unit's
write before its read before the accesses of load and store.  The vector unit never waits for the
others, so what it does to itself and leaves to them depends on the banks of its addresses alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from intaglio.sim.compiled import compiled, entry

WRITE_DELAY = 12
"""Cycles from the last read of an output to its write."""
NORM_WRITE_DELAY, SOFTMAX_WRITE_DELAY = 16, 20
"""Cycles from a block's last read to its write, beside the cycles in which its elements pass."""
BANKS = 2
"""Banks of the activation buffer; addresses and strides are given modulo their number."""
NONE = -1
"""No bank."""

Pair = tuple[int, int]


class Source(NamedTuple):
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


NOTHING = Source((0, 0), 0, 0, 0, 0, 0, False, 0)
"""The windows of an instruction that takes its sums from the accumulators."""


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
    asides = (residual[0], residual[-1]) if residual else ((0, 0), (0, 0))
    return PortUse(*_step(shape, source or NOTHING, asides, len(residual), output))


@entry
def _step(
    shape: Pair, source: Source, asides: tuple[Pair, Pair], aside_reads: int, output: Pair
) -> tuple[int, float]:
    """Stalls of the reads, and the share that remains."""
    writes = np.full(WRITE_DELAY + 1, NONE)
    cycle = reads = others = 0
    for y in range(shape[0]):
        for x in range(shape[1]):
            for bank in _reads(y, x, source, asides, aside_reads):
                while writes[cycle % writes.size] == bank:
                    others += _free(others % BANKS, bank, NONE)
                    writes[cycle % writes.size] = NONE
                    cycle += 1
                others += _free(others % BANKS, writes[cycle % writes.size], bank)
                writes[cycle % writes.size] = NONE
                cycle += 1
                reads += 1
            written = (output[0] + y * output[1] + x) % BANKS
            writes[(cycle - 1 + WRITE_DELAY) % writes.size] = written
    for _ in range(WRITE_DELAY):
        others += _free(others % BANKS, writes[cycle % writes.size], NONE)
        writes[cycle % writes.size] = NONE
        cycle += 1
    return cycle - reads - WRITE_DELAY, others / cycle


@compiled
def _free(bank: int, write: int, read: int) -> bool:
    """Whether neither takes `bank`."""
    return bank != write and bank != read


@compiled
def _reads(
    y: int, x: int, source: Source, asides: tuple[Pair, Pair], aside_reads: int
) -> Iterator[int]:
    """Banks that output (y, x) reads: its window's last columns, and its residual."""
    rows, columns = source.shape
    first = columns - source.new if x else 0
    fresh = columns - first
    start = source.address + y * source.y_stride + x * source.x_stride
    for k in range(rows * fresh):
        wy, wx = (k % rows, k // rows) if source.by_columns else (k // fresh, k % fresh)
        at = start + wy * source.window_y_stride + (first + wx) * source.window_x_stride
        yield at % BANKS
    for k in range(aside_reads):
        address, stride = asides[k]
        yield (address + y * stride + x) % BANKS


@cache
def row_port(
    count: int, reads: tuple[Pair, ...], output: Pair, period: int, delay: int | None
) -> PortUse:
    """Step one walk of a SOFTMAX or NORM over `count` words, one every `period` cycles.

    `reads` hold the banks of address and stride of what each word is made of, at most three,
    `output` those of itself, written `delay` after its last read; without `delay` it makes none.
    """
    three = (reads[0], reads[len(reads) // 2], reads[-1])
    return PortUse(*_walk(count, three, len(reads), output, period, delay or 0))


@entry
def _walk(
    count: int, places: tuple[Pair, Pair, Pair], reads: int, output: Pair, period: int, delay: int
) -> tuple[int, float]:
    """Stalls of the reads, and the share that remains."""
    writes = np.full(delay + 1, NONE)
    cycle = others = 0
    for step in range(count):
        for beat in range(period):
            read = NONE
            if beat < reads:
                read = (places[beat][0] + step * places[beat][1]) % BANKS
                while writes[cycle % writes.size] == read:
                    others += _free(others % BANKS, read, NONE)
                    writes[cycle % writes.size] = NONE
                    cycle += 1
            others += _free(others % BANKS, writes[cycle % writes.size], read)
            writes[cycle % writes.size] = NONE
            if delay and beat == reads - 1:
                writes[(cycle + delay) % writes.size] = (output[0] + step * output[1]) % BANKS
            cycle += 1
    return cycle - count * period, others / cycle
