"""npu_store: boxes from the activation buffer to memory, under stalls on every side."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl.cocotb_bench import Driver, begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.cocotb_boxes import beat, is_empty, random_box, runs, steps

INSIDE = 8
INPUTS = ("act_ready_i", "act_data_valid_i", "run_ready_i", "data_ready_i", "done_i",
          "retire_ready_i")  # fmt: skip


class Surroundings:
    """The buffer (data two cycles after a read), memory and the retirement around the module."""

    def __init__(self, dut: Any, ease: float, memory_ease: float, answers: bool = True) -> None:
        self._dut, self._ease, self._memory_ease = dut, ease, memory_ease
        self.answers, self.retires = answers, True
        self.runs: list[tuple[int, int, int]] = []
        self.data: list[int] = []
        self.done = 0
        self.retired: list[int] = []
        self._reads: list[int | None] = [None, None]
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        self._task.cancel()
        for name in INPUTS:
            getattr(self._dut, name).value = 0

    def _owed(self) -> int:
        """Boxes whose data have all left and that memory has not acknowledged."""
        beats = boxes = 0
        for _, length, last in self.runs:
            beats += length
            boxes += last if beats <= len(self.data) else 0
        return boxes - self.done

    async def _run(self) -> None:
        dut = self._dut
        while True:
            done = self.answers and self._owed() > 0 and random.random() < self._memory_ease
            word = self._reads.pop(0)
            dut.act_data_valid_i.value = int(word is not None)
            dut.act_data_i.value = word if word is not None else random.getrandbits(32)
            dut.done_i.value = int(done)
            dut.act_ready_i.value = int(random.random() < self._ease)
            dut.run_ready_i.value = int(random.random() < self._memory_ease)
            dut.data_ready_i.value = int(random.random() < self._memory_ease)
            dut.retire_ready_i.value = int(self.retires and random.random() < self._ease)
            await RisingEdge(dut.clk_i)
            self.done += done
            self._observe()

    def _observe(self) -> None:
        dut = self._dut
        asked = value(dut.act_valid_o) and value(dut.act_ready_i)
        self._reads.append(_word(dut, value(dut.act_addr_o)) if asked else None)
        moves = asked or value(dut.done_i) or value(dut.data_valid_o) & value(dut.data_ready_i)
        assert value(dut.progress_o) == bool(moves)
        if value(dut.run_valid_o) and value(dut.run_ready_i):
            run = (dut.run_addr_o, dut.run_beats_o, dut.run_last_o)
            self.runs.append((value(run[0]), value(run[1]), value(run[2])))
        if value(dut.data_valid_o) and value(dut.data_ready_i):
            self.data.append(value(dut.data_o))
        if value(dut.retire_valid_o) and value(dut.retire_ready_i):
            self.retired.append(self.done)


def _word(dut: Any, address: int) -> int:
    """What the buffer holds."""
    return beat(address * 1000, value(dut.Lanes))


def _driver(dut: Any, pause: float = 0.0) -> Driver:
    return Driver(dut, "instr_valid_i", "instr_ready_o", ["instr_i"], pause)


def _items(program: list[Instruction]) -> list[dict[str, int]]:
    return [{"instr_i": encoded(item)} for item in program]


def _program(dut: Any, count: int) -> list[Instruction]:
    return [random_box(Opcode.STORE, value(dut.Lanes), local_words=1 << 24) for _ in range(count)]


def _beats(dut: Any, program: list[Instruction]) -> list[int]:
    lanes, size = value(dut.Lanes), value(dut.MemBytes)
    words = [_word(dut, step.address & (1 << len(dut.act_addr_o)) - 1)
             for item in program if not is_empty(item) for step in steps(item)]  # fmt: skip
    mask = (1 << 8 * size) - 1
    return [word >> 8 * at & mask for word in words for at in range(0, lanes, size)]


async def _check(dut: Any, around: Surroundings, program: list[Instruction], base: int) -> None:
    lanes, size = value(dut.Lanes), value(dut.MemBytes)
    await wait_for(dut, lambda: len(around.retired) >= len(program), 30_000)
    await clock(dut, 10)
    expected = [run for item in program for run in runs(item, base, lanes // size)]
    assert around.runs == [(run.address, run.beats, int(run.last)) for run in expected]
    assert around.data == _beats(dut, program)
    boxes = 0
    for item, done in zip(program, around.retired, strict=True):
        boxes += not is_empty(item)
        assert done >= boxes, "an instruction retired before memory acknowledged it"
    assert (value(dut.busy_o), value(dut.retire_valid_o)) == (0, 0)


@bench(90_000)
async def boxes_leave_under_stalls(dut: Any) -> None:
    await begin(dut)
    for ease, memory_ease in ((1.0, 1.0), (0.4, 1.0), (1.0, 0.3), (0.5, 0.5)):
        base = random.getrandbits(40) // value(dut.Lanes) * value(dut.Lanes)
        dut.base_i.value = base
        await clock(dut, 2)
        around = Surroundings(dut, ease, memory_ease)
        program = _program(dut, 40)
        await _driver(dut, 0.1).send(_items(program))
        await _check(dut, around, program, base)
        around.stop()


@bench(10_000)
async def retirement_waits_for_memory(dut: Any) -> None:
    await begin(dut)
    around = Surroundings(dut, 1.0, 1.0, answers=False)
    fields = {"planes": 1, "rows": 1, "words": 2}
    program = [Instruction(Opcode.STORE, fields)] * (INSIDE + 4)
    driver = _driver(dut)
    task = cocotb.start_soon(driver.send(_items(program)))
    await clock(dut, 400)
    assert driver.sent == INSIDE
    assert around.retired == []
    assert (value(dut.busy_o), value(dut.stall_o), value(dut.progress_o)) == (1, 1, 0)
    around.answers = True
    await task
    await _check(dut, around, program, 0)


@bench(10_000)
async def all_that_is_inside_may_wait_to_retire(dut: Any) -> None:
    await begin(dut)
    around = Surroundings(dut, 1.0, 1.0)
    around.retires = False
    program = [Instruction(Opcode.STORE, {"planes": 1, "rows": 1, "words": 2})] * (INSIDE + 4)
    task = cocotb.start_soon(_driver(dut).send(_items(program)))
    await clock(dut, 400)
    assert (around.done, around.retired, value(dut.retire_valid_o)) == (INSIDE, [], 1)
    around.retires = True
    await task
    await _check(dut, around, program, 0)


@bench(10_000)
async def memory_that_takes_nothing_loses_nothing(dut: Any) -> None:
    await begin(dut)
    around = Surroundings(dut, 1.0, 0.0)
    program = [Instruction(Opcode.STORE, {"planes": 1, "rows": 4, "words": 12})]
    await _driver(dut).send(_items(program))
    await clock(dut, 100)
    assert (around.data, value(dut.stall_o)) == ([], 1)
    around.stop()
    await reset(dut, 1)
    around = Surroundings(dut, 1.0, 0.2)
    await _driver(dut).send(_items(program))
    await _check(dut, around, program, 0)


@bench(60_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for _ in range(10):
        around = Surroundings(dut, 0.5, 0.6)
        task = cocotb.start_soon(_driver(dut).send(_items(_program(dut, 12))))
        await clock(dut, random.randrange(4, 150))
        task.cancel()
        around.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 3)
        outputs = ("busy_o", "retire_valid_o", "run_valid_o", "act_valid_o", "data_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        around = Surroundings(dut, 0.8, 0.8)
        program = _program(dut, 4)
        await _driver(dut).send(_items(program))
        await _check(dut, around, program, 0)
        around.stop()
