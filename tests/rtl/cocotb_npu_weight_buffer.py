"""npu_weight_buffer: array, vector unit and load at once; priorities and latency to the cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, clock, reset, value


class Model:
    """The buffer's words and the reads under way; checks one cycle after another."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.groups = value(dut.Groups)
        self._bits = len(dut.lw_data_i)
        self.words = [0] * value(dut.WeightWords)
        self._fills: deque[int | None] = deque([None, None])
        self._reads: deque[int | None] = deque([None, None])

    def row(self, at: int) -> int:
        """Row `at` of all slices."""
        words = self.words[at * self.groups : (at + 1) * self.groups]
        return sum(word << self._bits * g for g, word in enumerate(words))

    async def cycle(self, fill: int | None, read: int | None, write: int | None) -> bool:
        """One cycle with a row for the array, a read and a write; whether the write was taken."""
        dut, data = self._dut, random.getrandbits(self._bits)
        for name, at in (("vr", read), ("lw", write)):
            getattr(dut, f"{name}_valid_i").value = int(at is not None)
            getattr(dut, f"{name}_addr_i").value = at or 0
        dut.lw_data_i.value = data
        dut.f_en_i.value, dut.f_row_i.value = int(fill is not None), fill or 0
        await RisingEdge(dut.clk_i)
        row, word = self._fills.popleft(), self._reads.popleft()
        assert row in (None, value(dut.f_data_o))
        assert value(dut.vr_data_valid_o) == (word is not None)
        assert word in (None, value(dut.vr_data_o))
        assert value(dut.vr_ready_o)
        free = read is None or (read - (write or 0)) % self.groups != 0
        assert value(dut.lw_ready_o) == free
        self._fills.append(None if fill is None else self.row(fill))
        self._reads.append(None if read is None else self.words[read])
        if write is None or not free:
            return False
        self.words[write] = data
        return True


async def _fill(model: Model) -> None:
    for at in range(len(model.words)):
        assert await model.cycle(None, None, at)


def _some(limit: int, chance: float) -> int | None:
    return random.randrange(limit) if random.random() < chance else None


@bench(20_000)
async def three_clients_at_once(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    await _fill(model)
    words = len(model.words)
    for chance in (0.3, 0.7, 1.0):
        for _ in range(1200):
            write = _some(words, chance)
            fill = _some(words // model.groups, chance)
            clash = write is not None and fill == write // model.groups
            await model.cycle(None if clash else fill, _some(words, chance), write)


@bench(5_000)
async def every_row_and_word(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    await _fill(model)
    for at in range(len(model.words)):
        await model.cycle(at // model.groups, at, None)
    for _ in range(3):
        await model.cycle(None, None, None)


@bench(2_000)
async def a_reset_drops_the_reads(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    await _fill(model)
    for _ in range(5):
        await model.cycle(0, 3, None)
        await model.cycle(1, 2, None)
        dut.vr_valid_i.value = dut.f_en_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        assert value(dut.vr_data_valid_o) == 0
        kept, model = model.words, Model(dut)
        model.words = kept
