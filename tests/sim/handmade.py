"""A network of two layers and its program, written down by hand: a convolution and a max pool.

It needs no mapper, so it tests hardware and simulators by themselves.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import Conv2d, ElementType, Pool, Requantise, Tensor, Workload
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import RECORD_WORDS, Buffer, Instruction, Opcode, Unit, encode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.program import LayerInfo, Program, Region

DESIGN = NpuDesign(
    rows=4,
    cols=4,
    lanes=4,
    vector_lanes=4,
    activation_buffer_kib=1,
    weight_buffer_kib=1,
    accumulator_buffer_kib=1,
    memory_bytes_per_cycle=4,
    memory_latency_cycles=8,
    name="small",
)
SIZE = 5
POOLED = 2
KERNEL = 3
SHIFT = 12


def workload(design: NpuDesign = DESIGN, seed: int = 0) -> Workload:
    """Convolution of 3x3, padded by 1, then a max pool of 2x2; one channel less than lanes."""
    channels = design.lanes - 1
    generator = np.random.default_rng(seed)
    constants = {
        "weight": generator.integers(-127, 128, (channels, channels, KERNEL, KERNEL)),
        "multiplier": generator.integers(5, 30, channels),
        "shift": np.full(channels, SHIFT),
        "bias": generator.integers(-(1 << 16), 1 << 16, channels),
    }
    types = {
        "weight": ElementType(8),
        "multiplier": ElementType(16, "unsigned"),
        "shift": ElementType(6, "unsigned"),
        "bias": ElementType(48),
    }
    tensors = [
        Tensor("x", (1, channels, SIZE, SIZE), ElementType(8)),
        Tensor("conv", (1, channels, SIZE, SIZE), ElementType(8)),
        Tensor("pool", (1, channels, POOLED, POOLED), ElementType(8)),
        *(Tensor(name, array.shape, types[name]) for name, array in constants.items()),
    ]
    epilogue = Requantise("multiplier", "shift", "bias", -128, 127)
    convolution = Conv2d("conv", "x", "weight", "conv", (1, 1), (1, 1, 1, 1), (1, 1), 1, epilogue)
    pool = Pool("pool", "max", "conv", "pool", (2, 2), (2, 2), (0, 0, 0, 0), None)
    return Workload(
        "handmade",
        ("x",),
        ("pool",),
        (convolution, pool),
        {tensor.name: tensor for tensor in tensors},
        constants,
    )


def program(design: NpuDesign = DESIGN, seed: int = 0) -> Program:
    """The program of `workload(design, seed)`."""
    image = constants_image(workload(design, seed), design.lanes)
    lanes = design.lanes
    count = 7
    layouts, regions, end = [], {"constants": Region(0, image.size)}, 1024 + 64 * count
    regions["program"] = Region(1024, 64 * count)
    for name, size in (("x", SIZE), ("conv", SIZE), ("pool", POOLED)):
        shape = (1, lanes - 1, size, size)
        layout = TensorLayout(name, shape, shape[1:], "blocked", end, lanes, signed=True)
        layouts.append(layout)
        regions[f"tensor {name}"] = Region(end, layout.bytes)
        end = -(-(end + layout.bytes) // 64) * 64
    items = instructions(design, {layout.name: layout for layout in layouts}, image.size)
    macs = (lanes - 1) ** 2 * (SIZE * KERNEL) ** 2
    return Program(
        design=design,
        workload_name="handmade",
        instructions=encode(items),
        image=image,
        program_address=1024,
        regions=regions,
        tensors={layout.name: layout for layout in layouts},
        inputs=("x",),
        outputs=("pool",),
        layers=(LayerInfo(0, "conv", "Conv2d", macs), LayerInfo(1, "pool", "Pool", 0)),
        memory_bytes=end,
    )


def constants_image(made: Workload, lanes: int) -> NDArray[np.uint8]:
    """Weight tiles (fy, fx; row after row), the convolution's records, the pool's records."""
    weight = made.constants["weight"]
    channels = len(weight)
    tiles = np.zeros((KERNEL, KERNEL, lanes, lanes), np.int8)
    tiles[:, :, :channels, :channels] = weight.transpose(2, 3, 1, 0)
    own = (made.constants[name] for name in ("multiplier", "shift", "bias"))
    identity = (np.full(channels, 2), np.ones(channels, int), np.zeros(channels, int))
    return np.concatenate(
        [tiles.reshape(-1).view(np.uint8), records(lanes, *own), records(lanes, *identity)]
    )


def records(
    lanes: int, multiplier: NDArray[np.int64], shift: NDArray[np.int64], bias: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """Twelve words: byte i of every lane's record in word i; a lane without a channel gives 0."""
    words = [bias >> 8 * i for i in range(6)]
    words += [multiplier >> 8 * i for i in range(3)]
    words += [np.zeros_like(bias)] * 2 + [shift]
    padded = np.zeros((12, lanes), np.uint8)
    padded[:, : len(bias)] = np.stack(words) & 0xFF
    padded[11, len(bias) :] = 1
    return padded.reshape(-1)


def instructions(
    design: NpuDesign, layouts: dict[str, TensorLayout], image_bytes: int
) -> tuple[Instruction, ...]:
    """Load constants and input, convolve, requantise, store, pool, store."""
    output, pooled = (SIZE + 2) ** 2, (SIZE + 2) ** 2 + SIZE**2
    return (
        *_loads(layouts["x"], image_bytes // design.lanes),
        *_convolution(design, output),
        _store(layouts["conv"], output, SIZE, Unit.VECTOR, layer=0),
        _pool(design, output, pooled),
        _store(layouts["pool"], pooled, POOLED, Unit.WINDOW, layer=1),
    )


def _loads(layout: TensorLayout, constant_words: int) -> tuple[Instruction, ...]:
    """The constants, and the input with a border of zeros."""
    constants = {
        "buffer": Buffer.WEIGHT, "contiguous": 1, "planes": 1, "rows": 1, "words": constant_words,
    }  # fmt: skip
    activations = {
        "buffer": Buffer.ACTIVATION, "contiguous": 1, "memory_address": layout.address,
        "planes": 1, "rows": SIZE, "words": SIZE, "local_row_stride": SIZE + 2,
        "pad_top": 1, "pad_bottom": 1, "pad_left": 1, "pad_right": 1,
    }  # fmt: skip
    return (
        Instruction(Opcode.LOAD, constants, push=(Unit.VECTOR,)),
        Instruction(Opcode.LOAD, activations, push=(Unit.COMPUTE,)),
    )


def _convolution(design: NpuDesign, output: int) -> tuple[Instruction, ...]:
    """The array's sums, and their requantisation to the words from `output` on."""
    row = (SIZE + 2) * design.lanes
    tiles = {
        "input_signed": 1, "blocks": 1, "fy": KERNEL, "fx": KERNEL, "y": SIZE, "x": SIZE,
        "fy_stride": row, "fx_stride": design.lanes, "y_stride": row, "x_stride": design.lanes,
    }  # fmt: skip
    results = {
        "record_address": KERNEL**2 * design.rows, "output_address": output,
        "output_row_stride": SIZE, "y": SIZE, "x": SIZE, "lo": -128, "hi": 127,
    }  # fmt: skip
    sources, users = (Unit.LOAD, Unit.COMPUTE), (Unit.STORE, Unit.WINDOW)
    return (
        Instruction(Opcode.COMPUTE, tiles, pop=(Unit.LOAD,), push=(Unit.VECTOR,)),
        Instruction(Opcode.DRAIN, results, pop=sources, push=users),
    )


def _pool(design: NpuDesign, source: int, output: int) -> Instruction:
    """The largest of every 2 x 2 words from `source` on."""
    fields = {
        "input_signed": 1, "source_address": source, "output_address": output,
        "record_address": KERNEL**2 * design.rows + RECORD_WORDS, "output_row_stride": POOLED,
        "y": POOLED, "x": POOLED, "window_y": 2, "window_x": 2, "source_y_stride": 2 * SIZE,
        "source_x_stride": 2, "window_y_stride": SIZE, "window_x_stride": 1, "lo": -128, "hi": 127,
    }  # fmt: skip
    pop, push = (Unit.VECTOR,), (Unit.STORE,)
    return Instruction(Opcode.WINDOW_MAX, fields, pop, push, layer=1)


def _store(layout: TensorLayout, local: int, size: int, maker: Unit, layer: int) -> Instruction:
    """All words of a tensor, with which a layer ends."""
    fields = {
        "contiguous": 1, "memory_address": layout.address, "planes": 1, "rows": size,
        "words": size, "local_address": local, "local_row_stride": size,
    }  # fmt: skip
    return Instruction(Opcode.STORE, fields, pop=(maker,), layer=layer, mark=True)
