"""npu_taps: windows of every width, written with gaps and read by rows."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, clock, start_clock, value

MAX_TAPS = 64


async def _write(dut: Any, words: list[int]) -> None:
    """One window, tap after tap; between them anything is on the inputs but no write."""
    for number, word in enumerate(words):
        while True:
            valid = int(random.random() < 0.7)
            dut.write_valid_i.value = valid
            dut.write_first_i.value = int(number == 0) if valid else random.getrandbits(1)
            dut.write_data_i.value = word if valid else random.getrandbits(len(dut.write_data_i))
            await RisingEdge(dut.clk_i)
            if valid:
                break
    dut.write_valid_i.value = 0


async def _read(dut: Any, row: int) -> list[int]:
    """The words of `row`, which stay while nothing is read."""
    dut.read_en_i.value, dut.read_row_i.value = 1, row
    await RisingEdge(dut.clk_i)
    dut.read_en_i.value, dut.read_row_i.value = 0, random.randrange(MAX_TAPS)
    await clock(dut, random.randint(1, 3))
    whole, width = dut.read_data_o.value, value(dut.Width)
    bits = str(whole)[::-1]
    return [_number(bits[p * width : (p + 1) * width]) for p in range(value(dut.Columns))]


def _number(bits: str) -> int:
    """A word, lowest bit first; -1 while nothing was written there."""
    return int(bits[::-1], 2) if set(bits) <= {"0", "1"} else -1


@bench(60_000)
async def every_row_is_read_as_it_was_written(dut: Any) -> None:
    start_clock(dut)
    dut.write_valid_i.value = dut.read_en_i.value = 0
    await clock(dut)
    columns, width = value(dut.Columns), value(dut.Width)
    for wide in (*range(1, columns + 1), *random.choices(range(1, columns + 1), k=6)):
        rows = random.choice((MAX_TAPS // wide, random.randint(1, MAX_TAPS // wide)))
        words = [random.getrandbits(width) for _ in range(rows * wide)]
        dut.place_i.value = 1 << columns - wide
        await _write(dut, words)
        for row in random.sample(range(rows), rows):
            assert (await _read(dut, row))[-wide:] == words[row * wide : (row + 1) * wide]
