"""npu_softmax_scale: results of rows by turns, each with the reciprocal of its own sum."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, value

RECIPROCAL, RESULT = 23, 5


def _result(power: int, total: int, largest: int) -> int:
    """The byte of one power of a row."""
    raised = max(total, 1 << 30)
    places = raised.bit_length() - 31
    unit = raised >> places
    reciprocal = ((largest << 39) + unit) // (2 * unit)
    return (power * reciprocal + (1 << places + 37)) >> places + 38


async def _sum(dut: Any, total: int, largest: int) -> None:
    dut.start_i.value, dut.sum_i.value, dut.largest_i.value = 1, total, largest
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    for _ in range(RECIPROCAL):
        await RisingEdge(dut.clk_i)
    assert value(dut.done_o) == 1
    await RisingEdge(dut.clk_i)


async def _powers(dut: Any, rows: list[tuple[int, int, list[list[int]]]], largest: int) -> None:
    """The powers of one or two rows, one after the other: parity, sum, and slices of each."""
    slices = [(odd, total, part) for odd, total, parts in rows for part in parts]
    for cycle in range(len(slices) + RESULT + 1):
        if cycle < len(slices):
            dut.odd_i.value = slices[cycle][0]
        if 0 < cycle <= len(slices):
            power = slices[cycle - 1][2]
            dut.powers_i.value = sum(x << 31 * p for p, x in enumerate(power))
        await RisingEdge(dut.clk_i)
        if cycle > RESULT:
            _, total, power = slices[cycle - RESULT - 1]
            wanted = sum(_result(x, total, largest) << 8 * p for p, x in enumerate(power))
            assert value(dut.results_o) == wanted, (cycle, total, power)


@bench(60_000)
async def rows_take_turns(dut: Any) -> None:
    await begin(dut)
    pipes = value(dut.Pipes)
    for _ in range(150):
        largest = (1 << random.randint(1, 8)) - 1
        dut.clear_i.value = 1
        await RisingEdge(dut.clk_i)
        dut.clear_i.value = 0
        rows = []
        for odd in range(2):
            count = random.randint(1, 6)
            powers = [[random.randrange((1 << 30) + 1) for _ in range(pipes)] for _ in range(count)]
            total = min(sum(map(sum, powers)) + random.getrandbits(random.randint(1, 46)), 1 << 46)
            total = max(total, 1 << 30)
            rows.append((odd, total, powers))
            await _sum(dut, total, largest)
        await _powers(dut, rows, largest)
