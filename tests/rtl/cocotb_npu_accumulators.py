"""npu_accumulators: one read-modify-write a cycle beside reads of the other half."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

SETTLE = 4
WORD = (1 << 32) - 1


class Model:
    """Words of sums, what is under way, and when each word was last accumulated."""

    def __init__(self, dut: Any) -> None:
        self._dut = dut
        self.cols = len(dut.acc_sums_i) // 32
        self.half = value(dut.AccWords)
        self.words: dict[int, list[int]] = {}
        self.busy: dict[int, int] = {}
        self.now = 0
        self._sums: deque[list[int]] = deque([[0] * self.cols] * 2)
        self._reads: deque[list[int] | None] = deque([None, None])

    def free(self, at: int) -> bool:
        """Whether word `at` may be accessed now."""
        return self.now - self.busy.get(at, -SETTLE) >= SETTLE

    async def cycle(self, add: int | None, overwrite: bool, read: int | None) -> None:
        """One cycle: accumulates into word `add`, 256 times as often as not, reads word `read`."""
        dut, sums = self._dut, [random.getrandbits(32) for _ in range(self.cols)]
        self._sums.append(sums)
        dut.acc_sums_i.value = _packed(self._sums.popleft())
        dut.acc_valid_i.value, dut.acc_addr_i.value = int(add is not None), add or 0
        dut.acc_overwrite_i.value = int(overwrite)
        high = random.getrandbits(1)
        dut.acc_high_i.value = high
        dut.rd_en_i.value, dut.rd_addr_i.value = int(read is not None), read or 0
        await RisingEdge(dut.clk_i)
        due = self._reads.popleft()
        assert due is None or value(dut.rd_data_o) == _packed(due)
        self._reads.append(None if read is None else self.words[read])
        if add is not None:
            before = [0] * self.cols if overwrite else self.words[add]
            self.words[add] = [
                a + (b << 8 * high) & WORD for a, b in zip(before, sums, strict=True)
            ]
            self.busy[add] = self.now
        self.now += 1


def _packed(sums: list[int]) -> int:
    return sum(number << 32 * at for at, number in enumerate(sums))


@bench(20_000)
async def halves_change_hands(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    for phase in range(30):
        own = phase % 2 * model.half
        for _ in range(80):
            add: int | None = own + random.randrange(model.half)
            if random.random() < 0.1 or not model.free(own + (add or 0) % model.half):
                add = None
            overwrite = add not in model.words or random.random() < 0.3
            read: int | None = (model.half - own) + random.randrange(model.half)
            if read not in model.words or random.random() < 0.2:
                read = None
            await model.cycle(add, overwrite, read)
        for _ in range(SETTLE):
            await model.cycle(None, False, None)
    assert len(model.words) == 2 * model.half


@bench(2_000)
async def reads_see_a_word_four_cycles_later(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    for at in range(2 * model.half):
        await model.cycle(at, True, None)
        for _ in range(SETTLE - 1):
            await model.cycle(None, False, None)
        await model.cycle(None, False, at)
    await model.cycle(None, False, None)
    await model.cycle(None, False, None)


@bench(5_000)
async def a_word_that_was_read_holds(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    for at in range(2 * model.half):
        await model.cycle(at, True, None)
    for _ in range(SETTLE):
        await model.cycle(None, False, None)
    for at in random.sample(range(2 * model.half), 2 * model.half):
        await model.cycle(None, False, at)
        first = at - at % model.half
        for _ in range(6):
            dut.rd_en_i.value, dut.rd_addr_i.value = 0, first + random.randrange(model.half)
            dut.acc_addr_i.value = random.randrange(2 * model.half)
            dut.acc_overwrite_i.value = random.getrandbits(1)
            await RisingEdge(dut.clk_i)
        assert value(dut.rd_data_o) == _packed(model.words[at])
        model = _resumed(dut, model.words)


def _resumed(dut: Any, words: dict[int, list[int]]) -> Model:
    """A model with `words` and nothing under way."""
    model = Model(dut)
    model.words = words
    return model


@bench(2_000)
async def a_reset_drops_what_is_not_written(dut: Any) -> None:
    await begin(dut)
    model = Model(dut)
    for at in range(8):
        await model.cycle(at % model.half, True, None)
    for _ in range(SETTLE):
        await model.cycle(None, False, None)
    before = dict(model.words)
    await model.cycle(2, True, None)
    dut.acc_valid_i.value = 0
    await reset(dut, 1)
    await clock(dut, 6)
    model = Model(dut)
    model.words = before
    await model.cycle(None, False, 2)
    await model.cycle(None, False, None)
    await model.cycle(None, False, None)
