"""npu_vector: random instructions with every port stalling, cut off by resets."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Opcode
from tests.rtl.cocotb_bench import Driver, begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.datapath import State, vector
from tests.rtl.vector_items import instruction, setup


class Buffers:
    """The buffers around the unit; reads are accepted with chance `ease`, answered in 2 cycles."""

    def __init__(self, dut: Any, state: State, ease: float) -> None:
        self._dut, self._ease = dut, ease
        self.state = state.copy()
        self.retired = 0
        self.writes = 0
        self.sums_read = 0
        self._words: dict[str, deque[int | None]] = {
            name: deque([None, None]) for name in ("wr", "vr")
        }
        self._sums: deque[int] = deque([0, 0])
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        self._task.cancel()
        for name in ("wr_data_valid_i", "vr_data_valid_i", "retire_ready_i"):
            getattr(self._dut, name).value = 0

    async def _run(self) -> None:
        dut = self._dut
        while True:
            for name, words in self._words.items():
                word = words.popleft()
                getattr(dut, f"{name}_data_valid_i").value = int(word is not None)
                getattr(dut, f"{name}_data_i").value = word or 0
                getattr(dut, f"{name}_ready_i").value = int(random.random() < self._ease)
            dut.acc_data_i.value = self._sums.popleft()
            dut.retire_ready_i.value = int(random.random() < self._ease)
            await RisingEdge(dut.clk_i)
            self._observe()

    def _observe(self) -> None:
        dut, stalls, moves = self._dut, 0, 0
        for name, data in (("wr", self.state.weights), ("vr", self.state.activations)):
            valid, ready = (value(getattr(dut, f"{name}_{x}")) for x in ("valid_o", "ready_i"))
            address = value(getattr(dut, f"{name}_addr_o"))
            word = int.from_bytes(data[address].tobytes(), "little")
            self._words[name].append(word if valid and ready else None)
            stalls += valid and not ready
            moves += valid and ready
        assert value(dut.stall_o) == (stalls > 0)
        moves += value(dut.acc_en_o) + value(dut.vw_valid_o)
        assert value(dut.progress_o) == (moves > 0)
        sums = self.state.sums[value(dut.acc_addr_o)].tobytes()
        self._sums.append(int.from_bytes(sums, "little") if value(dut.acc_en_o) else 0)
        self.sums_read += value(dut.acc_en_o)
        if value(dut.vw_valid_o):
            written = value(dut.vw_data_o).to_bytes(value(dut.Lanes), "little")
            self.state.activations[value(dut.vw_addr_o)] = np.frombuffer(written, dtype=np.uint8)
            self.writes += 1
        self.retired += value(dut.retire_valid_o) and value(dut.retire_ready_i)


def _driver(dut: Any) -> Driver:
    return Driver(dut, "instr_valid_i", "instr_ready_o", ["instr_i"], 0.2)


async def _check(dut: Any, seed: int, ease: float, count: int) -> None:
    state, records = setup(dut, seed)
    buffers = Buffers(dut, state, ease)
    program = [instruction(dut) for _ in range(count)]
    await _driver(dut).send([{"instr_i": encoded(item)} for item in program])
    await wait_for(dut, lambda: buffers.retired >= count)
    buffers.stop()
    for item in program:
        vector(state, item, records)
    np.testing.assert_array_equal(buffers.state.activations, state.activations)
    outputs = [item["y"] * item["x"] for item in program]
    drained = [item.opcode is Opcode.DRAIN for item in program]
    assert buffers.writes == sum(outputs)
    assert buffers.sums_read == sum(np.multiply(outputs, drained))
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
    buffers = Buffers(dut, state, 0.0)
    await _driver(dut).send([{"instr_i": encoded(instruction(dut))}])
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
        buffers = Buffers(dut, state, 0.8)
        items = [{"instr_i": encoded(instruction(dut))} for _ in range(4)]
        task = cocotb.start_soon(_driver(dut).send(items))
        await clock(dut, random.randrange(4, 200))
        task.cancel()
        buffers.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "wr_valid_o", "vr_valid_o", "vw_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        await _check(dut, seed, 0.8, 2)
