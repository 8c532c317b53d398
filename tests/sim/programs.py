"""Programs written as lists of instructions, for tests of the interpreter and the simulator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Instruction, encode
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
