"""Programs written as lists of instructions, for tests of the interpreter and the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, Unit, encode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.program import LayerInfo, Program

SMALL = NpuDesign(
    rows=4,
    cols=8,
    lanes=4,
    vector_lanes=4,
    activation_buffer_kib=1,
    weight_buffer_kib=1,
    accumulator_buffer_kib=1,
    memory_bytes_per_cycle=4,
    memory_latency_cycles=10,
    name="small",
)
"""4 x 8 multipliers, 256 words in each scratchpad, 16 accumulator words a half."""


def make(
    instructions: Sequence[Instruction],
    design: NpuDesign = SMALL,
    image: np.ndarray | None = None,
    tensors: Sequence[TensorLayout] = (),
    inputs: Sequence[str] = (),
    macs: Mapping[int, int] | None = None,
    memory_bytes: int = 1 << 16,
) -> Program:
    """A program of layers `layer 0`, `layer 1` … with its constants (`image`) at address 0."""
    constants = np.zeros(0, np.uint8) if image is None else image
    layers = 1 + max((item.layer for item in instructions), default=0)
    return Program(
        design=design,
        workload_name="made",
        instructions=encode(instructions),
        image=constants,
        program_address=-(-constants.size // 4096) * 4096,
        regions={},
        tensors={layout.name: layout for layout in tensors},
        inputs=tuple(inputs),
        outputs=(),
        layers=tuple(
            LayerInfo(k, f"layer {k}", "Conv2d", (macs or {}).get(k, 0)) for k in range(layers)
        ),
        memory_bytes=memory_bytes,
    )


def marked(instructions: Sequence[Instruction]) -> tuple[Instruction, ...]:
    """Every instruction as a layer of its own, so that each retirement leaves a mark."""
    return tuple(replace(item, layer=k, mark=True) for k, item in enumerate(instructions))


LINE = {"planes": 1, "rows": 1, "contiguous": 1}
"""Fields of a box of one row."""


def double_buffered(design: NpuDesign, steps: int) -> Program:
    """Load, convolve, drain and store, overlapped by two of every buffer."""
    load, array, vector, store, _ = Unit
    y, x, blocks = 3, 5, 3
    words = design.word_bytes
    tile_words = blocks * design.rows * design.groups
    half = design.accumulator_words
    items = []
    for step in range(steps):
        side, later = step % 2, step > 1
        weights, inputs, output = side * 60, side * 100, 60 + side * 100
        activation = {
            "memory_address": 8192, "planes": blocks, "rows": y, "words": x, "contiguous": 1,
            "memory_plane_stride": y * x * words, "local_address": inputs,
            "local_plane_stride": y * x, "local_row_stride": x,
        }  # fmt: skip
        constants = {**LINE, "buffer": Buffer.WEIGHT, "words": tile_words + 12}
        tile = {
            "blocks": blocks, "fy": 1, "fx": 1, "y": y, "x": x, "acc_address": side * half,
            "act_address": inputs * words, "weight_address": weights,
            "block_stride": y * x * words, "y_stride": x * words, "x_stride": words,
        }  # fmt: skip
        requantise = {
            "y": y, "x": x, "source_address": side * half, "output_address": output,
            "output_row_stride": x, "record_address": weights + tile_words, "lo": -128, "hi": 127,
        }  # fmt: skip
        result = {
            "memory_address": 32768 + step * 4096, "planes": 1, "rows": y, "words": x,
            "contiguous": 1, "local_address": output, "local_row_stride": x,
        }  # fmt: skip
        waits = ((array, vector), (vector,), (store,)) if later else ((), (), ())
        items += [
            Instruction(Opcode.LOAD, activation, pop=waits[0]),
            Instruction(Opcode.LOAD, {**constants, "local_address": weights}, push=(array, vector)),
            Instruction(Opcode.COMPUTE, tile, pop=(load, *waits[1]), push=(vector, load)),
            Instruction(
                Opcode.DRAIN,
                requantise,
                pop=(array, load, *waits[2]),
                push=(store, array, load),
            ),
            Instruction(
                Opcode.STORE, result, pop=(vector,), push=(vector,), mark=step == steps - 1
            ),
        ]
    return make(items, design, memory_bytes=1 << 17)
