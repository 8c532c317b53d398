"""npu_power: powers of every distance and exponent against the numerics, a new one each cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.compiler.numerics.softmax import exponential
from tests.rtl.cocotb_bench import bench, start_clock, value

DELAY = 11
DISTANCES = (0, 1, 2, 255, 256, 0x7FFF, 0xFFFF)


def _distance() -> int:
    return random.choice((random.choice(DISTANCES), random.randrange(1 << random.randint(1, 16))))


@bench(40_000)
async def powers_follow_their_distances(dut: Any) -> None:
    start_clock(dut)
    for shift in (*range(1, 41), 1, 40):
        multiplier = random.choice((1, (1 << 24) - 1, random.randrange(1 << 23, 1 << 24)))
        dut.multiplier_i.value, dut.shift_i.value = multiplier, shift
        due: deque[int | None] = deque([None] * DELAY)
        for _ in range(300):
            distance, kept = _distance(), random.random() < 0.9
            dut.distance_i.value, dut.kept_i.value = distance, int(kept)
            await RisingEdge(dut.clk_i)
            wanted = due.popleft()
            assert wanted is None or value(dut.power_o) == wanted
            power = int(exponential(np.array(distance), multiplier, shift))
            due.append(power if kept else 0)
