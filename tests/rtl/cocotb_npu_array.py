"""npu_array: every column's sum, signed and unsigned, while the next tile is filled."""

from __future__ import annotations

import random
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value

WORD = (1 << 32) - 1


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _sums(tile: list[bytes], vector: bytes, signed: bool) -> int:
    """The columns' sums, packed."""
    elements = [_signed(x) if signed else x for x in vector]
    cols = range(len(tile[0]))
    totals = [sum(x * _signed(row[c]) for x, row in zip(elements, tile, strict=True)) for c in cols]
    return sum((total & WORD) << 32 * c for c, total in enumerate(totals))


def _by_rows(words: list[bytes]) -> list[bytes]:
    """The rows of a tile that came as columns: group g of `words[r]` is column g * lanes + r."""
    lanes, cols = len(words), len(words[0])
    places = [(c % lanes, c // lanes * lanes) for c in range(cols)]
    return [bytes(words[r][first + row] for r, first in places) for row in range(lanes)]


def _unpacked(word: bytes, packing: int) -> list[bytes]:
    """The rows that a word holds, each weight a byte."""
    bits = 8 >> packing
    fields = [[byte >> at & (1 << bits) - 1 for byte in word] for at in range(0, 8, bits)]
    return [bytes((x - (x >> bits - 1 << bits)) & 0xFF for x in row) for row in fields]


def _bytes(count: int) -> bytes:
    return bytes(random.choice((0, 127, 128, 255, random.randrange(256))) for _ in range(count))


@bench(20_000)
async def tiles_and_vectors_overlap(dut: Any) -> None:
    start_clock(dut)
    lanes, cols = value(dut.Lanes), len(dut.fill_i) // 8
    delay = 2 + (lanes - 1).bit_length()
    coming: list[bytes] = []
    columns, packing = False, 0
    tile: list[bytes] | None = None
    due: dict[int, int] = {}
    checked = 0
    for cycle in range(4000):
        full = len(coming) == lanes >> packing
        swap = full and random.random() < 0.3
        valid = swap or (tile is not None and random.random() < 0.7)
        fill = (not full or swap) and random.random() < 0.8
        row, vector, signed = _bytes(cols), _bytes(lanes), random.random() < 0.5
        begins = swap or not coming
        by_columns = random.random() < 0.5 if begins else columns
        dut.fill_columns_i.value = int(by_columns) if fill else random.getrandbits(1)
        packed = 0 if by_columns else random.randrange(3) if begins else packing
        dut.fill_packing_i.value = packed if fill else random.randrange(3)
        dut.fill_index_i.value = 0 if begins else len(coming) % lanes
        dut.fill_valid_i.value, dut.fill_i.value = int(fill), int.from_bytes(row, "little")
        dut.vector_valid_i.value, dut.vector_swap_i.value = (
            int(valid),
            int(swap) if valid else random.getrandbits(1),
        )
        dut.vector_signed_i.value = int(signed)
        dut.vector_i.value = int.from_bytes(vector, "little")
        await RisingEdge(dut.clk_i)
        if cycle in due:
            assert value(dut.sums_o) == due.pop(cycle)
            checked += 1
        if swap:
            rows = [row for word in coming for row in _unpacked(word, packing)]
            tile, coming = _by_rows(coming) if columns else rows, []
        if valid and tile is not None:
            due[cycle + delay] = _sums(tile, vector, signed)
        if fill:
            coming, columns, packing = [*coming, row], by_columns, packed
    assert checked > 1000
