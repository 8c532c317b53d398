"""fifo: nothing lost, nothing invented, under stalls on both sides and resets."""

from __future__ import annotations

import random
from typing import Any

import cocotb

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
async def full_queue_refuses_and_loses_nothing(dut: Any) -> None:
    await begin(dut)
    depth = value(dut.Depth)
    items = _items(dut, depth + 4)
    driver = Driver(dut, "valid_i", "ready_o", ["data_i"])
    task = cocotb.start_soon(driver.send(items))
    await clock(dut, depth + 20)
    assert driver.sent == depth + 1
    assert value(dut.ready_o) == 0
    monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"])
    await task
    await clock(dut, depth + 10)
    assert [x["data_o"] for x in monitor.taken] == [x["data_i"] for x in items]


@bench(2_000)
async def moves_an_entry_a_cycle(dut: Any) -> None:
    await begin(dut)
    driver, monitor = _ends(dut, 0.0, 0.0)
    await driver.send(_items(dut, 50))
    await monitor.until(50)
    steps = [b - a for a, b in zip(monitor.cycles, monitor.cycles[1:], strict=False)]
    assert steps == [1 + value(dut.Pause)] * 49


@bench(10_000)
async def a_reset_empties_it(dut: Any) -> None:
    await begin(dut)
    for _ in range(20):
        driver, monitor = _ends(dut, 0.2, 0.8)
        task = cocotb.start_soon(driver.send(_items(dut, 100)))
        await clock(dut, random.randrange(5, 40))
        task.cancel()
        monitor.stop()
        dut.valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 5)
        assert value(dut.valid_o) == 0
        assert value(dut.ready_o) == 1
        driver, monitor = _ends(dut, 0.2, 0.2)
        items = _items(dut, 10)
        await driver.send(items)
        await monitor.until(10)
        monitor.stop()
        assert [x["data_o"] for x in monitor.taken] == [x["data_i"] for x in items]
