"""npu_row_words: the elements of rows of every kind, their cycles, stalls and resets."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

PLACES = ("source", "block_stride", "high_offset", "mask_source", "mask_stride")


@dataclass(frozen=True, slots=True)
class Row:
    """A row to read; `places` are addresses and strides in the order of `PLACES`."""

    signed: int
    wide: int
    mask: int
    blocks: int
    entries: int
    places: tuple[int, ...]

    def elements(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Numbers and whether each counts, both of shape (blocks * lanes,)."""
        source, stride, high, mask_source, mask_stride = self.places
        at = (source + np.arange(self.blocks) * stride) % len(words)
        numbers, bits = words[at].astype(np.int64).reshape(-1), 8
        if self.wide:
            numbers |= words[(at + high) % len(words)].astype(np.int64).reshape(-1) << 8
            bits = 16
        if self.signed:
            numbers -= numbers >> (bits - 1) << bits
        kept = np.arange(len(numbers)) < self.entries
        if self.mask:
            flags = (mask_source + np.arange(self.blocks) * mask_stride) % len(words)
            kept &= (words[flags].reshape(-1) & 1).astype(bool)
        return numbers, kept


def _row(dut: Any) -> Row:
    words, blocks = value(dut.ActWords), random.randint(1, 5)
    signed, wide, mask = (random.getrandbits(1) for _ in range(3))
    entries = random.randint(1, blocks * value(dut.Lanes))
    places = tuple(random.randrange(words) for _ in PLACES)
    return Row(signed, wide, mask, blocks, entries, places)


def _set(dut: Any, row: Row) -> None:
    for name in ("signed", "wide", "mask", "blocks", "entries"):
        getattr(dut, f"{name}_i").value = getattr(row, name)
    for name, place in zip(PLACES, row.places, strict=True):
        getattr(dut, f"{name}_i").value = place


@dataclass(frozen=True, slots=True)
class Slice:
    """What comes in one cycle, counted from the start."""

    cycle: int
    elements: int
    kept: int
    block_last: int
    row_last: int


async def _read(dut: Any, row: Row, words: np.ndarray, ease: float) -> list[Slice]:
    """Every slice of `row`."""
    _set(dut, row)
    due: deque[int | None] = deque([None, None])
    found: list[Slice] = []
    dut.start_i.value = 1
    for cycle in range(500):
        word = due.popleft()
        dut.vr_data_valid_i.value = int(word is not None)
        dut.vr_data_i.value = random.getrandbits(8 * value(dut.Lanes)) if word is None else word
        dut.vr_ready_i.value = int(random.random() < ease)
        await RisingEdge(dut.clk_i)
        dut.start_i.value = 0
        taken = value(dut.vr_valid_o) and value(dut.vr_ready_i)
        data = words[value(dut.vr_addr_o)].tobytes()
        due.append(int.from_bytes(data, "little") if taken else None)
        if value(dut.slice_valid_o):
            outputs = ("elements_o", "kept_o", "block_last_o", "row_last_o")
            found.append(Slice(cycle, *(value(getattr(dut, name)) for name in outputs)))
            if found[-1].row_last:
                break
    return found


async def _check(dut: Any, words: np.ndarray, ease: float) -> None:
    row, lanes, pipes = _row(dut), value(dut.Lanes), value(dut.Pipes)
    found = await _read(dut, row, words, ease)
    numbers, kept = row.elements(words)
    slices, reads = lanes // pipes, 1 + row.wide + row.mask
    period = max(reads, slices)
    assert len(found) == row.blocks * slices
    for at, seen in enumerate(found):
        own = slice(at * pipes, (at + 1) * pipes)
        wanted = sum((int(x) & 0x1FFFF) << 17 * p for p, x in enumerate(numbers[own]))
        assert seen.elements == wanted, (row, at)
        assert seen.kept == sum(int(x) << p for p, x in enumerate(kept[own])), (row, at)
        block, part = divmod(at, slices)
        assert seen.block_last == (part == slices - 1)
        assert seen.row_last == (at == len(found) - 1)
        if ease == 1:
            assert seen.cycle == 3 + reads + block * period + part, (row, at)


@bench(60_000)
async def rows_of_every_kind(dut: Any) -> None:
    await begin(dut)
    shape = value(dut.ActWords), value(dut.Lanes)
    words = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for index in range(300):
        await _check(dut, words, (1.0, 0.6, 0.3)[index % 3])


@bench(10_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    shape = value(dut.ActWords), value(dut.Lanes)
    words = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(30):
        _set(dut, _row(dut))
        dut.start_i.value, dut.vr_ready_i.value = 1, 1
        await clock(dut)
        dut.start_i.value, dut.vr_data_valid_i.value = 0, 0
        await clock(dut, random.randrange(1, 10))
        await reset(dut, 1)
        await clock(dut)
        assert (value(dut.vr_valid_o), value(dut.slice_valid_o)) == (0, 0)
        await _check(dut, words, 1.0)
