"""Closed forms against the simulator, which has the hardware's own cycle numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intaglio.sim.npu import simulate
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode
from tests.sim.programs import SMALL, make

LOAD = {"buffer": Buffer.ACTIVATION, "planes": 1, "rows": 1, "local_row_stride": 40}
COMPUTE = {"blocks": 3, "fy": 2, "fx": 1, "y": 3, "x": 5}
VECTOR = {"y": 3, "x": 5, "window_y": 2, "window_x": 2, "output_row_stride": 5}


def busy(instruction: Instruction, design: NpuDesign = SMALL) -> float:
    """Cycles from issue to retirement of an instruction alone."""
    timeline = simulate(make([instruction], design)).timeline
    return float(timeline.retired[0] - timeline.issued[0])


def test_compute() -> None:
    for packing, bits in enumerate((8, 4, 2)):
        packed = {**COMPUTE, "packing": packing}
        few = {**packed, "y": 1, "x": 2}
        assert busy(Instruction(Opcode.COMPUTE, packed)) == timing.compute_cycles(
            SMALL, 6, 15, bits
        )
        assert busy(Instruction(Opcode.COMPUTE, few)) == timing.compute_cycles(SMALL, 6, 2, bits)
    periods = [timing.tile_period(NpuDesign(), 5, bits) for bits in (8, 4, 2)]
    assert (periods, timing.tile_period(SMALL, 1, 2)) == ([16, 8, 5], 4)


def test_vector() -> None:
    assert busy(Instruction(Opcode.DRAIN, VECTOR)) == timing.vector_cycles(SMALL, 15)
    table = Instruction(Opcode.DRAIN, {**VECTOR, "table": 1})
    assert busy(table) == timing.vector_cycles(SMALL, 15, table=True)


@pytest.mark.parametrize(
    ("fields", "reads"),
    [
        ({"window_x": 2, "source_x_stride": 1}, 3 * 2 * (2 + 4 * 1)),
        ({"window_x": 5, "source_x_stride": 2}, 3 * 2 * (5 + 4 * 2)),
        ({"window_x": 2, "source_x_stride": 2}, 3 * 2 * 5 * 2),
        ({"window_x": 2, "source_x_stride": 0}, 3 * 2 * 5 * 2),
        ({"window_x": 3, "source_x_stride": 2, "window_x_stride": 2}, 3 * 2 * 5 * 3),
        ({"window_x": 6, "source_x_stride": 1}, 3 * 2 * 5 * 6),
        ({"window_x": 1, "source_x_stride": 1, "residual": 1}, 3 * 5 * (2 + 1)),
    ],
)
def test_windows_share_columns_that_are_neighbours(fields: dict[str, int], reads: int) -> None:
    """Up to five columns, when windows overlap and their columns lie side by side."""
    assert SMALL.window_columns == 5
    item = {**VECTOR, "window_x_stride": 1, **fields}
    found = busy(Instruction(Opcode.WINDOW_MAC, item))
    least = timing.window_cycles(SMALL, reads, taps=2 * fields["window_x"])
    # Its own writes may hold up a read of the same bank.
    assert least <= found <= least + 15


@pytest.mark.parametrize("row_lanes", [1, 2, 4])
@pytest.mark.parametrize("wide", [0, 1])
def test_rows(row_lanes: int, wide: int) -> None:
    design = replace(SMALL, row_lanes=row_lanes)
    item = {"blocks": 3, "rows": 4, "input_wide": wide, "output_address": 1}
    norm = timing.norm_cycles(design, 3, 4, 1 + wide)
    assert busy(Instruction(Opcode.NORM, item), design) == norm
    again = Instruction(Opcode.NORM, {**item, "again": 1, "output_wide": 1})
    assert busy(again, design) == timing.norm_cycles(design, 3, 4, 1 + wide, 2, again=True)
    masked = timing.softmax_cycles(design, 3, 4, 2 + wide)
    assert busy(Instruction(Opcode.SOFTMAX, {**item, "mask": 1}), design) == masked


def test_rows_go_through_the_engines_as_fast_as_they_are_read() -> None:
    slow, fast = (replace(SMALL, row_lanes=lanes) for lanes in (1, 4))
    assert timing.row_timing(slow, 2) == timing.RowTiming(4, 2)
    assert timing.row_timing(fast, 2) == timing.RowTiming(2, 1)
    blocks = 100
    more = timing.norm_cycles(slow, blocks, 1, 1) - timing.norm_cycles(fast, blocks, 1, 1)
    assert more == 6 * blocks - 3


@pytest.mark.parametrize("words", [1, 40])
def test_load_and_store(words: int) -> None:
    load = Instruction(Opcode.LOAD, {**LOAD, "words": words})
    assert busy(load) == timing.load_cycles(SMALL, words, words)
    store = Instruction(Opcode.STORE, {**LOAD, "buffer": 0, "words": words})
    assert busy(store) == timing.store_cycles(SMALL, words)


def test_memory_is_counted_in_beats() -> None:
    assert timing.memory_cycles(SMALL, 10) == 10
    assert timing.fetch_words(SMALL, 2) == 2 * 64 // 4
