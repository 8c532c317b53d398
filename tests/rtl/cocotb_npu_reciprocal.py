"""npu_reciprocal: reciprocals of sums of every length, their cycles, and a reset on the way."""

from __future__ import annotations

import random
from typing import Any

from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

CYCLES = 23


def _sum() -> int:
    bits = random.randint(1, 47)
    return random.choice((1 << bits - 1, (1 << bits) - 1, random.randrange(1 << bits)))


async def _start(dut: Any, total: int, largest: int) -> None:
    dut.start_i.value, dut.sum_i.value, dut.largest_i.value = 1, total, largest
    await clock(dut)
    dut.start_i.value = 0
    dut.sum_i.value, dut.largest_i.value = random.getrandbits(47), largest


async def _check(dut: Any, total: int, largest: int) -> None:
    await _start(dut, total, largest)
    for _ in range(CYCLES - 1):
        await clock(dut)
        assert value(dut.done_o) == 0
    await clock(dut)
    assert value(dut.done_o) == 1
    raised = max(total, 1 << 30)
    places = raised.bit_length() - 31
    unit = raised >> places
    wanted = ((largest << 39) + unit) // (2 * unit), places
    for _ in range(random.randrange(4)):
        assert (value(dut.reciprocal_o), value(dut.shift_o)) == wanted, (total, largest)
        await clock(dut)


@bench(40_000)
async def reciprocals_of_all_lengths(dut: Any) -> None:
    await begin(dut)
    for _ in range(600):
        await _check(dut, _sum(), (1 << random.randint(1, 8)) - 1)


@bench(4_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for _ in range(40):
        await _start(dut, _sum(), 255)
        await clock(dut, random.randrange(1, CYCLES))
        await reset(dut, 1)
        for _ in range(CYCLES + 1):
            await clock(dut)
            assert value(dut.done_o) == 0
    await _check(dut, 1 << 40, 255)
