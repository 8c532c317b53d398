"""npu_gather: random windows with every port stalling, full queues, cut off by resets."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import RECORD_WORDS, Instruction, Opcode
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.datapath import State, vector
from tests.rtl.vector_buffers import Buffers, driver
from tests.rtl.vector_items import RECORDS, WINDOWS, instruction, setup

QUEUED = 16
FIRST_WRITE, RETIREMENT = 14, 15
"""Cycles from a word's last read to its write, and to the instruction's retirement."""


class Unit(Buffers):
    """The buffers; words of the unit are taken with chance `writes`."""

    PORTS = ("gr", "gw")

    def __init__(self, dut: Any, state: State, ease: float, writes: float | None = None) -> None:
        super().__init__(dut, state.activations, ease, state.weights)
        self._writes = ease if writes is None else writes
        dut.gw_ready_i.value = 0

    def _check_stall(self, stalled: bool) -> None:
        assert value(self._dut.stall_o) >= stalled

    def _write_ready(self) -> bool:
        taken = bool(value(self._dut.gw_ready_i))
        self._dut.gw_ready_i.value = int(random.random() < self._writes)
        return taken

    def _observe(self) -> int:
        moves = super()._observe()
        if not value(self._dut.gw_valid_o):
            self._dut.gw_ready_i.value = int(random.random() < self._writes)
        # A word also moves where nobody sees it: from the pipeline into the queue.
        assert value(self._dut.progress_o) >= (moves > 0)
        return moves


def _windows(dut: Any, count: int) -> list[Instruction]:
    return [instruction(dut, random.choice(WINDOWS)) for _ in range(count)]


async def _check(dut: Any, seed: int, ease: float, count: int) -> None:
    state, records = setup(dut, seed)
    unit = Unit(dut, state, ease)
    program = _windows(dut, count)
    await driver(dut).send([{"instr_i": encoded(item)} for item in program])
    await wait_for(dut, lambda: unit.retired >= count)
    unit.stop()
    for item in program:
        vector(state, item, records)
    np.testing.assert_array_equal(unit.activations, state.activations)
    assert unit.writes == sum(item["y"] * item["x"] for item in program)
    assert value(dut.busy_o) == 0


@bench(60_000)
async def results_are_exact_under_stalls(dut: Any) -> None:
    await begin(dut)
    for seed, ease in enumerate((1.0, 0.7, 0.3)):
        await _check(dut, seed, ease, 20)


def _row(outputs: int) -> Instruction:
    """One row of windows of one element, all of them the same word."""
    ones = dict.fromkeys(("y", "window_y", "window_x"), 1)
    own = {"x": outputs, "source_address": 5, "output_address": 20, "record_address": RECORDS}
    own |= {"hi": 127}
    return Instruction(Opcode.WINDOW_SUM, ones | own)


@bench(2_000)
async def a_row_takes_the_cycles_of_the_contract(dut: Any) -> None:
    await begin(dut)
    state, _ = setup(dut, 3)
    unit = Unit(dut, state, 1.0)
    await clock(dut, 2)
    outputs = 20
    await driver(dut, 0.0).send([{"instr_i": encoded(_row(outputs))}])
    cycles, writes = 0, []
    while not (cycles and value(dut.retire_valid_o)):
        await RisingEdge(dut.clk_i)
        cycles += 1
        if value(dut.gw_valid_o) and value(dut.gw_ready_i):
            writes.append(cycles)
    assert writes == [RECORD_WORDS + at + FIRST_WRITE for at in range(1, outputs + 1)]
    assert cycles == RECORD_WORDS + outputs + RETIREMENT
    unit.stop()


@bench(5_000)
async def words_that_are_not_taken_wait_and_hold_up_the_reads(dut: Any) -> None:
    await begin(dut)
    state, records = setup(dut, 4)
    unit = Unit(dut, state, 1.0, writes=0.0)
    item = _row(2 * QUEUED)
    await driver(dut).send([{"instr_i": encoded(item)}])
    await clock(dut, 100)
    assert (unit.writes, unit.retired) == (0, 0)
    seen = (value(dut.gw_valid_o), value(dut.gr_valid_o), value(dut.stall_o))
    assert seen == (1, 0, 1)
    unit._writes = 1.0
    await wait_for(dut, lambda: unit.retired == 1)
    vector(state, item, records)
    np.testing.assert_array_equal(unit.activations, state.activations)
    unit.stop()


@bench(40_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for seed in range(10):
        state, _ = setup(dut, seed)
        unit = Unit(dut, state, 0.8)
        items = [{"instr_i": encoded(item)} for item in _windows(dut, 4)]
        task = cocotb.start_soon(driver(dut).send(items))
        await clock(dut, random.randrange(4, 200))
        task.cancel()
        unit.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "wr_valid_o", "gr_valid_o", "gw_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        await _check(dut, seed, 0.8, 2)
