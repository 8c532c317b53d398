"""stream_narrow: wide beats leave in parts, lowest first, whatever the stalls and resets."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from tests.rtl.cocotb_bench import Driver, Monitor, begin, bench, clock, reset, value

STALLS = ((0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (0.5, 0.5))


def _parts(dut: Any, items: list[dict[str, int]]) -> list[dict[str, int]]:
    bits, ratio = len(dut.data_o), len(dut.data_i) // len(dut.data_o)
    mask = (1 << bits) - 1
    return [{"data_o": x["data_i"] >> bits * i & mask} for x in items for i in range(ratio)]


def _items(dut: Any, count: int) -> list[dict[str, int]]:
    return [{"data_i": random.getrandbits(len(dut.data_i))} for _ in range(count)]


@bench(20_000)
async def splits_under_stalls(dut: Any) -> None:
    await begin(dut)
    for pause, stall in STALLS:
        driver = Driver(dut, "valid_i", "ready_o", ["data_i"], pause)
        monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"], stall)
        items = _items(dut, 100)
        expected = _parts(dut, items)
        await driver.send(items)
        await monitor.until(len(expected))
        await clock(dut, 5)
        monitor.stop()
        assert monitor.taken == expected


@bench(2_000)
async def leaves_no_gap(dut: Any) -> None:
    await begin(dut)
    monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"])
    items = _items(dut, 30)
    await Driver(dut, "valid_i", "ready_o", ["data_i"]).send(items)
    await clock(dut, 20)
    assert monitor.taken == _parts(dut, items)
    assert monitor.cycles[-1] - monitor.cycles[0] == len(monitor.taken) - 1


@bench(10_000)
async def a_reset_drops_what_is_inside(dut: Any) -> None:
    await begin(dut)
    for _ in range(20):
        driver = Driver(dut, "valid_i", "ready_o", ["data_i"])
        monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"], 0.6)
        task = cocotb.start_soon(driver.send(_items(dut, 100)))
        await clock(dut, random.randrange(3, 20))
        task.cancel()
        monitor.stop()
        dut.valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 2)
        assert value(dut.valid_o) == 0
        monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"], 0.3)
        items = _items(dut, 5)
        await driver.send(items)
        await clock(dut, 60)
        monitor.stop()
        assert monitor.taken == _parts(dut, items)
