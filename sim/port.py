"""The activation buffer's port B under one instruction of the vector or window unit.

The buffer has two banks, even and odd words, and each takes one access a cycle: the vector unit's
write before its read before those of the window unit, of load and of store.  The vector unit never
waits for the others, so what it does to itself and leaves to them depends on the banks of its
addresses alone; it is stepped cycle by cycle before the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from intaglio.sim.compiled import compiled, entry
from intaglio.sim.state import ACTIVATION, Run

WRITE_DELAY = 12
"""Cycles from the last read of an output to its write."""
BANKS = BANK_BITS = 2
"""Banks of the activation buffer; addresses and strides are given modulo their number."""
SLICE_BITS = 6
"""Above the banks in what is taken: a slice of the weight buffer and one, or 0; twice."""
EMIT_SHIFT = BANK_BITS + SLICE_BITS
"""Where a step of a window holds the bank, as a bit, of the output that it completes."""

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
"""The windows of a DRAIN, which takes its sums from the accumulators."""


Taken = NDArray[np.uint8]
"""Cycle by cycle, what is taken: bit k for bank k, and above them a slice of the weight buffer and
one."""
Steps = NDArray[np.uint16]
"""What a window reads, step by step: as `Taken`, and above it the bank of a completed output."""


@dataclass(frozen=True, slots=True, eq=False)
class PortUse:
    """What a vector instruction makes of the port from its first read to its last write.

    stalls      cycles in which its own writes hold up its reads
    banks       uint8 (cycles,): those that it takes
    """

    stalls: int
    banks: Taken


@compiled
def taken(run: Run, ports: Sequence[int], now: int) -> int:
    """What the vector unit takes in cycle `now`: banks, and above them a slice and one, or 0."""
    vector = run.vector
    cycle = now - vector.begins
    return ports[vector.pattern + cycle] if cycle < vector.watched else 0


@compiled
def is_used(run: Run, now: int) -> bool:
    """Whether the vector unit may take ports in cycle `now` or later."""
    return now - run.vector.begins < run.vector.watched


@compiled
def is_taken(taken: int, buffer: int, address: int, groups: int) -> bool:
    """Whether the port of a buffer's word is taken; of the one for weights there are `groups`."""
    if buffer == ACTIVATION:
        return taken >> address % BANKS & 1 > 0
    return has_slice(taken, address % groups)


@compiled
def asked(step: int) -> int:
    """What a step of a window asks of the ports; its slice is the upper of two."""
    return step % (1 << BANK_BITS) | (step >> BANK_BITS) % (1 << SLICE_BITS) << EMIT_SHIFT


@compiled
def emitted(step: int) -> int:
    """The bank, as a bit, of the output that a step of a window completes; 0 without one."""
    return step >> EMIT_SHIFT


@compiled
def meets(taken: int, asks: int) -> bool:
    """Whether a bank or the slice that a step of a window asks for is taken."""
    slice_taken = (taken >> BANK_BITS) % (1 << SLICE_BITS)
    busy = asks >> EMIT_SHIFT > 0 and asks >> EMIT_SHIFT == slice_taken
    return busy or (taken & asks) % (1 << BANK_BITS) > 0


@compiled
def has_slice(taken: int, number: int) -> bool:
    """Whether slice `number` of the weight buffer is taken."""
    return (taken >> BANK_BITS) % (1 << SLICE_BITS) == number + 1 or (
        taken >> EMIT_SHIFT == number + 1
    )


@cache
def use_port(shape: Pair, residual: tuple[Pair, ...], output: Pair) -> PortUse:
    """Step a DRAIN of `shape` (y, x) outputs.

    `output` and, for each read of an output's residual, `residual` hold the banks of address and
    row stride.
    """
    asides = (residual[0], residual[-1]) if residual else ((0, 0), (0, 0))
    most = shape[0] * shape[1] * (len(residual) + 2)
    banks = np.zeros(most + WRITE_DELAY + 1, np.uint8)
    stalls, cycles = _step(shape, asides, len(residual), output, banks)
    return PortUse(stalls, banks[:cycles].copy())


@cache
def window_steps(shape: Pair, source: Source, residual: tuple[Pair, ...], output: Pair) -> Steps:
    """The reads of a window of `shape` (y, x) outputs; `residual` and `output` as in `use_port`."""
    aside = residual[0] if residual else (0, 0)
    steps = np.zeros(shape[0] * shape[1] * (math.prod(source.shape) + 1), np.uint16)
    return steps[: _gather(shape, source, aside, len(residual), output, steps)].copy()


@entry
def _gather(
    shape: Pair, source: Source, aside: Pair, aside_reads: int, output: Pair, steps: Steps
) -> int:
    """Fill in the steps; return how many there are."""
    count = 0
    for y in range(shape[0]):
        for x in range(shape[1]):
            for bank in _reads(y, x, source, (aside, aside), aside_reads):
                steps[count] = bank
                count += 1
            steps[count - 1] |= 1 << (output[0] + y * output[1] + x) % BANKS << EMIT_SHIFT
    return count


@entry
def _step(
    shape: Pair, asides: tuple[Pair, Pair], aside_reads: int, output: Pair, banks: Taken
) -> Pair:
    """Fill in the banks; return the stalls of the reads, and the cycles."""
    cycle = stalls = 0
    for y in range(shape[0]):
        for x in range(shape[1]):
            for bank in _reads(y, x, NOTHING, asides, aside_reads):
                while bank and banks[cycle] & bank:
                    stalls += 1
                    cycle += 1
                banks[cycle] |= bank
                cycle += 1
            banks[cycle - 1 + WRITE_DELAY] |= 1 << (output[0] + y * output[1] + x) % BANKS
    return stalls, cycle + WRITE_DELAY


@compiled
def _reads(
    y: int, x: int, source: Source, asides: tuple[Pair, Pair], aside_reads: int
) -> Iterator[int]:
    """Banks, as bits, that output (y, x) reads: its window's last columns, and its residual.

    An output that reads neither takes a cycle too.
    """
    rows, columns = source.shape
    first = columns - source.new if x else 0
    fresh = columns - first
    start = source.address + y * source.y_stride + x * source.x_stride
    for k in range(rows * fresh):
        wy, wx = (k % rows, k // rows) if source.by_columns else (k // fresh, k % fresh)
        at = start + wy * source.window_y_stride + (first + wx) * source.window_x_stride
        yield 1 << at % BANKS
    for k in range(aside_reads):
        address, stride = asides[k]
        yield 1 << (address + y * stride + x) % BANKS
    if rows * fresh + aside_reads == 0:
        yield 0


@cache
def walk(
    count: int,
    reads: tuple[Pair, ...],
    output: Pair,
    period: int,
    delay: int | None,
    high: int | None = None,
) -> PortUse:
    """Step one walk of a NORM over `count` words, one every `period` cycles.

    `reads` hold the banks of address and stride of what each word is made of, at most two, `output`
    those of itself, written `delay` after its last read; without `delay` it makes none.  With
    `high` a second word is written in the next cycle, so many banks further on.
    """
    two = (reads[0], reads[-1])
    banks = np.zeros(count * (period + 2) + (delay or 0) + 2, np.uint8)
    highs = -1 if high is None else high
    stalls = _walk(count, two, len(reads), output, period, delay or 0, highs, banks)
    length = count * period + stalls + (delay or 0) + (high is not None)
    return PortUse(stalls, banks[:length].copy())


@entry
def _walk(
    count: int,
    places: tuple[Pair, Pair],
    reads: int,
    output: Pair,
    period: int,
    delay: int,
    high: int,
    banks: Taken,
) -> int:
    """Fill in the banks; return the stalls of the reads."""
    cycle = 0
    for step in range(count):
        for beat in range(period):
            if beat < reads:
                bank = 1 << (places[beat][0] + step * places[beat][1]) % BANKS
                while banks[cycle] & bank:
                    cycle += 1
                banks[cycle] |= bank
            if delay and beat == reads - 1:
                place = output[0] + step * output[1]
                banks[cycle + delay] |= 1 << place % BANKS
                if high >= 0:
                    banks[cycle + delay + 1] |= 1 << (place + high) % BANKS
            cycle += 1
    return cycle - count * period


def lay(parts: Iterable[tuple[int, Taken]]) -> Taken:
    """One pattern of several, each from its cycle on."""
    placed = tuple(parts)
    banks = np.zeros(max(at + part.size for at, part in placed), np.uint8)
    for at, part in placed:
        banks[at : at + part.size] |= part
    return banks
