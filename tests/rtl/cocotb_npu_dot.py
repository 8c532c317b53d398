"""npu_dot: products and sums at any spacing of fills, swaps and operands."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value

EXTREMES = (-128, -1, 0, 1, 127)
OPERANDS = (-128, -1, 0, 1, 127, 255)


def _weight() -> int:
    return random.choice((random.choice(EXTREMES), random.randrange(-128, 128)))


def _weights(byte: int, bits: int) -> list[int]:
    """The signed numbers of `bits` bits in a byte, the lowest first."""
    fields = [byte >> at & (1 << bits) - 1 for at in range(0, 8, bits)]
    return [field - (field >> bits - 1 << bits) for field in fields]


def _operand() -> int:
    return random.choice((random.choice(OPERANDS), random.randrange(-128, 256)))


@bench(20_000)
async def sums_follow_their_operands(dut: Any) -> None:
    start_clock(dut)
    lanes, bits = value(dut.Lanes), len(dut.sum_o)
    delay = 1 + (lanes - 1).bit_length()
    shadow: list[int] = []
    packing = 0
    active: list[int] | None = None
    due: dict[int, int] = {}
    held: int | None = None
    for cycle in range(6000):
        swap = len(shadow) == lanes and random.random() < 0.2
        fill = (len(shadow) < lanes or swap) and random.random() < 0.8
        column = (swap or not shadow) and not fill and random.random() < 0.5
        if swap or not shadow:
            packing = random.randrange(3)
        whole = [_weight() for _ in range(lanes)]
        dut.column_valid_i.value = int(column)
        dut.column_i.value = sum((x & 0xFF) << 8 * at for at, x in enumerate(whole))
        valid = active is not None and random.random() < 0.7
        byte, operands = _weight() & 0xFF, [_operand() for _ in range(lanes)]
        first = 0 if swap else len(shadow)
        rows = ((1 << (1 << packing)) - 1) << first
        dut.fill_rows_i.value, dut.fill_i.value = rows if fill else 0, byte
        dut.fill_packing_i.value = packing
        dut.swap_i.value, dut.operand_valid_i.value = int(swap), int(valid)
        dut.operands_i.value = sum((x & 0x1FF) << 9 * at for at, x in enumerate(operands))
        await RisingEdge(dut.clk_i)
        held = due.pop(cycle, held)
        assert held in (None, value(dut.sum_o))
        if valid and active is not None:
            total = sum(a * b for a, b in zip(operands, active, strict=True))
            due[cycle + delay] = total & (1 << bits) - 1
        if swap:
            active, shadow = shadow, []
        if column:
            shadow = whole
        if fill:
            shadow = [*shadow, *_weights(byte, 8 >> packing)]
    assert held is not None
