"""What instructions of the vector and window units ask of the ports of both buffers.

Nothing holds the vector unit up but its own writes, so this is known before the run.  Cycles are
those in the headers of hw/rtl/npu/npu_vector.sv, npu_norm.sv and npu_row_words.sv; `softmax_walks`
has those of npu_softmax.sv.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from intaglio.sim.port import (
    BANK_BITS,
    BANKS,
    PortUse,
    Source,
    Steps,
    Taken,
    lay,
    use_port,
    walk,
    window_steps,
)
from intaglio.sim.softmax_walks import Place, softmax_walks
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import RECORD_WORDS, Opcode

NORM_WRITE_DELAY = 16
"""Cycles from a block's last read to its write, beside the cycles in which its elements pass."""
NORM_APPLY = RECORD_WORDS
"""Cycles from the first record of a block to the walk over its rows."""

Fields = dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """One instruction: cycles from its issue to its retirement, of which its own writes made
    `stalls`, and what it takes from the cycle after its issue on.
    """

    cycles: int
    stalls: int
    taken: Taken


EXACT = (
    "y", "x", "table", "residual", "window_y", "window_x", "source_x_stride", "window_x_stride",
)  # fmt: skip
"""Fields whose value says how a DRAIN or window reads."""
BANKED = (
    "residual_address", "residual_row_stride", "output_address", "output_row_stride",
    "source_address", "source_y_stride", "window_y_stride",
)  # fmt: skip
"""Fields that matter as far as banks of the activation buffer go."""
DRAIN_EXACT, DRAIN_BANKED = "residual_wide", "residual_high_offset"
"""What a DRAIN has of either beside."""
SLICED = "tap_address", "table_address", "record_address"
"""Fields that matter as far as slices of the weight buffer go."""
ROW_EXACT = "blocks", "rows", "input_wide"
NORM_EXACT, NORM_BANKED = ("output_wide", "again"), "output_high_offset"
ROW_BANKED = (
    "source_address", "source_block_stride", "source_row_stride", "source_high_offset",
    "output_address", "output_block_stride", "output_row_stride",
)  # fmt: skip
MASK_BANKED = "mask_address", "mask_block_stride", "mask_row_stride"
"""The same of SOFTMAX and NORM."""


def drain(design: NpuDesign, field: Fields) -> Pattern:
    """A DRAIN: constants, then the reads of its outputs."""
    shape, asides = (field["y"], field["x"]), _residual_reads(field["opcode"], field)
    port = use_port(shape, asides, (field["output_address"], field["output_row_stride"]))
    reads = shape[0] * shape[1] * max(len(asides), 1)
    return Pattern(
        timing.vector_cycles(design, reads, bool(field["table"])) + port.stalls,
        port.stalls,
        np.concatenate([_constants(design, field, 0), port.banks]),
    )


def window(design: NpuDesign, field: Fields) -> Steps:
    """The steps of a window: constants, then the reads of its outputs."""
    taps = field["window_y"] * field["window_x"] if field["opcode"] == Opcode.WINDOW_MAC else 0
    output = field["output_address"], field["output_row_stride"]
    reads = window_steps(
        (field["y"], field["x"]),
        _source(design, field),
        _residual_reads(field["opcode"], field),
        output,
    )
    return np.concatenate([_constants(design, field, taps).astype(np.uint16), reads])


def softmax(design: NpuDesign, field: Fields) -> Pattern:
    """A SOFTMAX: each row is walked three times, and made in the last."""
    reads = [_place(field, "source", 0)]
    if field["input_wide"]:
        reads.append(_place(field, "source", field["source_high_offset"]))
    if field["mask"]:
        reads.append(_place(field, "mask", 0))
    shape = field["rows"], field["blocks"]
    return Pattern(*softmax_walks(design, shape, tuple(reads), _place(field, "output", 0)))


def _place(field: Fields, kind: str, offset: int) -> Place:
    """Banks of the address and of the strides of rows and blocks of what a SOFTMAX touches."""
    first = (field[f"{kind}_address"] + offset) % BANKS
    return first, field[f"{kind}_row_stride"], field[f"{kind}_block_stride"]


def norm(design: NpuDesign, field: Fields) -> Pattern:
    """A NORM: all rows are walked, then for each block its records are read, and its rows again."""
    blocks, rows, reads = field["blocks"], field["rows"], 1 + field["input_wide"]
    made, again = 1 + field["output_wide"], bool(field["again"])
    parts = [] if again else list(_sums(design, field, reads))
    start = 0 if again else timing.norm_sum_cycles(design, blocks, rows, reads)
    stalls = 0
    for block in range(blocks):
        first = field["record_address"] + block * RECORD_WORDS
        making = _walk(design, field, "block", block, NORM_WRITE_DELAY)
        parts.append((start, _slices(design, first, RECORD_WORDS)))
        parts.append((start + NORM_APPLY + 1, making.banks))
        stalls += making.stalls
        start += timing.norm_block_cycles(design, rows, reads, made) + making.stalls
    cycles = timing.norm_cycles(design, blocks, rows, reads, made, again)
    return Pattern(cycles + stalls, stalls, lay(parts))


def _sums(design: NpuDesign, field: Fields, reads: int) -> Iterator[tuple[int, Taken]]:
    """The first pass of a NORM: from the second row on, one waits for the root of another."""
    own = timing.row_timing(design, reads)
    length = field["blocks"] * own.period + own.tail + design.row_lanes + timing.NORM_ROW
    start = 0
    for row in range(field["rows"]):
        yield start + 1, _walk(design, field, "row", row, None).banks
        start += max(length, timing.NORM_ROOT) if row else length


def _walk(design: NpuDesign, field: Fields, outer: str, index: int, delay: int | None) -> PortUse:
    """The walk of a NORM over row or block `index` (`outer` says which), with results `delay`
    cycles behind what passes, or without any.
    """
    inner = "block" if outer == "row" else "row"
    offsets = (0, field["source_high_offset"]) if field["input_wide"] else (0,)
    made = 0 if delay is None else 1 + field["output_wide"]
    period = timing.row_timing(design, len(offsets), made).period
    *reads, output = (
        (
            (field[f"{kind}_address"] + offset + index * field[f"{kind}_{outer}_stride"]) % BANKS,
            field[f"{kind}_{inner}_stride"],
        )
        for kind, offset in (*(("source", offset) for offset in offsets), ("output", 0))
    )
    after = None if delay is None else delay + design.lanes // design.row_lanes
    high = field["output_high_offset"] % BANKS if made > 1 else None
    return walk(field[f"{inner}s"], tuple(reads), output, period, after, high)


def _constants(design: NpuDesign, field: Fields, taps: int) -> Taken:
    """The reads of the weight buffer before the first output: taps, table and records."""
    words = timing.table_words(design) if field["table"] else 0
    return np.concatenate(
        [
            _slices(design, field["tap_address"], taps),
            _slices(design, field["table_address"], words),
            _slices(design, field["record_address"], RECORD_WORDS),
        ]
    )


def _slices(design: NpuDesign, first: int, count: int) -> Taken:
    """Reads of `count` words of the weight buffer, one a cycle."""
    return _slices_of(design.groups, first % design.groups, count)


@cache
def _slices_of(groups: int, first: int, count: int) -> Taken:
    slices = (first + np.arange(count)) % groups + 1
    return (slices << BANK_BITS).astype(np.uint8)


def _source(design: NpuDesign, field: Fields) -> Source:
    """How the windows of an instruction are read."""
    window = field["window_y"], field["window_x"]
    strides = field["source_x_stride"], field["window_x_stride"]
    return Source(
        shape=window,
        address=field["source_address"],
        y_stride=field["source_y_stride"],
        x_stride=strides[0] % BANKS,
        window_y_stride=field["window_y_stride"],
        window_x_stride=strides[1] % BANKS,
        by_columns=window[1] <= design.window_columns,
        new=timing.new_columns(design, window[1], *strides),
    )


def _residual_reads(opcode: int, field: Fields) -> tuple[tuple[int, int], ...]:
    """Banks of address and row stride of an output's residual reads, in their order."""
    address, stride = field["residual_address"], field["residual_row_stride"]
    if not field["residual"]:
        return ()
    if opcode == Opcode.DRAIN and field["residual_wide"]:
        return (((address + field["residual_high_offset"]) % BANKS, stride), (address, stride))
    return ((address, stride),)
