"""delay_line: the bus of `Cycles` cycles before."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value


@bench(1_000)
async def delays_every_word(dut: Any) -> None:
    start_clock(dut)
    cycles, driven, seen = value(dut.Cycles), [], []
    for _ in range(200):
        driven.append(random.getrandbits(len(dut.data_i)))
        dut.data_i.value = driven[-1]
        await RisingEdge(dut.clk_i)
        seen.append(value(dut.data_o))
    assert seen[cycles:] == driven[:-cycles]
