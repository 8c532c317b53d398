"""stream_widen: narrow beats join, the first one lowest, whatever the stalls and resets."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from tests.rtl.cocotb_bench import Driver, Monitor, begin, bench, clock, reset, value

STALLS = ((0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (0.5, 0.5))


def _ratio(dut: Any) -> int:
    return len(dut.data_o) // len(dut.data_i)


def _items(dut: Any, count: int) -> list[dict[str, int]]:
    return [{"data_i": random.getrandbits(len(dut.data_i))} for _ in range(count * _ratio(dut))]


def _joined(dut: Any, items: list[dict[str, int]]) -> list[dict[str, int]]:
    bits, ratio = len(dut.data_i), _ratio(dut)
    groups = [items[at : at + ratio] for at in range(0, len(items), ratio)]
    return [{"data_o": sum(x["data_i"] << bits * i for i, x in enumerate(g))} for g in groups]


@bench(30_000)
async def joins_under_stalls(dut: Any) -> None:
    await begin(dut)
    for pause, stall in STALLS:
        driver = Driver(dut, "valid_i", "ready_o", ["data_i"], pause)
        monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"], stall)
        items = _items(dut, 60)
        await driver.send(items)
        await monitor.until(60)
        await clock(dut, 5)
        monitor.stop()
        assert monitor.taken == _joined(dut, items)


@bench(2_000)
async def takes_a_beat_every_cycle(dut: Any) -> None:
    await begin(dut)
    monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"])
    await Driver(dut, "valid_i", "ready_o", ["data_i"]).send(_items(dut, 20))
    await clock(dut, 5)
    steps = [b - a for a, b in zip(monitor.cycles, monitor.cycles[1:], strict=False)]
    assert steps == [_ratio(dut) + value(dut.Pause)] * 19


@bench(10_000)
async def a_reset_forgets_half_a_beat(dut: Any) -> None:
    await begin(dut)
    for _ in range(20):
        driver = Driver(dut, "valid_i", "ready_o", ["data_i"])
        monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"], 0.6)
        task = cocotb.start_soon(driver.send(_items(dut, 50)))
        await clock(dut, random.randrange(3, 20))
        task.cancel()
        monitor.stop()
        dut.valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 2)
        assert value(dut.valid_o) == 0
        monitor = Monitor(dut, "valid_o", "ready_i", ["data_o"], 0.3)
        items = _items(dut, 4)
        await driver.send(items)
        await clock(dut, 40)
        monitor.stop()
        assert monitor.taken == _joined(dut, items)
