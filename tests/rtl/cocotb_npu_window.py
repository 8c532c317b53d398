"""npu_window: the reads of every vector instruction, at any rhythm of steps."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl.cocotb_bench import bench, clock, encoded, start_clock, value

OPCODES = (Opcode.DRAIN, Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX)
ALWAYS = ("act_valid_o", "out_addr_o", "tap_o", "emit_o")
Read = dict[str, int]


def _instruction() -> Instruction:
    fields = {name: random.randint(1, 4) for name in ("y", "x", "window_y", "window_x")}
    fields["residual"] = random.getrandbits(1)
    for name in ("source", "residual", "output"):
        fields[f"{name}_address"] = random.getrandbits(20)
    for name in ("source_x", "window_x", "residual_row", "output_row"):
        fields[f"{name}_stride"] = random.getrandbits(16)
    for name in ("source_y", "window_y"):
        fields[f"{name}_stride"] = random.getrandbits(24)
    return Instruction(random.choice(OPCODES), fields)


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
    places = [(y, x) for y in range(item["y"]) for x in range(item["x"])]
    for pixel, (y, x) in enumerate(places):
        common = {
            "out_addr_o": item["output_address"] + y * item["output_row_stride"] + x & act_mask
        }
        last = {"last_o": int(pixel == len(places) - 1)}
        where = item["residual_address"] + y * item["residual_row_stride"] + x & act_mask
        if drain:
            step = common | last | {"act_valid_o": residual, "tap_o": 0, "emit_o": 1}
            step["acc_addr_o"] = item["source_address"] + pixel & acc_mask
            yield step | ({"act_addr_o": where} if residual else {})
            continue
        taps = list(_taps(item, y, x))
        for index, address in taps:
            emit = int(index == len(taps) - 1 and not residual)
            step = common | {"act_valid_o": 1, "tap_o": 1, "emit_o": emit, "tap_index_o": index}
            step |= {"act_addr_o": address & act_mask, "first_o": int(index == 0)}
            yield step | (last if emit else {})
        if residual:
            yield common | last | {"act_valid_o": 1, "tap_o": 0, "emit_o": 1, "act_addr_o": where}


@bench(60_000)
async def reads_are_in_order(dut: Any) -> None:
    start_clock(dut)
    await clock(dut)
    masks = [(1 << len(handle)) - 1 for handle in (dut.act_addr_o, dut.acc_addr_o)]
    for _ in range(100):
        item, ease = _instruction(), random.choice((0.4, 1.0))
        dut.start_i.value, dut.instr_i.value = 1, encoded(item)
        await RisingEdge(dut.clk_i)
        dut.start_i.value, dut.instr_i.value = 0, random.getrandbits(512)
        for read in _reads(item, masks[0], masks[1]):
            step = 0
            while not step:
                step = int(random.random() < ease)
                dut.step_i.value = step
                await RisingEdge(dut.clk_i)
                assert {name: value(getattr(dut, name)) for name in read} == read
        dut.step_i.value = 0
