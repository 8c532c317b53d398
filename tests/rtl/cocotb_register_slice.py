"""register_slice: nothing lost or reordered, a beat a cycle, and a ready that no ready moves."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import ReadOnly

from tests.rtl.cocotb_bench import Driver, Monitor, begin, bench, clock, reset, value

STALLS = ((0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (0.5, 0.5))


def _items(dut: Any, count: int) -> list[dict[str, int]]:
    return [{"data_i": random.getrandbits(len(dut.data_i))} for _ in range(count)]


def _ends(dut: Any, pause: float, stall: float) -> tuple[Driver, Monitor]:
    driver = Driver(dut, "valid_i", "ready_o", ["data_i"], pause)
    return driver, Monitor(dut, "valid_o", "ready_i", ["data_o"], stall)


@bench(20_000)
async def keeps_order_under_stalls(dut: Any) -> None:
    await begin(dut)
    for pause, stall in STALLS:
        await reset(dut)
        driver, monitor = _ends(dut, pause, stall)
        items = _items(dut, 200)
        await driver.send(items)
        await monitor.until(200)
        await clock(dut, 5)
        monitor.stop()
        assert [x["data_o"] for x in monitor.taken] == [x["data_i"] for x in items]


@bench(2_000)
async def moves_a_beat_a_cycle(dut: Any) -> None:
    await begin(dut)
    driver, monitor = _ends(dut, 0.0, 0.0)
    await driver.send(_items(dut, 50))
    await clock(dut, 5)
    assert [b - a for a, b in zip(monitor.cycles, monitor.cycles[1:], strict=False)] == [1] * 49


@bench(2_000)
async def holds_two_beats_and_its_ready_follows_a_cycle_later(dut: Any) -> None:
    await begin(dut)
    dut.ready_i.value = 0
    dut.valid_i.value = 1
    ready = []
    for beat in (5, 6, 7, 8):
        dut.data_i.value = beat
        await ReadOnly()
        ready.append(value(dut.ready_o))
        await clock(dut, 1)
    assert ready == [1, 1, 0, 0]
    dut.ready_i.value = 1
    await ReadOnly()
    assert (value(dut.data_o), value(dut.ready_o)) == (5, 0)
    await clock(dut, 1)
    await ReadOnly()
    assert (value(dut.data_o), value(dut.ready_o)) == (6, 1)
