"""Random DRAINs and windows, and the buffers that they work on."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl.cocotb_bench import value
from tests.rtl.datapath import Records, State

TAPS, TABLE, RECORDS = 0, 64, 200
OUTPUTS = 40
WINDOWS = (Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX)


def setup(dut: Any, seed: int) -> tuple[State, Records]:
    """Buffers of random content, and the records that are among it."""
    rng, lanes = np.random.default_rng(seed), value(dut.Lanes)
    records = Records(
        b=rng.integers(-(1 << 30), 1 << 30, lanes), m=rng.integers(1, 1 << 16, lanes),
        mr=rng.integers(-65535, 65536, lanes), s=rng.integers(8, 30, lanes),
    )  # fmt: skip
    state = State(
        rng.integers(0, 256, (value(dut.ActWords), lanes), dtype=np.uint8),
        rng.integers(0, 256, (value(dut.WeightWords), lanes), dtype=np.uint8),
        rng.integers(
            -(1 << 17), 1 << 17, (2 * _size(dut, "AccWords"), lanes * _size(dut, "Groups"))
        ).astype(np.int32),
    )
    words = records.words()
    state.weights[RECORDS : RECORDS + len(words)] = words
    return state, records


def _size(dut: Any, name: str) -> int:
    """A parameter of the module, 1 where it has none of that name."""
    return value(getattr(dut, name)) if hasattr(dut, name) else 1


def instruction(dut: Any, opcode: Opcode) -> Instruction:
    """One that reads and writes the first words of the activation buffer."""
    fields = {"y": random.randint(1, 3), "x": random.randint(1, 4)}
    fields |= {"window_y": random.randint(1, 3), "window_x": random.randint(1, 3)}
    for name in ("residual", "residual_signed", "input_signed", "table", "output_high"):
        fields[name] = random.getrandbits(1)
    fields |= {"tap_address": TAPS, "table_address": TABLE}
    fields |= {"record_address": RECORDS, "group": random.randrange(_size(dut, "Groups"))}
    fields |= {"output_address": OUTPUTS, "output_row_stride": random.randint(4, 7)}
    fields |= {"residual_address": random.randrange(20), "residual_row_stride": 4}
    fields |= {"lo": random.choice((-128, 0)), "hi": random.choice((100, 127, 255))}
    if opcode is Opcode.DRAIN:
        fields |= {"residual_wide": random.getrandbits(1)}
        fields |= {"residual_high_offset": random.randrange(8)}
        return Instruction(opcode, fields | {"source_address": random.randrange(16)})
    fields |= {"source_address": random.randrange(10), "source_y_stride": 3, "source_x_stride": 2}
    fields |= {"window_y_stride": 5, "window_x_stride": 2}
    if random.random() < 0.2:
        fields |= {"window_y": random.randint(4, 8), "window_x": random.randint(4, 8), "y": 1}
        fields |= {"window_y_stride": 1, "window_x_stride": 1}
    return Instruction(opcode, fields)
