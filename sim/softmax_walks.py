"""A SOFTMAX at the activation buffer's port: the walks of three rows by turns, cycle by cycle.

Cycles are those in the header of hw/rtl/npu/npu_softmax.sv; without the bank conflicts of its own
writes they are those of `timing.softmax_cycles`.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from intaglio.sim.compiled import entry
from intaglio.sim.port import BANKS, Taken
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.timing import ROW_RETIRE, SOFTMAX_MAXIMUM, SOFTMAX_SUM, SOFTMAX_WRITE

Place = tuple[int, int, int]
"""Banks of an address, and of the strides of its rows and blocks."""
_READ = 2
"""Cycles from the read of a word to its arrival."""


def softmax_walks(
    design: NpuDesign, shape: tuple[int, int], reads: tuple[Place, ...], output: Place
) -> tuple[int, int, Taken]:
    """Cycles, stalls, and banks by cycle of a SOFTMAX of `shape` (rows, blocks).

    `reads` are the places of a block's words, `output` that of its result.
    """
    pipes = design.row_lanes
    return _stepped(shape, design.lanes // pipes, pipes, reads, output)


@cache
def _stepped(
    shape: tuple[int, int], slices: int, pipes: int, reads: tuple[Place, ...], output: Place
) -> tuple[int, int, Taken]:
    order = np.array(list(timing.softmax_walks(shape[0])), np.int64)
    three = (reads[0], reads[len(reads) // 2], reads[-1])
    known = np.zeros((2, shape[0] + 1), np.int64)
    length = max(slices, len(reads))
    banks = np.zeros(len(order) * (shape[1] * (length + 4) + 80) + 80, np.uint8)
    cycles, stalls = _step(
        order, shape[1], (slices, pipes), three, len(reads), output, known, banks
    )
    return cycles, stalls, banks[:cycles].copy()


@entry
def _step(
    order: np.ndarray,
    blocks: int,
    widths: tuple[int, int],
    places: tuple[Place, Place, Place],
    reads: int,
    output: Place,
    known: np.ndarray,
    banks: Taken,
) -> tuple[int, int]:
    """Fill in the banks; return the cycles from issue to retirement, and the stalls of the reads.

    Cycle 0 is the one after the issue; `known` says from when on a row's maximum, and the
    reciprocal of its sum, is there.
    """
    slices, pipes = widths
    period = max(slices, reads)
    cycle = stalls = written = 0
    for walk, row in order:
        if walk == 1:
            cycle = max(cycle, known[0, row], known[1, row - 1] if row else 0)
        elif walk == 2:
            cycle = max(cycle, known[1, row])
        read = cycle
        for block in range(blocks):
            for beat in range(period):
                cycle += 1
                if beat >= reads:
                    continue
                place = places[beat]
                bank = 1 << (place[0] + row * place[1] + block * place[2]) % BANKS
                while banks[cycle] & bank:
                    cycle += 1
                    stalls += 1
                banks[cycle] |= bank
                read = cycle
            last = read + _READ + slices
            if walk == 2:
                written = last + SOFTMAX_WRITE
                bank = 1 << (output[0] + row * output[1] + block * output[2]) % BANKS
                banks[written] |= bank
        if walk == 0:
            known[0, row] = last + pipes + SOFTMAX_MAXIMUM
        elif walk == 1:
            known[1, row] = last + pipes + SOFTMAX_SUM
    return written + 1 + ROW_RETIRE, stalls
