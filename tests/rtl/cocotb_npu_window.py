"""npu_window: the reads of every vector instruction, at any rhythm of steps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import FIELDS, Instruction, Opcode
from tests.rtl.cocotb_bench import bench, clock, encoded, skip, start_clock, value

OPCODES = (Opcode.DRAIN, Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX)
ALWAYS = ("act_valid_o", "out_addr_o", "tap_o", "emit_o")
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


def _instruction(counts: dict[str, int]) -> Instruction:
    fields = dict(counts)
    fields["residual"] = random.getrandbits(1)
    for name in ("source", "residual", "output"):
        fields[f"{name}_address"] = random.getrandbits(20)
    for name in ("source_x", "window_x", "residual_row", "output_row"):
        fields[f"{name}_stride"] = random.getrandbits(16)
    for name in ("source_y", "window_y"):
        fields[f"{name}_stride"] = random.getrandbits(24)
    opcode = random.choice(OPCODES)
    if opcode is Opcode.DRAIN:
        fields |= {"residual_wide": random.getrandbits(1)}
        fields |= {"residual_high_offset": random.getrandbits(24)}
    return Instruction(opcode, fields)


def _taps(item: Instruction, y: int, x: int) -> Iterator[tuple[int, int]]:
    """Number and address of the elements of one window."""
    start = item["source_address"] + y * item["source_y_stride"] + x * item["source_x_stride"]
    for wy in range(item["window_y"]):
        for wx in range(item["window_x"]):
            offset = wy * item["window_y_stride"] + wx * item["window_x_stride"]
            yield wy * item["window_x"] + wx, start + offset


def _reads(item: Instruction, act_mask: int, acc_mask: int) -> Iterator[Read]:
    """What the outputs say in every step; only what has a meaning in it."""
    drain, residual = item.opcode is Opcode.DRAIN, item["residual"]
    pixels = item["y"] * item["x"]
    for pixel in range(pixels):
        y, x = divmod(pixel, item["x"])
        common = {
            "out_addr_o": item["output_address"] + y * item["output_row_stride"] + x & act_mask
        }
        last = {"last_o": int(pixel == pixels - 1)}
        where = item["residual_address"] + y * item["residual_row_stride"] + x & act_mask
        if drain:
            if residual and item["residual_wide"]:
                high = where + item["residual_high_offset"] & act_mask
                step = {"act_valid_o": 1, "tap_o": 0, "emit_o": 0, "act_addr_o": high}
                yield common | step
            step = common | last | {"act_valid_o": residual, "tap_o": 0, "emit_o": 1}
            step["acc_addr_o"] = item["source_address"] + pixel & acc_mask
            yield step | ({"act_addr_o": where} if residual else {})
            continue
        taps = item["window_y"] * item["window_x"]
        for index, address in _taps(item, y, x):
            emit = int(index == taps - 1 and not residual)
            step = common | {"act_valid_o": 1, "tap_o": 1, "emit_o": emit}
            step |= {"act_addr_o": address & act_mask, "first_o": int(index == 0)}
            step |= {"tap_index_o": index} if taps <= MAX_TAPS else {}
            yield step | (last if emit else {})
        if residual:
            yield common | last | {"act_valid_o": 1, "tap_o": 0, "emit_o": 1, "act_addr_o": where}


async def _check(dut: Any, item: Instruction, ease: float, most: int | None = None) -> None:
    """The reads of `item`, or the first `most` of them."""
    masks = [(1 << len(handle)) - 1 for handle in (dut.act_addr_o, dut.acc_addr_o)]
    dut.start_i.value, dut.instr_i.value = 1, encoded(item)
    await RisingEdge(dut.clk_i)
    dut.start_i.value, dut.instr_i.value = 0, random.getrandbits(512)
    for read in islice(_reads(item, masks[0], masks[1]), most):
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
        await _check(dut, _instruction(_counts()), random.choice((0.4, 1.0)))


@bench(60_000)
async def long_walks_are_in_order(dut: Any) -> None:
    start_clock(dut)
    await clock(dut)
    for count in (20, 70, 130, 255, 300, 600, 1500):
        for _ in range(3):
            await _check(dut, _instruction(_long_counts(count)), 1.0)


@bench(600_000)
async def the_longest_walks_end_in_order(dut: Any) -> None:
    """With the first counts each high bit of what is left is set an odd number of times."""
    start_clock(dut)
    await clock(dut)
    for count in (0xFFFE, 0x8000, 0x5555):
        for name in ("y", "x"):
            await _check_end(dut, Opcode.DRAIN, {"y": 1, "x": 1} | {name: count})
        window = {"window_y": count & 0xFF or 1, "window_x": count >> 8, "y": 1, "x": 2}
        await _check_end(dut, Opcode.WINDOW_SUM, window)


async def _check_end(dut: Any, opcode: Opcode, counts: dict[str, int]) -> None:
    """The last reads of a walk without a pause."""
    masks = [(1 << len(handle)) - 1 for handle in (dut.act_addr_o, dut.acc_addr_o)]
    fields = _instruction(counts).fields | {"residual": 0}
    item = Instruction(opcode, {name: fields[name] for name in FIELDS[opcode] if name in fields})
    reads = list(_reads(item, masks[0], masks[1]))
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
        await _check(dut, _instruction(_huge_counts()), 1.0, most=40)
