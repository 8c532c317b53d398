"""ram_1r1w: a read port and a write port that do not disturb each other."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value


@bench(20_000)
async def reads_what_was_written(dut: Any) -> None:
    start_clock(dut)
    depth, width = value(dut.Depth), len(dut.write_data_i)
    words: dict[int, int] = {}
    expected: int | None = None
    for _ in range(2000 + 20 * depth):
        write, read = random.randrange(depth), random.randrange(depth)
        data, writes = random.getrandbits(width), random.getrandbits(1)
        reads = int(read in words and random.random() < 0.6 and not (writes and read == write))
        dut.write_en_i.value, dut.write_addr_i.value, dut.write_data_i.value = writes, write, data
        dut.read_en_i.value, dut.read_addr_i.value = reads, read
        await RisingEdge(dut.clk_i)
        assert expected in (None, value(dut.read_data_o))
        if reads:
            expected = words[read]
        if writes:
            words[write] = data
    assert len(words) == depth
