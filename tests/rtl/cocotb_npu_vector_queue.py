"""npu_vector_queue: instructions of all its engines in turn, each on what those before it left."""

from __future__ import annotations

import random
from typing import Any

import cocotb
import numpy as np

from intaglio.compiler import numerics
from intaglio.compiler.tensor import ElementType
from intaglio.templates.npu.isa import RECORD_WORDS, Instruction, Opcode
from tests.rtl import rows
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.datapath import State, vector
from tests.rtl.vector_buffers import Buffers, driver
from tests.rtl.vector_items import OUTPUTS, RECORDS, instruction, setup

NORM_RECORDS = RECORDS + RECORD_WORDS
"""Words of the weight buffer behind the records of the other instructions."""

ROOM = 12
"""Words that rows reach over."""


def _places() -> dict[str, int]:
    """Rows of two blocks among what other instructions write, and results beside them."""
    source, output = random.sample((OUTPUTS + random.randrange(3), OUTPUTS + ROOM), 2)
    return {
        "input_signed": random.getrandbits(1), "blocks": 2, "rows": random.randint(1, 3),
        "source_address": source, "source_block_stride": 5, "source_row_stride": 1,
        "output_address": output, "output_block_stride": 4, "output_row_stride": 1,
    }  # fmt: skip


class Queue:
    """A program, the buffers it meets, and what it makes of them."""

    def __init__(self, dut: Any, seed: int) -> None:
        self.state, self._records = setup(dut, seed)
        self._lanes = value(dut.Lanes)
        features, rng = 2 * self._lanes, np.random.default_rng(seed)
        self._norm = numerics.choose_norm(
            "norm", 0.05, ElementType(8), features, 1e-5,
            rng.normal(size=features), rng.normal(size=features), 0.05,
        )  # fmt: skip
        words = rows.record_words(self._norm_records, self._lanes)
        self.state.weights[NORM_RECORDS : NORM_RECORDS + len(words)] = words

    @property
    def _norm_records(self) -> dict[str, np.ndarray]:
        chosen = self._norm
        return {
            "multiplier": chosen.multiplier,
            "shift": chosen.shift,
            "bias": chosen.bias,
        }

    def draw(self, dut: Any) -> Instruction:
        """An instruction of one of the engines."""
        features = 2 * self._lanes
        match random.randrange(4):
            case 0:
                own = {"largest": 255, "entries": features - 1, "multiplier": 9 << 16, "shift": 8}
                return Instruction(Opcode.SOFTMAX, _places() | own)
            case 1:
                own = {
                    "count": features, "centred": random.getrandbits(1), "lo": -128, "hi": 127,
                    "epsilon_low": self._norm.epsilon & 0xFFFFFFFF,
                    "epsilon_high": self._norm.epsilon >> 32,
                    "fraction": self._norm.fraction, "record_address": NORM_RECORDS,
                }  # fmt: skip
                return Instruction(Opcode.NORM, _places() | own | {"input_signed": 1})
            case _:
                return instruction(dut, Opcode.DRAIN)

    def execute(self, item: Instruction) -> None:
        """Apply an instruction to the buffers."""
        match item.opcode:
            case Opcode.SOFTMAX:
                rows.softmax(self.state.activations, item)
            case Opcode.NORM:
                rows.norm(self.state.activations, item, self._norm_records)
            case _:
                vector(self.state, item, self._records)


def _buffer(dut: Any, state: State, ease: float) -> Buffers:
    return Buffers(dut, state.activations, ease, state.weights, state.sums)


async def _check(dut: Any, seed: int, ease: float, count: int) -> None:
    queue = Queue(dut, seed)
    buffer = _buffer(dut, queue.state, ease)
    program = [queue.draw(dut) for _ in range(count)]
    await driver(dut).send([{"instr_i": encoded(item)} for item in program])
    await wait_for(dut, lambda: buffer.retired >= count)
    buffer.stop()
    for item in program:
        queue.execute(item)
    np.testing.assert_array_equal(buffer.activations, queue.state.activations)
    words = [item["rows"] * item["blocks"] or item["y"] * item["x"] for item in program]
    assert (buffer.writes, buffer.retired) == (sum(words), count)
    assert value(dut.busy_o) == 0


@bench(60_000)
async def engines_take_turns(dut: Any) -> None:
    await begin(dut)
    for seed, ease in enumerate((1.0, 0.7, 0.3)):
        await _check(dut, seed, ease, 24)


@bench(60_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for seed in range(12):
        queue = Queue(dut, seed)
        buffer = _buffer(dut, queue.state, 0.8)
        items = [{"instr_i": encoded(queue.draw(dut))} for _ in range(4)]
        task = cocotb.start_soon(driver(dut).send(items))
        await clock(dut, random.randrange(4, 300))
        task.cancel()
        buffer.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "wr_valid_o", "vr_valid_o", "vw_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        await _check(dut, seed, 0.8, 2)
