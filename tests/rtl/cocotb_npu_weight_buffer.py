"""npu_weight_buffer: array, vector, window and load at once; priorities, latency to the cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

READERS = ("vr", "gr")


class Model:
    """The buffer's words and the reads under way; checks one cycle after another."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.groups = value(dut.Groups)
        self._bits = len(dut.lw_data_i)
        self.words = [0] * value(dut.WeightWords)
        self._fills: deque[int | None] = deque([None, None])
        self._reads = {name: deque[int | None]([None, None]) for name in READERS}

    def row(self, at: int) -> int:
        """Row `at` of all slices."""
        words = self.words[at * self.groups : (at + 1) * self.groups]
        return sum(word << self._bits * g for g, word in enumerate(words))

    async def cycle(
        self, fill: int | None, vector: int | None, window: int | None, write: int | None
    ) -> bool:
        """One cycle with a row for the array, two reads and a write; whether that was taken."""
        dut, data = self._dut, random.getrandbits(self._bits)
        asked = {"vr": vector, "gr": window, "lw": write}
        for name, at in asked.items():
            getattr(dut, f"{name}_valid_i").value = int(at is not None)
            getattr(dut, f"{name}_addr_i").value = at or 0
        dut.lw_data_i.value = data
        dut.f_en_i.value, dut.f_row_i.value = int(fill is not None), fill or 0
        await RisingEdge(dut.clk_i)
        row = self._fills.popleft()
        assert row in (None, value(dut.f_data_o))
        self._fills.append(None if fill is None else self.row(fill))
        free = self._free(asked)
        for name, reads in self._reads.items():
            word, at = reads.popleft(), asked[name]
            assert value(getattr(dut, f"{name}_data_valid_o")) == (word is not None)
            assert word in (None, value(getattr(dut, f"{name}_data_o")))
            reads.append(None if at is None or not free[name] else self.words[at])
        if write is None or not free["lw"]:
            return False
        self.words[write] = data
        return True

    def _free(self, asked: dict[str, int | None]) -> dict[str, bool]:
        """Which clients may have their slice, after those before them."""
        free, taken = {}, set[int]()
        for name, at in asked.items():
            free[name] = (at or 0) % self.groups not in taken
            assert value(getattr(self._dut, f"{name}_ready_o")) == free[name]
            if at is not None:
                taken.add(at % self.groups)
        return free


async def _fill(model: Model) -> None:
    for at in range(len(model.words)):
        assert await model.cycle(None, None, None, at)


def _some(limit: int, chance: float) -> int | None:
    return random.randrange(limit) if random.random() < chance else None


@bench(20_000)
async def four_clients_at_once(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    await _fill(model)
    words = len(model.words)
    for chance in (0.3, 0.7, 1.0):
        for _ in range(1200):
            write = _some(words, chance)
            fill = _some(words // model.groups, chance)
            clash = write is not None and fill == write // model.groups
            reads = _some(words, chance), _some(words, chance)
            await model.cycle(None if clash else fill, *reads, write)


@bench(5_000)
async def every_row_and_word(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    await _fill(model)
    for at in range(len(model.words)):
        await model.cycle(at // model.groups, at, None, None)
        await model.cycle(None, None, at, None)
    for _ in range(3):
        await model.cycle(None, None, None, None)


@bench(2_000)
async def a_reset_drops_the_reads(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    await _fill(model)
    for _ in range(5):
        await model.cycle(0, 3, None, None)
        await model.cycle(1, 2, 3 - model.groups % 2, None)
        dut.vr_valid_i.value = dut.gr_valid_i.value = dut.f_en_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        assert [value(getattr(dut, f"{name}_data_valid_o")) for name in READERS] == [0, 0]
        kept, model = model.words, Model(dut)
        model.words = kept
