"""Closed forms against the simulator, which has the hardware's own cycle numbers."""

from __future__ import annotations

import pytest

from intaglio.sim.npu import simulate
from intaglio.templates.npu import timing
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode
from tests.sim.programs import SMALL, make

LOAD = {"buffer": Buffer.ACTIVATION, "planes": 1, "rows": 1, "local_row_stride": 40}
COMPUTE = {"blocks": 3, "fy": 2, "fx": 1, "y": 3, "x": 5}
VECTOR = {"y": 3, "x": 5, "window_y": 2, "window_x": 2, "output_row_stride": 5}


def busy(instruction: Instruction) -> float:
    """Cycles from issue to retirement of an instruction alone."""
    timeline = simulate(make([instruction])).timeline
    return float(timeline.retired[0] - timeline.issued[0])


def test_compute() -> None:
    assert busy(Instruction(Opcode.COMPUTE, COMPUTE)) == timing.compute_cycles(SMALL, 6, 15)
    single = {**COMPUTE, "y": 1, "x": 2}
    assert busy(Instruction(Opcode.COMPUTE, single)) == timing.compute_cycles(SMALL, 6, 2)


def test_vector() -> None:
    assert busy(Instruction(Opcode.DRAIN, VECTOR)) == timing.vector_cycles(SMALL, 15)
    table = Instruction(Opcode.DRAIN, {**VECTOR, "table": 1})
    assert busy(table) == timing.vector_cycles(SMALL, 15, table=True)


def test_window() -> None:
    found = busy(Instruction(Opcode.WINDOW_MAC, VECTOR))
    least = timing.vector_cycles(SMALL, 15, reads=4, taps=4)
    # Its own writes may hold up a read of the same bank.
    assert least <= found <= least + 15


@pytest.mark.parametrize("words", [1, 40])
def test_load_and_store(words: int) -> None:
    load = Instruction(Opcode.LOAD, {**LOAD, "words": words})
    assert busy(load) == timing.load_cycles(SMALL, words, words)
    store = Instruction(Opcode.STORE, {**LOAD, "buffer": 0, "words": words})
    assert busy(store) == timing.store_cycles(SMALL, words)


def test_memory_is_counted_in_beats() -> None:
    assert timing.memory_cycles(SMALL, 10) == 10
    assert timing.fetch_words(SMALL, 2) == 2 * 64 // 4
