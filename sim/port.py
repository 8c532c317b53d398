"""The activation buffer's port B under one vector instruction, stepped cycle by cycle.

The buffer has two banks, even and odd words, and each takes one access a cycle: the vector unit's
write before its read before the accesses of load and store.  The vector unit never waits for the
others, so what it does to itself and leaves to them depends on the parities of its addresses alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

WRITE_DELAY = 12
"""Cycles from the last read of an output to its write."""

Pair = tuple[int, int]
Source = tuple[Pair, int, int, int, int, int]
"""Window, then the parities of address, y and x stride, and the window's y and x stride."""


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

    `output` and, for each read of an output's residual, `residual` hold the parities of address and
    row stride; without `source` the sums come from the accumulators.
    """
    if source is None and not residual:
        return PortUse(0, 1.0)
    banks = _read_banks(shape, source, residual).tolist()
    reads = len(banks) // (shape[0] * shape[1])
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    written = ((output[0] + y * output[1] + x) & 1).tolist()
    writes: dict[int, int] = {}
    cycle = position = others = 0
    while position < len(banks) or cycle <= max(writes):
        write = writes.get(cycle)
        read = banks[position] if position < len(banks) else None
        if read == write:
            read = None
        if read is not None:
            position += 1
            if position % reads == 0:
                writes[cycle + WRITE_DELAY] = written[position // reads - 1]
        bank = others & 1
        others += bank not in (write, read)
        cycle += 1
    stalls = cycle - len(banks) - WRITE_DELAY
    return PortUse(stalls, others / cycle)


def _read_banks(shape: Pair, source: Source | None, residual: tuple[Pair, ...]) -> np.ndarray:
    """Bank of every activation read in order of issue."""
    y, x = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    reads = []
    if source is not None:
        (window_y, window_x), address, y_stride, x_stride, wy_stride, wx_stride = source
        wy, wx = np.divmod(np.arange(window_y * window_x), window_x)
        outputs = address + y * y_stride + x * x_stride
        reads.append(outputs[:, None] + wy * wy_stride + wx * wx_stride)
    reads += [(address + y * stride + x)[:, None] for address, stride in residual]
    banks: np.ndarray = (np.concatenate(reads, axis=1) & 1).reshape(-1)
    return banks
