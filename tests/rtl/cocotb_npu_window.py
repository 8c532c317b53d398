"""npu_window: the reads of every vector instruction, at any rhythm of steps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl.cocotb_bench import bench, clock, encoded, skip, start_clock, value

WINDOWS = (Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX)
MAX_TAPS = 64
Read = dict[str, int]


LARGEST = {"y": 16, "x": 16, "window_y": 8, "window_x": 8}


def _counts() -> dict[str, int]:
    return {name: random.randint(1, 4) for name in LARGEST}


def _huge_counts() -> dict[str, int]:
    """Up to the largest counts; about half of them small."""
    return {
        name: random.choice((1, 2, 1 << random.randrange(bits) | random.getrandbits(3)))
        for name, bits in LARGEST.items()
    }


def _long_counts(count: int) -> dict[str, int]:
    """One count is `count`, the others are small."""
    name = random.choice(tuple(LARGEST))
    return dict.fromkeys(LARGEST, 1) | {name: min(count, (1 << LARGEST[name]) - 1)}


def _instruction(dut: Any, counts: dict[str, int]) -> Instruction:
    """Strides are far apart, or those of neighbouring columns and of windows that share some."""
    fields = dict(counts)
    fields["residual"] = random.getrandbits(1)
    for name in ("source", "residual", "output"):
        fields[f"{name}_address"] = random.getrandbits(20)
    for name in ("source_x", "window_x", "residual_row", "output_row"):
        fields[f"{name}_stride"] = random.getrandbits(16)
    for name in ("source_y", "window_y"):
        fields[f"{name}_stride"] = random.getrandbits(24)
    if random.random() < 0.7:
        fields["window_x_stride"] = random.choice((1, 1, 1, 2))
        fields["source_x_stride"] = random.randint(0, min(fields.get("window_x", 1), 8) + 1)
    opcode = random.choice(WINDOWS) if value(dut.Columns) else Opcode.DRAIN
    if opcode is Opcode.DRAIN:
        fields |= {"residual_wide": random.getrandbits(1)}
        fields |= {"residual_high_offset": random.getrandbits(24)}
    return Instruction(opcode, fields)


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a window: its address, and its number since a column's or window's first."""

    address: int
    index: int


def _elements(item: Instruction, columns: int, y: int, x: int) -> list[Element]:
    """What output (y, x) reads: column by column, and only those the one before has not read."""
    start = item["source_address"] + y * item["source_y_stride"] + x * item["source_x_stride"]
    wide, high = item["window_x"], item["window_y"]
    if wide > columns:
        places = [(wy, wx) for wy in range(high) for wx in range(wide)]
        indices = list(range(high * wide))
    else:
        stride = item["source_x_stride"]
        shared = wide - stride if item["window_x_stride"] == 1 and 1 <= stride < wide and x else 0
        places = [(wy, wx) for wx in range(shared, wide) for wy in range(high)]
        indices = [wy for wy, _ in places]
    return [
        Element(start + wy * item["window_y_stride"] + wx * item["window_x_stride"], index)
        for (wy, wx), index in zip(places, indices, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the module: columns of the chain, and masks of its addresses."""

    columns: int
    act_mask: int
    acc_mask: int

    @classmethod
    def of(cls, dut: Any) -> Sizes:
        masks = [(1 << len(handle)) - 1 for handle in (dut.act_addr_o, dut.acc_addr_o)]
        return cls(value(dut.Columns), *masks)


def _reads(item: Instruction, sizes: Sizes) -> Iterator[Read]:
    """What the outputs say in every step; only what has a meaning in it."""
    drain, residual = item.opcode is Opcode.DRAIN, item["residual"]
    pixels = item["y"] * item["x"]
    chained = item["window_x"] if item["window_x"] <= sizes.columns else 1
    for pixel in range(pixels):
        y, x = divmod(pixel, item["x"])
        out = item["output_address"] + y * item["output_row_stride"] + x
        common = {"out_addr_o": out & sizes.act_mask}
        last = {"last_o": int(pixel == pixels - 1)}
        where = item["residual_address"] + y * item["residual_row_stride"] + x & sizes.act_mask
        if drain:
            if residual and item["residual_wide"]:
                high = where + item["residual_high_offset"] & sizes.act_mask
                step = {"act_valid_o": 1, "tap_o": 0, "emit_o": 0, "act_addr_o": high}
                yield common | step
            step = common | last | {"act_valid_o": residual, "tap_o": 0, "emit_o": 1}
            step["acc_addr_o"] = item["source_address"] + pixel & sizes.acc_mask
            yield step | ({"act_addr_o": where} if residual else {})
            continue
        elements = _elements(item, sizes.columns, y, x)
        for number, element in enumerate(elements, 1):
            emit = int(number == len(elements) and not residual)
            step = common | {"act_valid_o": 1, "tap_o": 1, "emit_o": emit}
            step |= {"act_addr_o": element.address & sizes.act_mask}
            step |= {"first_o": int(element.index == 0), "place_o": 1 << sizes.columns - chained}
            step |= {"tap_index_o": element.index} if element.index < MAX_TAPS else {}
            yield step | (last if emit else {})
        if residual:
            yield common | last | {"act_valid_o": 1, "tap_o": 0, "emit_o": 1, "act_addr_o": where}


async def _check(dut: Any, item: Instruction, ease: float, most: int | None = None) -> None:
    """The reads of `item`, or the first `most` of them."""
    dut.start_i.value, dut.instr_i.value = 1, encoded(item)
    await RisingEdge(dut.clk_i)
    dut.start_i.value, dut.instr_i.value = 0, random.getrandbits(512)
    for read in islice(_reads(item, Sizes.of(dut)), most):
        step = 0
        while not step:
            step = int(random.random() < ease)
            dut.step_i.value = step
            await RisingEdge(dut.clk_i)
            assert {name: value(getattr(dut, name)) for name in read} == read
    dut.step_i.value = 0


@bench(60_000)
async def reads_are_in_order(dut: Any) -> None:
    start_clock(dut)
    await clock(dut)
    for _ in range(100):
        await _check(dut, _instruction(dut, _counts()), random.choice((0.4, 1.0)))


@bench(60_000)
async def long_walks_are_in_order(dut: Any) -> None:
    start_clock(dut)
    await clock(dut)
    for count in (20, 70, 130, 255, 300, 600, 1500):
        for _ in range(3):
            await _check(dut, _instruction(dut, _long_counts(count)), 1.0)


@bench(600_000)
async def the_longest_walks_end_in_order(dut: Any) -> None:
    """With the first counts each high bit of what is left is set an odd number of times."""
    start_clock(dut)
    await clock(dut)
    for count in (0xFFFE, 0x8000, 0x5555):
        for name in ("y", "x"):
            await _check_end(dut, {"y": 1, "x": 1, "window_y": 1, "window_x": 1} | {name: count})
        if not value(dut.Columns):
            continue
        window = {"window_y": count & 0xFF or 1, "window_x": count >> 8, "y": 1, "x": 2}
        await _check_end(dut, window)


async def _check_end(dut: Any, counts: dict[str, int]) -> None:
    """The last reads of a walk without a pause."""
    drawn = _instruction(dut, counts)
    item = Instruction(drawn.opcode, drawn.fields | {"residual": 0})
    reads = list(_reads(item, Sizes.of(dut)))
    dut.start_i.value, dut.instr_i.value = 1, encoded(item)
    await RisingEdge(dut.clk_i)
    dut.start_i.value, dut.step_i.value = 0, 1
    await skip(dut, len(reads) - 5)
    for read in reads[-5:]:
        await RisingEdge(dut.clk_i)
        assert {name: value(getattr(dut, name)) for name in read} == read
    dut.step_i.value = 0


@bench(60_000)
async def the_largest_counts_begin_in_order(dut: Any) -> None:
    start_clock(dut)
    await clock(dut)
    for _ in range(200):
        await _check(dut, _instruction(dut, _huge_counts()), 1.0, most=40)
