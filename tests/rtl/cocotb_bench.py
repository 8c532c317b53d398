"""What the cocotb tests share: the clock, the reset, and both ends of a stream.

Values read just after a rising edge are those that the edge saw; what is assigned then applies to
the next one.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer

from intaglio.templates.npu.isa import Instruction, encode

PERIOD_NS = 10
Body = Callable[[Any], Awaitable[None]]
Item = Mapping[str, int]


def bench(cycles: int) -> Callable[[Body], Any]:
    """A cocotb test that fails when it takes more than `cycles` clock cycles."""

    def decorate(body: Body) -> Any:
        return cocotb.test(timeout_time=cycles * PERIOD_NS, timeout_unit="ns")(body)

    return decorate


def start_clock(dut: Any) -> None:
    """Starts the clock; all inputs are low."""
    for name in inputs(dut):
        getattr(dut, name).value = 0
    cocotb.start_soon(Clock(dut.clk_i, PERIOD_NS, unit="ns").start())


def inputs(dut: Any) -> list[str]:
    """Names of the inputs, by the naming rule of the ports; the clock is left out."""
    names = (handle._name for handle in dut)
    return [name for name in names if name.endswith(("_i", "_ni")) and name != "clk_i"]


async def reset(dut: Any, cycles: int = 2) -> None:
    """Holds the reset for `cycles`."""
    dut.rst_ni.value = 0
    await clock(dut, cycles)
    dut.rst_ni.value = 1


async def begin(dut: Any) -> None:
    """Clock and reset."""
    start_clock(dut)
    await reset(dut)


async def clock(dut: Any, cycles: int = 1) -> None:
    """Waits for rising edges."""
    for _ in range(cycles):
        await RisingEdge(dut.clk_i)


async def skip(dut: Any, cycles: int) -> None:
    """Like `clock`, from just after an edge; blind to the cycles between, so that many are fast."""
    await Timer(cycles * PERIOD_NS - PERIOD_NS // 2, unit="ns")
    await RisingEdge(dut.clk_i)


def value(handle: Any) -> int:
    """An unsigned number."""
    return int(handle.value)


class Driver:
    """Offers items on a stream; between two it pauses with chance `pause` in every cycle."""

    def __init__(
        self, dut: Any, valid: str, ready: str, fields: Sequence[str], pause: float = 0.0
    ) -> None:
        self._dut = dut
        self._valid, self._ready = getattr(dut, valid), getattr(dut, ready)
        self._fields = {name: getattr(dut, name) for name in fields}
        self.pause = pause
        self.sent = 0

    async def send(self, items: Sequence[Item]) -> None:
        """Offers `items` in order; returns when the last one is taken."""
        for item in items:
            while random.random() < self.pause:
                await RisingEdge(self._dut.clk_i)
            self._valid.value = 1
            for name, number in item.items():
                self._fields[name].value = number
            await RisingEdge(self._dut.clk_i)
            while not value(self._ready):
                await RisingEdge(self._dut.clk_i)
            self.sent += 1
            self._valid.value = 0


class Monitor:
    """Takes items from a stream, stalling with chance `stall` in every cycle.

    Checks that a valid item stays, unchanged, until it is taken; `taken` are all items so far.
    With `passive` someone else drives the ready.
    """

    def __init__(
        self, dut: Any, valid: str, ready: str, fields: Sequence[str], stall: float = 0.0,
        passive: bool = False,
    ) -> None:  # fmt: skip
        self._dut = dut
        self._valid, self._ready = getattr(dut, valid), getattr(dut, ready)
        self._fields = {name: getattr(dut, name) for name in fields}
        self._passive = passive
        self._reset = getattr(dut, "rst_ni", None)
        self.stall = stall
        self.taken: list[dict[str, int]] = []
        self.cycles: list[int] = []
        self._task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        held: dict[str, int] | None = None
        cycle = 0
        while True:
            if not self._passive:
                self._ready.value = int(random.random() >= self.stall)
            await RisingEdge(self._dut.clk_i)
            cycle += 1
            if self._reset is not None and not value(self._reset):
                held = None
                continue
            if not value(self._valid):
                assert held is None, f"{self._valid._name} fell before the transfer of {held}"
                continue
            seen = {name: value(handle) for name, handle in self._fields.items()}
            assert held in (None, seen), f"the item changed from {held} to {seen} while it waited"
            held = seen
            if value(self._ready):
                self.taken.append(seen)
                self.cycles.append(cycle)
                held = None

    async def until(self, count: int, cycles: int = 5000) -> None:
        """Waits for `count` items."""
        await wait_for(self._dut, lambda: len(self.taken) >= count, cycles)

    def stop(self) -> None:
        """Takes nothing more."""
        self._task.cancel()
        if not self._passive:
            self._ready.value = 0


async def wait_for(dut: Any, condition: Callable[[], bool], cycles: int = 5000) -> int:
    """Waits until `condition` holds; the cycles it took.  Fails after `cycles`."""
    for cycle in range(cycles):
        if condition():
            return cycle
        await RisingEdge(dut.clk_i)
    raise AssertionError(f"the condition does not hold after {cycles} cycles")


def encoded(instruction: Instruction) -> int:
    """The 512 bits of an instruction."""
    return int.from_bytes(encode((instruction,)).tobytes(), "little")
