"""npu_box_words: every word of the padded box once, in order."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl.cocotb_bench import Driver, Item, Monitor, begin, bench, clock, reset, skip, value
from tests.rtl.cocotb_boxes import (
    PADS,
    huge_box,
    len_steps,
    long_box,
    longest_box,
    random_box,
    steps,
)

PORTS = {
    "planes_i": "planes",
    "rows_i": "rows",
    "words_i": "words",
    "address_i": "local_address",
    "row_stride_i": "local_row_stride",
    "plane_stride_i": "local_plane_stride",
    "pad_top_i": "pad_top",
    "pad_bottom_i": "pad_bottom",
    "pad_left_i": "pad_left",
    "pad_right_i": "pad_right",
}
FIELDS = ["step_present_o", "step_addr_o", "step_inside_o", "step_last_o"]


def _item(box: Instruction) -> Item:
    return {port: box[field] for port, field in PORTS.items()}


def _expected(boxes: list[Instruction], most: int | None = None) -> list[tuple[int, ...]]:
    """(present, address, inside, last); a box without a word gives (0, 1).

    With `most` only so many of each box.
    """
    found: list[tuple[int, ...]] = []
    for box in boxes:
        words = [(1, step.address, int(step.inside), int(step.last)) for step in steps(box, most)]
        found += words or [(0, 1)]
    return found


def _seen(monitor: Monitor) -> list[tuple[int, ...]]:
    names = FIELDS
    return [
        tuple(x[name] for name in (names if x["step_present_o"] else (names[0], names[3])))
        for x in monitor.taken
    ]


def _ends(dut: Any, pause: float, stall: float) -> tuple[Driver, Monitor]:
    driver = Driver(dut, "box_valid_i", "box_ready_o", list(PORTS), pause)
    return driver, Monitor(dut, "step_valid_o", "step_ready_i", FIELDS, stall)


def _boxes(count: int) -> list[Instruction]:
    return [random_box(Opcode.LOAD, 4, local_words=1 << 24) for _ in range(count)]


@bench(60_000)
async def boxes_become_their_words(dut: Any) -> None:
    await begin(dut)
    for pause, stall in ((0.0, 0.0), (0.7, 0.0), (0.2, 0.4)):
        driver, monitor = _ends(dut, pause, stall)
        boxes = _boxes(40)
        await driver.send([_item(box) for box in boxes])
        await clock(dut, 800)
        monitor.stop()
        assert _seen(monitor) == _expected(boxes)


@bench(20_000)
async def boxes_follow_without_a_gap(dut: Any) -> None:
    await begin(dut)
    driver, monitor = _ends(dut, 0.0, 0.0)
    boxes = _boxes(20)
    await driver.send([_item(box) for box in boxes])
    await clock(dut, 800)
    assert _seen(monitor) == _expected(boxes)
    assert monitor.cycles[-1] - monitor.cycles[0] == len(monitor.cycles) - 1


@bench(60_000)
async def long_boxes_become_their_words(dut: Any) -> None:
    await begin(dut)
    for _ in range(10):
        driver, monitor = _ends(dut, 0.0, 0.0)
        box = long_box(4)
        await driver.send([_item(box)])
        expected = _expected([box])
        await clock(dut, len(expected) + 10)
        monitor.stop()
        assert _seen(monitor) == expected


@bench(700_000)
async def the_longest_boxes_end_with_their_words(dut: Any) -> None:
    await begin(dut)
    for long in ("planes", "rows", "words"):
        for count in (0x5555, 0xAAAA, 0xFFFE):
            box = longest_box(long, count)
            total = len_steps(box)
            driver = Driver(dut, "box_valid_i", "box_ready_o", list(PORTS))
            await driver.send([_item(box)])
            dut.step_ready_i.value = 1
            await skip(dut, total - 4)
            monitor = Monitor(dut, "step_valid_o", "step_ready_i", FIELDS)
            await clock(dut, 20)
            monitor.stop()
            ends = steps(box, first=total - len(monitor.taken))
            assert len(ends) in (3, 4, 5)
            words = [(1, s.address, int(s.inside), int(s.last)) for s in ends]
            assert _seen(monitor) == words


@bench(5_000)
async def counts_of_one_high_bit_are_not_empty(dut: Any) -> None:
    await begin(dut)
    for long in PADS:
        for bits in range(16):
            driver, monitor = _ends(dut, 0.0, 0.0)
            fields = dict.fromkeys(PADS, 1) | {long: 1 << bits}
            box = Instruction(Opcode.LOAD, fields)
            await driver.send([_item(box)])
            await clock(dut, 8)
            monitor.stop()
            await reset(dut, 1)
            assert _seen(monitor)[:5] == _expected([box], 5)


@bench(60_000)
async def huge_boxes_begin_with_their_words(dut: Any) -> None:
    await begin(dut)
    for index in range(200):
        driver, monitor = _ends(dut, 0.0, 0.0)
        box, count = huge_box(4), 600 if index % 20 == 0 else 40
        await driver.send([_item(box)])
        await clock(dut, count + 10)
        monitor.stop()
        await reset(dut, 1)
        assert _seen(monitor)[:count] == _expected([box], count)


@bench(10_000)
async def a_reset_forgets_the_box(dut: Any) -> None:
    await begin(dut)
    for _ in range(15):
        driver, monitor = _ends(dut, 0.0, 0.3)
        boxes = _boxes(10)
        task = cocotb.start_soon(driver.send([_item(box) for box in boxes]))
        await clock(dut, random.randrange(4, 60))
        task.cancel()
        monitor.stop()
        dut.box_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 2)
        assert (value(dut.step_valid_o), value(dut.box_ready_o)) == (0, 1)
        driver, monitor = _ends(dut, 0.0, 0.0)
        await driver.send([_item(boxes[0])])
        await clock(dut, 450)
        monitor.stop()
        assert _seen(monitor) == _expected(boxes[:1])
