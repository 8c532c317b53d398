"""npu_norm_results: words of both halves, their order and their addresses."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, reset, start_clock, value

Write = tuple[int, int]


def _written(dut: Any, rows: list[list[int]], wide: bool, address: int) -> Iterator[Write]:
    """Address and data of every word that `rows` of results make, in order."""
    for row, results in enumerate(rows):
        for half in range(1 + wide):
            place = address + row * int(dut.row_stride_i.value) + half * value(dut.high_offset_i)
            parts = (result >> 8 * half & 0xFF for result in results)
            word = bytes(parts)
            yield place % value(dut.ActWords), int.from_bytes(word, "little")


async def _block(dut: Any) -> None:
    lanes, pipes, words = (value(getattr(dut, n)) for n in ("Lanes", "Pipes", "ActWords"))
    wide, address = random.randint(0, 1), random.randrange(words)
    for name in ("address", "row_stride", "high_offset"):
        getattr(dut, f"{name}_i").value = address if name == "address" else random.randrange(words)
    dut.wide_i.value, dut.start_i.value = wide, 1
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0
    rows = [[random.randrange(1 << 16) for _ in range(lanes)] for _ in range(random.randint(1, 6))]
    slices = [row[k : k + pipes] for row in rows for k in range(0, lanes, pipes)]
    found: list[Write] = []
    total = len(rows) * (1 + wide)
    least = 1 if lanes == pipes and wide else 0
    for index, part in enumerate([*slices, None, None, None]):
        valid = part is not None
        dut.slice_valid_i.value = int(valid)
        dut.word_last_i.value = int(valid and (index + 1) % (lanes // pipes) == 0)
        dut.block_last_i.value = int(index == len(slices) - 1)
        dut.results_i.value = sum(x << 16 * p for p, x in enumerate(part or ()))
        for _ in range(1 + random.choice((least, least, least + 1))):
            await RisingEdge(dut.clk_i)
            if value(dut.vw_valid_o):
                found.append((value(dut.vw_addr_o), value(dut.vw_data_o)))
            assert value(dut.over_o) == (len(found) == total and value(dut.vw_valid_o))
            for name in ("slice_valid_i", "word_last_i", "block_last_i"):
                getattr(dut, name).value = 0
            dut.results_i.value = random.getrandbits(16 * pipes)
    assert found == list(_written(dut, rows, bool(wide), address))


@bench(20_000)
async def words_of_both_halves(dut: Any) -> None:
    start_clock(dut)
    for name in ("slice_valid_i", "word_last_i", "block_last_i", "start_i"):
        getattr(dut, name).value = 0
    await reset(dut, 1)
    for _ in range(80):
        await _block(dut)
