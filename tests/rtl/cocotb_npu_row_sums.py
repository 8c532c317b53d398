"""npu_row_sums: rows of any length, with pauses between slices, and how long the folding takes."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, value

LARGEST = 0xFFFF


def _offer(dut: Any, elements: list[int], *, valid: bool, last: bool = False) -> None:
    """One slice, or the elements that stand there while none is valid."""
    packed = sum((element & 0x1FFFF) << 17 * p for p, element in enumerate(elements))
    dut.elements_i.value = packed
    dut.slice_valid_i.value, dut.last_i.value = int(valid), int(last)


def _slice(dut: Any, low: int) -> list[int]:
    return [random.choice((low, LARGEST, random.randint(low, LARGEST))) for _ in range(_pipes(dut))]


def _pipes(dut: Any) -> int:
    return len(dut.elements_i) // 17


@bench(20_000)
async def sums_of_rows_come_after_their_last_slices(dut: Any) -> None:
    dut.start_i.value = 0
    _offer(dut, [0] * _pipes(dut), valid=False)
    await begin(dut)
    for count in (1, 2, 3, 40, 257):
        low, ease = random.choice((-0x8000, 0)), random.choice((0.3, 1))
        row = [_slice(dut, low) for _ in range(count)]
        dut.start_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        for k, elements in enumerate(row):
            while random.random() > ease:
                _offer(dut, _slice(dut, low), valid=False, last=bool(random.getrandbits(1)))
                await RisingEdge(dut.clk_i)
            _offer(dut, elements, valid=True, last=k == count - 1)
            await RisingEdge(dut.clk_i)
        _offer(dut, _slice(dut, low), valid=False)
        await RisingEdge(dut.clk_i)
        assert not value(dut.summed_o)
        await RisingEdge(dut.clk_i)
        assert value(dut.summed_o)
        for _ in range(_pipes(dut) + 1):
            await RisingEdge(dut.clk_i)
            assert not value(dut.folded_o)
        for _ in range(random.randint(1, 5)):
            await RisingEdge(dut.clk_i)
            assert value(dut.folded_o)
        flat = [element for elements in row for element in elements]
        assert value(dut.sum_o) == sum(flat) % (1 << 33)
        assert value(dut.squares_o) == sum(element**2 for element in flat)
