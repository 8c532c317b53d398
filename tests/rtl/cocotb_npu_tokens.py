"""npu_tokens: twenty counters, each at its limits and beside the others."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Unit
from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

UNITS = range(len(Unit))
COUNT = len(Unit)
PAIRS = [(giver, taker) for giver in UNITS for taker in UNITS if giver != taker]
LIMIT = 255
SELF = sum(1 << (COUNT + 1) * unit for unit in UNITS)


def _expected(counts: dict[tuple[int, int], int]) -> tuple[int, int]:
    """The available and full buses for the counters of (giver, taker)."""
    available = SELF | sum(1 << COUNT * taker + giver for (giver, taker), n in counts.items() if n)
    full = sum(1 << COUNT * giver + taker for (giver, taker), n in counts.items() if n == LIMIT)
    return available, full


async def _step(dut: Any, push: int = 0, pop: int = 0) -> tuple[int, int]:
    """One cycle; the buses as they are in it."""
    dut.push_i.value, dut.pop_i.value = push, pop
    await RisingEdge(dut.clk_i)
    return value(dut.available_o), value(dut.full_o)


@bench(30_000)
async def counters_follow_legal_traffic(dut: Any) -> None:
    await begin(dut)
    counts = dict.fromkeys(PAIRS, 0)
    for cycle in range(6000):
        rising = cycle % 1500 < 800
        push = pop = 0
        before = dict(counts)
        for giver, taker in PAIRS:
            if before[giver, taker] < LIMIT and random.random() < (0.8 if rising else 0.2):
                push |= 1 << COUNT * giver + taker
                counts[giver, taker] += 1
            if before[giver, taker] and random.random() < (0.2 if rising else 0.8):
                pop |= 1 << COUNT * taker + giver
                counts[giver, taker] -= 1
        assert await _step(dut, push, pop) == _expected(before)


@bench(10_000)
async def each_counter_reaches_its_limit_alone(dut: Any) -> None:
    await begin(dut)
    for giver, taker in PAIRS:
        counts = dict.fromkeys(PAIRS, 0)
        for count in range(LIMIT):
            counts[giver, taker] = count
            assert await _step(dut, push=1 << COUNT * giver + taker) == _expected(counts)
        counts[giver, taker] = LIMIT
        assert await _step(dut, pop=1 << COUNT * taker + giver) == _expected(counts)
        counts[giver, taker] = LIMIT - 1
        assert await _step(dut) == _expected(counts)
        await reset(dut, 1)
        assert await _step(dut) == (SELF, 0)


@bench(100)
async def a_unit_has_no_counter_with_itself(dut: Any) -> None:
    await begin(dut)
    assert await _step(dut, push=SELF) == (SELF, 0)
    assert await _step(dut, pop=SELF) == (SELF, 0)
    await clock(dut)
    assert (value(dut.available_o), value(dut.full_o)) == (SELF, 0)
