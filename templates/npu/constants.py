"""Constants of the workload as the bytes that the npu's weight buffer takes.

Weight tiles are `rows x cols` weights of 8, 4 or 2 bits; requantisation records and taps are
words of `lanes` bytes; see docs/npu.md, "Data".  What the hardware computes for a lane or row
beyond the last channel is fixed here: its weights are zero and its record gives the tensor's
filler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import Conv2d, MatMul, Op, Requantise, Workload, epilogues
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import RECORD_WORDS
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.translate import is_rows
from intaglio.templates.npu.work import (
    ArrayShape,
    ArrayWork,
    RowShape,
    RowWork,
    Touch,
    WindowShape,
    WindowWork,
    blocks_of,
)

Bytes = NDArray[np.uint8]
Weights = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Filler:
    """What the lanes beyond the last channel compute: `index` before the table, `value` after."""

    index: int
    value: int


def filler(op: Op, workload: Workload) -> Filler:
    """The lanes beyond the last channel of what `op` makes: 0 wherever the hardware can give it."""
    own = epilogues(op)
    if not own:
        return Filler(0, 0)
    nearest = min(max(0, own[0].lo), own[0].hi)
    if own[0].table is None:
        return Filler(nearest, nearest)
    table = workload.constants.get(own[0].table)
    if table is None:
        return Filler(nearest, 0)
    zeros = [index for index in range(own[0].lo, own[0].hi + 1) if not table[index & 0xFF]]
    index = min(zeros, key=abs, default=nearest)
    return Filler(index, int(table[index & 0xFF]))


def records(op: Op, workload: Workload, channels: int, design: NpuDesign) -> Bytes:
    """Requantisation records of `op`, of shape (blocks, 12, lanes)."""
    lanes = design.lanes
    count = blocks_of(channels, lanes) * lanes
    bias = np.full(count, filler(op, workload).index << 1, np.int64)
    shift = np.ones(count, np.int64)
    multiplier, residual = np.zeros(count, np.int64), np.zeros(count, np.int64)
    multiplier[:channels] = _joined(op, workload, "multiplier", 2)
    shift[:channels] = _joined(op, workload, "shift", 1)
    bias[:channels] = _joined(op, workload, "bias", 0)
    residual[:channels] = _joined(op, workload, "residual_multiplier", 0)
    flags = shift | (residual < 0) << 6
    rows = [bias >> 8 * byte for byte in range(6)]
    rows += [multiplier >> 8 * byte for byte in range(3)]
    rows += [np.abs(residual) >> 8 * byte for byte in range(2)] + [flags]
    packed = (np.stack(rows) & 0xFF).astype(np.uint8)
    return np.ascontiguousarray(packed.reshape(RECORD_WORDS, -1, lanes).transpose(1, 0, 2))


def _joined(op: Op, workload: Workload, field: str, missing: int) -> NDArray[np.int64] | int:
    """One constant of every epilogue of `op`, joined along channels; `missing` without any."""
    names = [getattr(epilogue, field) for epilogue in epilogues(op)]
    if not names or names[0] is None:
        return missing
    return np.concatenate([workload.constants[name].astype(np.int64) for name in names])


def table_bytes(epilogue: Requantise, workload: Workload, design: NpuDesign) -> Bytes:
    """The table of `epilogue` in words of lanes, of shape (256 / lanes, lanes)."""
    if epilogue.table is None:
        return np.zeros((0, design.lanes), np.uint8)
    entries = workload.constants[epilogue.table].astype(np.int64) & 0xFF
    return entries.astype(np.uint8).reshape(-1, design.lanes)


def taps(work: WindowWork, workload: Workload, design: NpuDesign) -> Bytes:
    """Weights of a depthwise convolution, of shape (blocks, taps, lanes); no taps for others."""
    if not isinstance(work.op, Conv2d):
        return np.zeros((work.shape.blocks, 0, design.lanes), np.uint8)
    weight = workload.constants[work.op.weight].astype(np.int8)
    channels = weight.shape[0]
    padded = np.zeros((work.shape.blocks * design.lanes, work.shape.window), np.int8)
    padded[:channels] = weight.reshape(channels, -1)
    blocks = padded.reshape(work.shape.blocks, design.lanes, -1).transpose(0, 2, 1)
    return np.ascontiguousarray(blocks).view(np.uint8)


def window_constants(
    work: WindowWork, workload: Workload, design: NpuDesign, channels: int
) -> Bytes:
    """Taps, then records, of every channel block: shape (blocks, taps + 12, lanes)."""
    own = records(work.op, workload, channels, design)
    return np.concatenate([taps(work, workload, design), own], axis=1)


def array_constants(
    work: ArrayWork, workload: Workload, layouts: dict[str, TensorLayout], design: NpuDesign
) -> tuple[Bytes, ...]:
    """For every output block, its weight tiles in order, then its records, as words of lanes.

    Of a product of activations, the records of the blocks of one head.
    """
    own = records(work.op, workload, work.shape.outputs, design)
    result = []
    for index in range(blocks_of(work.shape.outputs, design.cols)):
        tiles = [
            _packed(_tiles(work, workload, layouts, design, index, touch), work.shape.weight_bits)
            for touch in _stored(work.shape)[index]
        ]
        block = np.zeros((design.groups, RECORD_WORDS, design.lanes), np.uint8)
        part = own[index * design.groups : (index + 1) * design.groups]
        block[: len(part)] = part
        result.append(np.concatenate([*tiles, block.reshape(-1)]).reshape(-1, design.lanes))
    return tuple(result)


def array_constant_bytes(shape: ArrayShape, design: NpuDesign) -> tuple[int, ...]:
    """Bytes of every piece that `array_constants` makes."""
    tile = design.tile_rows(shape.weight_bits) * design.cols
    records = RECORD_WORDS * design.cols
    blocks = _stored(shape)[: blocks_of(shape.outputs, design.cols)]
    return tuple(
        sum(shape.tiles(touch) for touch in touched) * tile + records for touched in blocks
    )


def _stored(shape: ArrayShape) -> tuple[tuple[Touch, ...], ...]:
    """For every output block, the input blocks whose weights are constants."""
    return ((),) * len(shape.touched) if shape.filled else shape.touched


def window_constant_bytes(shape: WindowShape, design: NpuDesign) -> int:
    """Bytes of what `window_constants` makes."""
    taps = shape.window if shape.taps else 0
    return shape.blocks * (taps + RECORD_WORDS) * design.lanes


def row_constants(work: RowWork, workload: Workload, design: NpuDesign) -> tuple[Bytes, ...]:
    """The records of a norm; nothing for a softmax."""
    return (records(work.op, workload, work.features, design),) if work.shape.norm else ()


def row_constant_bytes(shape: RowShape, design: NpuDesign) -> tuple[int, ...]:
    """Bytes of every piece that `row_constants` makes."""
    return (shape.blocks * RECORD_WORDS * design.lanes,) if shape.norm else ()


def _packed(tiles: Weights, bits: int) -> Bytes:
    """Tiles (..., rows, cols) of weights of `bits` bits as the bytes of the weight buffer.

    A byte holds `8 / bits` rows of its column, the first one lowest.
    """
    share = 8 // bits
    parts = tiles.reshape(-1, share, tiles.shape[-1]).view(np.uint8) & (1 << bits) - 1
    shifts = bits * np.arange(share, dtype=np.uint8)[:, None]
    packed: Bytes = np.bitwise_or.reduce(parts << shifts, axis=1)
    return packed.reshape(-1)


def _tiles(
    work: ArrayWork,
    workload: Workload,
    layouts: dict[str, TensorLayout],
    design: NpuDesign,
    index: int,
    touch: Touch,
) -> Weights:
    """Weight tiles of output block `index` over `touch`: (block, fy, column, row, col)."""
    first = index * design.cols
    outputs = min(design.cols, work.shape.outputs - first)
    if isinstance(work.op, Conv2d | MatMul):
        dense = _dense(work.op, workload, layouts[work.op.input], design, first, outputs, touch)
    else:
        dense = _selection(work, layouts, design, first, outputs, touch)
    padded = np.zeros((design.cols, *dense.shape[1:]), np.int8)
    padded[:outputs] = dense
    if work.shape.pixel_bytes:
        return _folded(padded, work, design)
    blocked = padded.reshape(design.cols, -1, design.rows, *padded.shape[2:])
    return np.ascontiguousarray(blocked.transpose(1, 3, 4, 2, 0))


def _dense(
    op: Conv2d | MatMul,
    workload: Workload,
    layout: TensorLayout,
    design: NpuDesign,
    first: int,
    outputs: int,
    touch: Touch,
) -> Weights:
    """Weights of outputs `first` ... over the channels of `touch`: (outputs, channels, fy, fx)."""
    stored = workload.constants[op.weight][first : first + outputs].astype(np.int8)
    groups = op.groups if isinstance(op, Conv2d) else 1
    weight = stored
    if isinstance(op, MatMul):
        weight = _as_kernel(stored, layout, rows=is_rows(workload.tensor(op.output).shape))
    low, high = touch.first * design.rows, touch.end * design.rows
    dense = np.zeros((outputs, high - low, *weight.shape[2:]), np.int8)
    per_output = workload.tensor(op.weight).shape[0] // groups
    per_input = weight.shape[1]
    for group in range(first // per_output, (first + outputs - 1) // per_output + 1):
        rows = slice(max(group * per_output - first, 0), (group + 1) * per_output - first)
        start = group * per_input - low
        dense[rows, start : start + per_input] = weight[rows]
    return dense


def _as_kernel(weight: Weights, layout: TensorLayout, *, rows: bool) -> Weights:
    """Weights (outputs, inputs) as a window: over the whole map, or over one pixel for `rows`."""
    outputs, (channels, height, width) = len(weight), layout.map
    if rows:
        return weight.reshape(outputs, channels, 1, 1)
    if layout.last:
        return weight.reshape(outputs, height, width, channels).transpose(0, 3, 1, 2)
    return weight.reshape(outputs, channels, height, width)


def _selection(
    work: ArrayWork,
    layouts: dict[str, TensorLayout],
    design: NpuDesign,
    first: int,
    outputs: int,
    touch: Touch,
) -> Weights:
    """Weight 1 where an output is a channel of `touch`: (outputs, channels, fy, fx)."""
    offset = sum(layouts[name].map[0] for name in work.operands[: touch.operand])
    count = layouts[work.operands[touch.operand]].map[0]
    channel = first + np.arange(outputs) - offset
    here = (channel >= 0) & (channel < count)
    low = touch.first * design.rows
    window = work.shape.y.kernel, work.shape.x.kernel
    dense = np.zeros((outputs, touch.end * design.rows - low, *window), np.int8)
    dense[np.flatnonzero(here), channel[here] - low] = 1
    return dense


def _folded(dense: Weights, work: ArrayWork, design: NpuDesign) -> Weights:
    """Kernel columns folded into rows `fx * pixel_bytes + channel`, zero where they overhang."""
    cols, _, kernel_y, kernel_x = dense.shape
    pixel, columns = work.shape.pixel_bytes, work.shape.columns
    fold = design.lanes // pixel
    wide = np.zeros((cols, pixel, kernel_y, columns * fold), np.int8)
    wide[..., : (kernel_x - 1) * work.shape.x.dilation + 1 : work.shape.x.dilation] = dense[
        :, :pixel
    ]
    folded = wide.reshape(cols, pixel, kernel_y, columns, fold)
    return np.ascontiguousarray(folded.transpose(2, 3, 4, 1, 0))[None]
