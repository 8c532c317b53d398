"""npu_marks: every mark becomes one pulse, the lowest unit first."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Unit
from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

UNITS = range(len(Unit))


async def _offer(dut: Any, queues: list[list[int]]) -> list[int]:
    """Offers the marks of all units, each held until it is taken; the order of acceptance."""
    accepted = []
    active = [False] * len(Unit)
    while any(queues):
        for unit in UNITS:
            active[unit] = bool(queues[unit]) and (active[unit] or random.random() < 0.5)
        dut.valid_i.value = sum(on << unit for unit, on in enumerate(active))
        dut.layer_i.value = sum(q[0] << 16 * unit for unit, q in enumerate(queues) if q)
        await RisingEdge(dut.clk_i)
        ready = value(dut.ready_o)
        taken = [unit for unit in UNITS if active[unit] and ready >> unit & 1]
        assert taken == [unit for unit in UNITS if active[unit]][:1]
        for unit in taken:
            accepted.append(queues[unit].pop(0))
            active[unit] = False
    dut.valid_i.value = 0
    return accepted


async def _pulses(dut: Any, seen: list[int]) -> None:
    while True:
        await RisingEdge(dut.clk_i)
        if value(dut.mark_valid_o):
            seen.append(value(dut.mark_layer_o))


@bench(5_000)
async def every_mark_is_one_pulse(dut: Any) -> None:
    await begin(dut)
    seen: list[int] = []
    cocotb.start_soon(_pulses(dut, seen))
    queues = [[random.getrandbits(16) for _ in range(200)] for _ in UNITS]
    accepted = await _offer(dut, queues)
    await clock(dut, 3)
    assert len(accepted) == 200 * len(Unit)
    assert seen == accepted


@bench(100)
async def a_reset_ends_the_pulse(dut: Any) -> None:
    await begin(dut)
    dut.valid_i.value = 0b0100
    await clock(dut, 2)
    assert value(dut.mark_valid_o) == 1
    await reset(dut, 1)
    await clock(dut)
    assert value(dut.mark_valid_o) == 0
    await clock(dut)
    assert value(dut.mark_valid_o) == 1
