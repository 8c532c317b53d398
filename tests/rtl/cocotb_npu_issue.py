"""npu_issue: tokens, order, marks, halts and full queues of one unit."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import HEADER, Instruction, Opcode, Unit
from tests.rtl.cocotb_bench import Driver, begin, bench, clock, encoded, reset, value, wait_for

IN_FLIGHT = 9
WORK = {
    Unit.LOAD: Opcode.LOAD,
    Unit.COMPUTE: Opcode.COMPUTE,
    Unit.VECTOR: Opcode.DRAIN,
    Unit.STORE: Opcode.STORE,
    Unit.WINDOW: Opcode.WINDOW_MAC,
}
MASK = (1 << len(Unit)) - 1
POP = HEADER["pop"]


def _some(own: Unit, chance: float) -> tuple[Unit, ...]:
    return tuple(unit for unit in Unit if unit is not own and random.random() < chance)


def _program(count: int, own: Unit = Unit.LOAD) -> list[Instruction]:
    work, sync = WORK[own], Opcode(int(own))
    return [
        Instruction(
            random.choice((work, work, sync)), pop=_some(own, 0.3), push=_some(own, 0.3),
            layer=random.getrandbits(16), mark=random.random() < 0.3,
        )
        for _ in range(count)
    ]  # fmt: skip


def _bits(item: Instruction) -> int:
    """The instruction with a payload that goes with its layer."""
    return encoded(item) | random.Random(item.layer).getrandbits(512 - 48) << 48


def _mask(units: tuple[Unit, ...]) -> int:
    return sum(1 << unit for unit in units)


def _is_sync(item: Instruction) -> bool:
    return item.opcode < len(Unit)


@dataclass
class Seen:
    """What left the module, in order."""

    issued: list[int] = field(default_factory=list)
    pops: list[int] = field(default_factory=list)
    retired: list[tuple[int, int | None]] = field(default_factory=list)
    unit_retired: int = 0


class Surroundings:
    """Tokens, marks and the unit around the module: everything at random, all rules checked."""

    def __init__(self, dut: Any, ease: float, retires: bool = True, own: Unit = Unit.LOAD) -> None:
        self._own = 1 << own
        self._dut, self._ease, self._retires = dut, ease, retires
        self.seen = Seen()
        self._inside = 0
        self._done = False
        self._task = cocotb.start_soon(self._run())

    async def until(self, count: int) -> None:
        """Waits until `count` instructions have retired."""
        await wait_for(self._dut, lambda: len(self.seen.retired) >= count, 20_000)

    def stop(self) -> None:
        self._task.cancel()

    def _bits(self) -> int:
        return sum((random.random() < self._ease) << unit for unit in Unit) | self._own

    async def _run(self) -> None:
        dut = self._dut
        while True:
            available, full = self._bits(), ~self._bits() & MASK
            self._done |= self._retires and self._inside > 0 and random.random() < self._ease
            dut.available_i.value, dut.full_i.value = available, full
            dut.instr_ready_i.value = int(random.random() < self._ease)
            dut.mark_ready_i.value = int(random.random() < self._ease)
            dut.retire_valid_i.value = int(self._done)
            await RisingEdge(dut.clk_i)
            self._issue(available)
            self._retire(full)

    def _issue(self, available: int) -> None:
        dut = self._dut
        pop, head = value(dut.pop_o), value(dut.instr_o)
        assert pop & ~available == 0, "a token was taken that is not there"
        if value(dut.waiting_o):
            assert value(dut.missing_o) == head >> POP.lsb & MASK & ~available
        else:
            assert (value(dut.missing_o), value(dut.instr_valid_o), pop) == (0, 0, 0)
        if value(dut.halt_i):
            assert (value(dut.instr_valid_o), pop) == (0, 0)
        if pop:
            self.seen.pops.append(pop)
        if value(dut.instr_valid_o) and value(dut.instr_ready_i):
            assert pop == head >> POP.lsb & MASK
            self.seen.issued.append(head)
            self._inside += 1

    def _retire(self, full: int) -> None:
        dut = self._dut
        push = value(dut.push_o)
        assert push & full == 0, "a token was given to a full counter"
        marked = value(dut.mark_valid_o) and value(dut.mark_ready_i)
        if value(dut.retired_o):
            layer = value(dut.mark_layer_o) if marked else None
            self.seen.retired.append((push, layer))
        else:
            assert (push, marked) == (0, 0)
        if value(dut.retire_valid_i) and value(dut.retire_ready_o):
            assert value(dut.retired_o)
            self.seen.unit_retired += 1
            self._inside -= 1
            self._done = False


def _check(seen: Seen, program: list[Instruction]) -> None:
    own = [item for item in program if not _is_sync(item)]
    assert seen.issued == [_bits(item) for item in own]
    assert seen.unit_retired == len(own)
    assert seen.pops == [_mask(item.pop) for item in program if item.pop]
    expected = [(_mask(item.push), item.layer if item.mark else None) for item in program]
    assert seen.retired == expected


def _driver(dut: Any, pause: float = 0.0) -> Driver:
    return Driver(dut, "enqueue_valid_i", "enqueue_ready_o", ["enqueue_instr_i"], pause)


def _items(program: list[Instruction]) -> list[dict[str, int]]:
    return [{"enqueue_instr_i": _bits(item)} for item in program]


@bench(60_000)
async def order_tokens_and_marks(dut: Any) -> None:
    await begin(dut)
    for own, (ease, pause) in zip(
        Unit, ((1.0, 0.0), (0.6, 0.0), (0.35, 0.3), (0.8, 0.8), (0.5, 0.1)), strict=True
    ):
        around = Surroundings(dut, ease, own=own)
        program = _program(150, own)
        await _driver(dut, pause).send(_items(program))
        await around.until(len(program))
        await clock(dut, 5)
        around.stop()
        _check(around.seen, program)


@bench(3_000)
async def a_full_queue_refuses_and_loses_nothing(dut: Any) -> None:
    await begin(dut)
    depth = value(dut.QueueDepth)
    program = _program(depth + 6)
    program[0] = Instruction(Opcode.LOAD, pop=(Unit.STORE,))
    driver = _driver(dut)
    task = cocotb.start_soon(driver.send(_items(program)))
    await clock(dut, depth + 30)
    assert driver.sent == depth + 1
    assert value(dut.enqueue_ready_o) == 0
    assert (value(dut.waiting_o), value(dut.missing_o)) == (1, 1 << Unit.STORE)
    around = Surroundings(dut, 0.7)
    await task
    await around.until(len(program))
    _check(around.seen, program)


@bench(3_000)
async def no_more_than_nine_in_flight(dut: Any) -> None:
    await begin(dut)
    around = Surroundings(dut, 1.0, retires=False)
    program = [Instruction(Opcode.LOAD, layer=at) for at in range(IN_FLIGHT + 4)]
    await _driver(dut).send(_items(program))
    await clock(dut, 40)
    assert len(around.seen.issued) == IN_FLIGHT
    around.stop()


@bench(1_000)
async def what_is_not_marked_waits_for_no_mark(dut: Any) -> None:
    await begin(dut)
    dut.available_i.value = MASK
    for opcode in (Opcode.LOAD, Opcode.SYNC_LOAD):
        dut.instr_ready_i.value = dut.retire_valid_i.value = 1
        dut.mark_ready_i.value = 0
        program = [Instruction(opcode), Instruction(opcode, layer=7, mark=True)]
        await _driver(dut).send(_items(program))
        retired = 0
        for _ in range(20):
            await RisingEdge(dut.clk_i)
            retired += value(dut.retired_o)
        assert (retired, value(dut.mark_valid_o), value(dut.mark_layer_o)) == (1, 1, 7)
        dut.mark_ready_i.value = 1
        await clock(dut, 2)


@bench(3_000)
async def nothing_is_issued_while_halted(dut: Any) -> None:
    await begin(dut)
    dut.halt_i.value = 1
    around = Surroundings(dut, 0.8)
    program = _program(4)
    await _driver(dut).send(_items(program))
    await clock(dut, 60)
    assert around.seen == Seen()
    dut.halt_i.value = 0
    await around.until(len(program))
    _check(around.seen, program)


@bench(10_000)
async def a_reset_empties_queue_and_flight(dut: Any) -> None:
    await begin(dut)
    for _ in range(15):
        around = Surroundings(dut, 0.5)
        driver = _driver(dut)
        task = cocotb.start_soon(driver.send(_items(_program(40))))
        await clock(dut, random.randrange(4, 60))
        task.cancel()
        around.stop()
        for name in ("enqueue_valid_i", "retire_valid_i", "instr_ready_i"):
            getattr(dut, name).value = 0
        await reset(dut, 1)
        await clock(dut, 3)
        assert (value(dut.waiting_o), value(dut.retired_o), value(dut.mark_valid_o)) == (0, 0, 0)
        around = Surroundings(dut, 0.8)
        program = _program(5)
        await _driver(dut).send(_items(program))
        await around.until(len(program))
        around.stop()
        _check(around.seen, program)
