"""npu_standard: elements at any spacing, their records later, against the norm's formula."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value

DELAY, RECORD_DELAY = 13, 7


@dataclass(frozen=True, slots=True)
class Case:
    """An element with what its row and its feature give it."""

    element: int
    total: int
    root: int
    shift: int
    bias: int
    multiplier: int
    places: int

    def result(self, count: int, lo: int, hi: int) -> int:
        """The 16 bits that come out."""
        centred = count * self.element - self.total
        standard = (centred * self.root + (1 << self.shift - 1)) >> self.shift
        made = (standard * self.multiplier + self.bias) >> self.places
        return max(lo, min(hi, made)) & 0xFFFF

    @property
    def record(self) -> int:
        """The 12 bytes of its feature."""
        bias, multiplier = self.bias & (1 << 48) - 1, self.multiplier & (1 << 24) - 1
        return bias | multiplier << 48 | self.places << 88


def _case(count: int) -> Case:
    """A case whose z is small enough for sqrt(count), as those of real rows are."""
    largest = random.choice((1, 100, 0x7FFF))
    element, mean = random.randint(-largest, largest), random.randint(-largest, largest)
    total = count * mean + random.randrange(count)
    root = random.randrange(1 << 24, (1 << 25) + 2)
    reach = abs(count * element - total) * root
    least = max(5, reach.bit_length() - 20 - (count.bit_length() + 1) // 2)
    shift = random.randint(min(least, 35), 35)
    bias = random.randrange(-(1 << 40), 1 << 40)
    multiplier = random.choice((0, -(1 << 16), (1 << 16) - 1, random.randrange(-65536, 65536)))
    return Case(element, total, root, shift, bias, multiplier, random.randint(1, 36))


@bench(20_000)
async def results_follow_their_elements(dut: Any) -> None:
    start_clock(dut)
    for count in (1, 3, 48, 384, 4096):
        bits = random.choice((8, 16))
        lo, hi = random.choice(((-(1 << bits - 1), (1 << bits - 1) - 1), (0, (1 << bits - 1) - 1)))
        dut.count_i.value, dut.lo_i.value, dut.hi_i.value = count, lo & 0xFFFF, hi
        records: deque[int] = deque([0] * RECORD_DELAY)
        due: deque[int | None] = deque([None] * DELAY)
        for _ in range(2000):
            case = _case(count)
            dut.element_i.value, dut.sum_i.value = (
                case.element & 0x1FFFF,
                case.total & (1 << 33) - 1,
            )
            dut.root_i.value, dut.shift_i.value = case.root, case.shift
            records.append(case.record)
            dut.record_i.value = records.popleft()
            await RisingEdge(dut.clk_i)
            wanted = due.popleft()
            assert wanted is None or value(dut.result_o) == wanted
            due.append(case.result(count, lo, hi))
