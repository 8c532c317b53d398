"""npu_vector without columns: random DRAINs with every port stalling, cut off by resets."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Opcode
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.datapath import State, vector
from tests.rtl.vector_buffers import Buffers, driver
from tests.rtl.vector_items import instruction, setup


class Unit(Buffers):
    """The buffers, and that the unit tells of every word that moves."""

    def __init__(self, dut: Any, state: State, ease: float) -> None:
        super().__init__(dut, state.activations, ease, state.weights, state.sums)
        dut.room_i.value = 1

    def _observe(self) -> int:
        moves = super()._observe()
        assert value(self._dut.progress_o) == (moves > 0)
        return moves


async def _check(dut: Any, seed: int, ease: float, count: int) -> None:
    state, records = setup(dut, seed)
    buffers = Unit(dut, state, ease)
    program = [instruction(dut, Opcode.DRAIN) for _ in range(count)]
    await driver(dut).send([{"instr_i": encoded(item)} for item in program])
    await wait_for(dut, lambda: buffers.retired >= count)
    buffers.stop()
    for item in program:
        vector(state, item, records)
    np.testing.assert_array_equal(buffers.activations, state.activations)
    outputs = sum(item["y"] * item["x"] for item in program)
    assert (buffers.writes, buffers.sums_read) == (outputs, outputs)
    assert value(dut.busy_o) == 0


@bench(60_000)
async def results_are_exact_under_stalls(dut: Any) -> None:
    await begin(dut)
    for seed, ease in enumerate((1.0, 0.7, 0.3)):
        await _check(dut, seed, ease, 20)


@bench(5_000)
async def a_read_that_is_not_taken_is_a_stall(dut: Any) -> None:
    await begin(dut)
    state, _ = setup(dut, 1)
    buffers = Unit(dut, state, 0.0)
    await driver(dut).send([{"instr_i": encoded(instruction(dut, Opcode.DRAIN))}])
    await clock(dut, 3)
    for _ in range(40):
        await RisingEdge(dut.clk_i)
        seen = (value(dut.busy_o), value(dut.stall_o), value(dut.progress_o))
        assert seen == (1, 1, 0)
    assert (buffers.writes, buffers.retired) == (0, 0)
    buffers.stop()


@bench(40_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for seed in range(10):
        state, _ = setup(dut, seed)
        buffers = Unit(dut, state, 0.8)
        items = [{"instr_i": encoded(instruction(dut, Opcode.DRAIN))} for _ in range(4)]
        task = cocotb.start_soon(driver(dut).send(items))
        await clock(dut, random.randrange(4, 200))
        task.cancel()
        buffers.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "wr_valid_o", "vr_valid_o", "vw_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        await _check(dut, seed, 0.8, 2)
