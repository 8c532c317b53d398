"""npu_load: boxes from memory into both buffers, under stalls on every side."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Buffer, Instruction, Opcode
from tests.rtl.cocotb_bench import Driver, begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.cocotb_boxes import beat, random_box, runs, steps

BUFFERS = ("act", "wgt")
INSIDE = 6
Write = tuple[str, int, int]


def _expected(dut: Any, item: Instruction, base: int) -> list[Write]:
    """The words that `item` writes, in order: buffer, address, data."""
    lanes, size = value(dut.Lanes), value(dut.MemBytes)
    buffer = BUFFERS[item["buffer"]]
    mask = (1 << len(getattr(dut, f"{buffer}_addr_o"))) - 1
    words = iter(
        beat(run.address + at, lanes)
        for run in runs(item, base, lanes // size)
        for at in range(0, run.beats * size, lanes)
    )
    fill = int.from_bytes(bytes([item["fill"]]) * lanes, "little")
    return [
        (buffer, step.address & mask, next(words) if step.inside else fill) for step in steps(item)
    ]


class Surroundings:
    """Memory, the two buffers and the retirement around the module, with random readiness."""

    def __init__(self, dut: Any, ease: float, memory_ease: float, retires: bool = True) -> None:
        self._dut, self._ease, self._memory_ease = dut, ease, memory_ease
        self.retires = retires
        self.writes: list[Write] = []
        self.retired_at: list[int] = []
        self._beats: list[int] = []
        self._offered = False
        self._stalled: list[int] | None = None
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        self._task.cancel()
        for name in ("data_valid_i", "run_ready_i", "act_ready_i", "wgt_ready_i", "retire_ready_i"):
            getattr(self._dut, name).value = 0

    async def _run(self) -> None:
        dut = self._dut
        while True:
            self._offered = bool(self._beats) and (
                self._offered or random.random() < self._memory_ease
            )
            dut.data_valid_i.value = int(self._offered)
            dut.data_i.value = self._beats[0] if self._offered else 0
            dut.run_ready_i.value = int(random.random() < self._memory_ease)
            dut.retire_ready_i.value = int(self.retires and random.random() < self._ease)
            for buffer in BUFFERS:
                getattr(dut, f"{buffer}_ready_i").value = int(random.random() < self._ease)
            await RisingEdge(dut.clk_i)
            self._observe()

    def _observe(self) -> None:
        dut = self._dut
        self._check_stall()
        if value(dut.retire_valid_o) and value(dut.retire_ready_i):
            self.retired_at.append(len(self.writes))
        for buffer in BUFFERS:
            valid, ready = (getattr(dut, f"{buffer}_{x}") for x in ("valid_o", "ready_i"))
            if value(valid) and value(ready):
                address = value(getattr(dut, f"{buffer}_addr_o"))
                self.writes.append((buffer, address, value(getattr(dut, f"{buffer}_data_o"))))
        if self._offered and value(dut.data_ready_o):
            self._beats.pop(0)
            self._offered = False
        if value(dut.run_valid_o) and value(dut.run_ready_i):
            size, first = value(dut.MemBytes), value(dut.run_addr_o)
            ends = range(first, first + size * value(dut.run_beats_o), size)
            self._beats += [_part(at, size, value(dut.Lanes)) for at in ends]

    def _check_stall(self) -> None:
        """A stalled unit is busy, and offers nothing new in the cycle after."""
        dut = self._dut
        offered = [value(getattr(dut, f"{buffer}_valid_o")) for buffer in BUFFERS]
        assert self._stalled in (None, offered)
        self._stalled = offered if value(dut.stall_o) else None
        assert value(dut.busy_o) or not value(dut.stall_o)


def _part(address: int, size: int, lanes: int) -> int:
    """The beat at `address` of the word that holds it."""
    word = beat(address // lanes * lanes, lanes)
    return word >> 8 * (address % lanes) & (1 << 8 * size) - 1


def _driver(dut: Any, pause: float = 0.0) -> Driver:
    return Driver(dut, "instr_valid_i", "instr_ready_o", ["instr_i"], pause)


def _items(program: list[Instruction]) -> list[dict[str, int]]:
    return [{"instr_i": encoded(item)} for item in program]


def _program(dut: Any, count: int) -> list[Instruction]:
    return [random_box(Opcode.LOAD, value(dut.Lanes), local_words=1 << 24) for _ in range(count)]


async def _check(dut: Any, around: Surroundings, program: list[Instruction], base: int) -> None:
    await wait_for(dut, lambda: len(around.retired_at) >= len(program), 30_000)
    await clock(dut, 20)
    expected: list[Write] = []
    ends = []
    for item in program:
        expected += _expected(dut, item, base)
        ends.append(len(expected))
    assert around.writes == expected
    assert all(seen >= end for seen, end in zip(around.retired_at, ends, strict=True))
    assert (value(dut.busy_o), value(dut.retire_valid_o)) == (0, 0)


@bench(90_000)
async def boxes_arrive_under_stalls(dut: Any) -> None:
    await begin(dut)
    for ease, memory_ease in ((1.0, 1.0), (0.5, 1.0), (1.0, 0.3), (0.4, 0.6)):
        base = random.getrandbits(40) // value(dut.Lanes) * value(dut.Lanes)
        dut.base_i.value = base
        await clock(dut, 2)
        around = Surroundings(dut, ease, memory_ease)
        program = _program(dut, 30)
        await _driver(dut, 0.1).send(_items(program))
        await _check(dut, around, program, base)
        around.stop()


@bench(20_000)
async def retirement_waits_and_bounds_what_is_inside(dut: Any) -> None:
    await begin(dut)
    around = Surroundings(dut, 1.0, 1.0, retires=False)
    program = [
        Instruction(Opcode.LOAD, {"planes": 1, "rows": 1, "words": 3, "buffer": Buffer.WEIGHT})
    ] * 14
    driver = _driver(dut)
    task = cocotb.start_soon(driver.send(_items(program)))
    await clock(dut, 400)
    assert driver.sent >= INSIDE
    assert around.retired_at == []
    assert value(dut.retire_valid_o)
    around.retires = True
    await task
    await _check(dut, around, program, 0)


@bench(20_000)
async def no_data_from_memory_is_a_stall(dut: Any) -> None:
    await begin(dut)
    around = Surroundings(dut, 1.0, 0.0)
    fields = {"planes": 1, "rows": 1, "words": 2}
    await _driver(dut).send(_items([Instruction(Opcode.LOAD, fields)]))
    await clock(dut, 20)
    for _ in range(50):
        await RisingEdge(dut.clk_i)
        seen = (value(dut.busy_o), value(dut.stall_o), value(dut.progress_o))
        assert seen == (1, 1, 0)
    assert around.writes == []


@bench(60_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for _ in range(10):
        around = Surroundings(dut, 0.5, 0.7)
        task = cocotb.start_soon(_driver(dut).send(_items(_program(dut, 12))))
        await clock(dut, random.randrange(4, 150))
        task.cancel()
        around.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 3)
        outputs = ("busy_o", "retire_valid_o", "run_valid_o", "act_valid_o", "wgt_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        around = Surroundings(dut, 0.8, 0.8)
        program = _program(dut, 4)
        await _driver(dut).send(_items(program))
        await _check(dut, around, program, 0)
        around.stop()
