"""npu_box_runs: a box becomes its runs, in order, under back-pressure and resets."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from intaglio.templates.npu.isa import Opcode
from tests.rtl.cocotb_bench import (
    Driver,
    Monitor,
    begin,
    bench,
    clock,
    encoded,
    reset,
    value,
)
from tests.rtl.cocotb_boxes import ADDRESS_MASK, huge_box, is_empty, long_box, random_box, runs

FIELDS = ["run_addr_o", "run_beats_o", "run_last_o"]


def _expected(dut: Any, items: list[Any], base: int) -> list[dict[str, int]]:
    lanes, beat_bytes = value(dut.Lanes), value(dut.MemBytes)
    found = [run for item in items for run in runs(item, base, lanes // beat_bytes)]
    return [
        {"run_addr_o": run.address, "run_beats_o": run.beats, "run_last_o": int(run.last)}
        for run in found
    ]


def _ends(dut: Any, pause: float, stall: float) -> tuple[Driver, Monitor]:
    driver = Driver(dut, "box_valid_i", "box_ready_o", ["instr_i"], pause)
    return driver, Monitor(dut, "run_valid_o", "run_ready_i", FIELDS, stall)


@bench(60_000)
async def boxes_become_their_runs(dut: Any) -> None:
    await begin(dut)
    lanes = value(dut.Lanes)
    for pause, stall in ((0.0, 0.0), (0.5, 0.0), (0.3, 0.6)):
        base = random.getrandbits(36) * lanes & ADDRESS_MASK
        dut.base_i.value = base
        await clock(dut, 2)
        driver, monitor = _ends(dut, pause, stall)
        items = [random_box(random.choice((Opcode.LOAD, Opcode.STORE)), lanes, local_words=64)
                 for _ in range(150)]  # fmt: skip
        await driver.send([{"instr_i": encoded(item)} for item in items])
        await clock(dut, 300)
        monitor.stop()
        assert monitor.taken == _expected(dut, items, base)


@bench(40_000)
async def long_boxes_become_their_runs(dut: Any) -> None:
    await begin(dut)
    base = random.getrandbits(40) // value(dut.Lanes) * value(dut.Lanes)
    dut.base_i.value = base
    for _ in range(8):
        driver, monitor = _ends(dut, 0.0, 0.0)
        box = long_box(value(dut.Lanes))
        await driver.send([{"instr_i": encoded(box)}])
        await clock(dut, 2550)
        monitor.stop()
        assert monitor.taken == _expected(dut, [box], base)


@bench(40_000)
async def huge_boxes_begin_with_their_runs(dut: Any) -> None:
    await begin(dut)
    lanes, beats_per_word = value(dut.Lanes), value(dut.Lanes) // value(dut.MemBytes)
    for _ in range(200):
        box = huge_box(lanes)
        words = box["words"] * (box["rows"] if box["contiguous"] else 1)
        if is_empty(box) or words >= 1 << 24:
            continue
        base = random.getrandbits(40) // lanes * lanes
        dut.base_i.value = base
        driver, monitor = _ends(dut, 0.0, 0.0)
        await driver.send([{"instr_i": encoded(box)}])
        await clock(dut, 30)
        monitor.stop()
        await reset(dut, 1)
        first = runs(box, base, beats_per_word, 25)
        seen = [(x["run_addr_o"], x["run_beats_o"], x["run_last_o"]) for x in monitor.taken]
        assert seen[:25] == [(run.address, run.beats, int(run.last)) for run in first]


@bench(10_000)
async def a_reset_forgets_the_box(dut: Any) -> None:
    await begin(dut)
    lanes = value(dut.Lanes)
    for _ in range(15):
        driver, monitor = _ends(dut, 0.0, 0.5)
        items = [random_box(Opcode.STORE, lanes, local_words=64, most=6) for _ in range(20)]
        task = cocotb.start_soon(driver.send([{"instr_i": encoded(item)} for item in items]))
        await clock(dut, random.randrange(4, 30))
        task.cancel()
        monitor.stop()
        dut.box_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 4)
        assert (value(dut.run_valid_o), value(dut.box_ready_o)) == (0, 1)
        driver, monitor = _ends(dut, 0.0, 0.2)
        await driver.send([{"instr_i": encoded(items[0])}])
        await clock(dut, 100)
        monitor.stop()
        assert monitor.taken == _expected(dut, items[:1], 0)
