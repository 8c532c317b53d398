"""ram_2p: port A reads while port B reads or writes; each keeps its own last read."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value


@bench(20_000)
async def both_ports_see_one_memory(dut: Any) -> None:
    start_clock(dut)
    depth, width = value(dut.Depth), len(dut.b_data_i)
    words: dict[int, int] = {}
    seen_a: int | None = None
    seen_b: int | None = None
    for _ in range(2000 + 20 * depth):
        a_addr, b_addr = random.randrange(depth), random.randrange(depth)
        write = random.getrandbits(1)
        b_en = int(random.random() < 0.7 and (write or b_addr in words))
        collides = b_en and write and a_addr == b_addr
        a_en = int(random.random() < 0.7 and a_addr in words and not collides)
        data = random.getrandbits(width)
        dut.a_en_i.value, dut.a_addr_i.value = a_en, a_addr
        dut.b_en_i.value, dut.b_write_i.value = b_en, write
        dut.b_addr_i.value, dut.b_data_i.value = b_addr, data
        await RisingEdge(dut.clk_i)
        assert seen_a in (None, value(dut.a_data_o))
        assert seen_b in (None, value(dut.b_data_o))
        if a_en:
            seen_a = words[a_addr]
        if b_en and write:
            words[b_addr] = data
        elif b_en:
            seen_b = words[b_addr]
    assert len(words) == depth
