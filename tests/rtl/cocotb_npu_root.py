"""npu_root: deviations of rows of every size and spread, their cycles, and a reset on the way."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from intaglio.compiler.numerics.norm import reciprocal_root
from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

CYCLES = 56


@dataclass(frozen=True, slots=True)
class Row:
    """The sums of `count` elements, and the settings of their norm."""

    count: int
    total: int
    squares: int
    centred: bool
    epsilon: int
    fraction: int

    @property
    def wanted(self) -> tuple[int, int, int]:
        """Sum, root and shift."""
        total = self.total if self.centred else 0
        variance = self.count * self.squares - total * total
        widened = max((variance << self.fraction) + self.epsilon, 1 << self.fraction)
        root, half_shift = reciprocal_root(np.array(widened))
        return total, int(root), 35 - self.fraction // 2 - int(half_shift)


def _row() -> Row:
    """A row whose numbers are as large as its settings allow."""
    count = random.choice((1, 2, 7, 48, 384, 1000, 8192))
    largest = random.choice((1, 100, (1 << 15) - 1))
    centre = random.randint(-largest, largest)
    spread = random.choice((0, 1, largest))
    few = [max(-largest, min(largest, centre + random.randint(-spread, spread))) for _ in range(7)]
    elements = [few[i % 7] for i in range(count)]
    epsilon = random.choice((0, 1, count * count))
    reach = count * count * largest * largest + epsilon + 1
    room = 62 - reach.bit_length()
    fraction = min(room - room % 2, 60)
    return Row(
        count,
        sum(elements),
        sum(x * x for x in elements),
        random.random() < 0.6,
        epsilon << fraction,
        fraction,
    )


async def _start(dut: Any, row: Row) -> None:
    dut.centred_i.value, dut.count_i.value = int(row.centred), row.count
    dut.epsilon_i.value, dut.fraction_i.value = row.epsilon, row.fraction
    dut.sum_i.value, dut.squares_i.value = row.total & (1 << 33) - 1, row.squares
    dut.start_i.value = 1
    await clock(dut)
    dut.start_i.value = 0
    dut.sum_i.value, dut.squares_i.value = random.getrandbits(33), random.getrandbits(48)


async def _check(dut: Any, row: Row) -> None:
    await _start(dut, row)
    for _ in range(CYCLES - 1):
        await clock(dut)
        assert (value(dut.done_o), value(dut.busy_o)) == (0, 1)
    await clock(dut)
    assert (value(dut.done_o), value(dut.busy_o)) == (1, 0)
    total = value(dut.sum_o) - (value(dut.sum_o) >> 32 << 33)
    assert (total, value(dut.root_o), value(dut.shift_o)) == row.wanted, row


@bench(60_000)
async def roots_of_all_rows(dut: Any) -> None:
    await begin(dut)
    for _ in range(400):
        await _check(dut, _row())


@bench(4_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for _ in range(20):
        await _start(dut, _row())
        await clock(dut, random.randrange(1, CYCLES))
        await reset(dut, 1)
        for _ in range(CYCLES + 1):
            await clock(dut)
            assert (value(dut.done_o), value(dut.busy_o)) == (0, 0)
    await _check(dut, _row())
