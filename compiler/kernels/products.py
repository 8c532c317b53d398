"""Convolutions and matrix products, as contractions; thin groups as plain sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.ir import Expr

from intaglio.compiler.kernels.contractions import (
    Contraction,
    Read,
    Residual,
    pack,
    pack_computed,
)
from intaglio.compiler.kernels.definition import Defined, Definition, storage, sum_type
from intaglio.compiler.kernels.moves import joined, split, with_border
from intaglio.compiler.kernels.schedules import plain
from intaglio.compiler.numerics import accumulator_bound
from intaglio.compiler.workload import BatchMatMul, Conv2d, MatMul, channel_axis

THIN = 4
"""Groups of fewer input or output channels are not worth packing."""


def conv2d(d: Definition, op: Conv2d) -> Defined:
    """acc[n,k,oy,ox] = sum over c,fy,fx of x * w, then the epilogue."""
    outputs, inputs, *_ = d.shape(op.weight)
    if op.groups > 1 and min(inputs, outputs // op.groups) < THIN:
        return _thin(d, op)
    weight = d.workload.constants[op.weight].astype(np.int64)
    batch, channels, height, width = d.shape(op.input)
    top, _, left, _ = op.padding
    plan = Contraction(
        pack(d.dots, d.element(op.input), weight),
        batch,
        op.groups,
        inputs,
        outputs // op.groups,
        (d.shape(op.output)[2], d.shape(op.output)[3]),
        (weight.shape[2], weight.shape[3]),
        op.stride,
        op.dilation,
    )
    x = d.activation(op.input)
    rows, columns = plan.footprint

    def read(n: Expr, b: Expr, g: Expr, c: Expr, y: Expr, z: Expr) -> tuple[Expr, list[Expr]]:
        inside = [y >= top] if top else []
        inside += [y < top + height] if rows > top + height else []
        inside += [z >= left] if left else []
        inside += [z < left + width] if columns > left + width else []
        return x[n, b, g * inputs + c, y - top, z - left], inside

    acc, sums = _summed(d, plan, read, weight)
    return _finished(d, op, plan, acc, sums, Places(lambda *index: index, lambda *index: index))


def _thin(d: Definition, op: Conv2d) -> Defined:
    """A convolution of thin groups: a plain sum, its columns side by side in a register."""
    weight = d.workload.constants[op.weight].astype(np.int64)
    element, shape = d.element(op.input), d.shape(op.output)
    dtype = sum_type(int(accumulator_bound(weight, element.lo, element.hi).max()))
    outputs, inputs, *kernel = weight.shape
    w = d.constant(weight.astype(storage(d.element(op.weight))))
    rows = with_border(d, op.input, op.padding, 0)
    axes = [te.reduce_axis((0, e), f"r{i}") for i, e in enumerate((inputs, *kernel))]
    c, fy, fx = axes
    (sy, sx), (dy, dx) = op.stride, op.dilation

    def at(n: Expr, b: Expr, k: Expr, oy: Expr, ox: Expr) -> Expr:
        channel = k // (outputs // op.groups) * inputs + c
        x = rows[n, b, channel, oy * sy + fy * dy, ox * sx + fx * dx]
        return te.sum(x.astype(dtype) * w[k, c, fy, fx].astype(dtype), axis=axes)

    acc = te.compute((d.images, *shape), at, name="acc")
    return d.output(d.finished(op.epilogue, shape, acc)), plain


def matmul(d: Definition, op: MatMul) -> Defined:
    """acc[..., k] = sum over c of x[..., c] * w[k, c], then the epilogue."""
    weight = d.workload.constants[op.weight].astype(np.int64)
    *leading, outputs = d.shape(op.output)
    rows = _count(leading)
    dots = d.dots if _by_block(d, op) else tuple(dot for dot in d.dots if not dot.unsigned)
    packing = pack(dots, d.element(op.input), weight)
    plan = Contraction(packing, 1, 1, weight.shape[1], outputs, (1, rows))
    x = d.activation(op.input)

    def read(n: Expr, b: Expr, g: Expr, c: Expr, y: Expr, z: Expr) -> tuple[Expr, list[Expr]]:
        return x[(n, *split(z, leading), c)], [z < rows] if plan.width > rows else []

    acc, sums = _summed(d, plan, read, weight[:, :, None, None])
    places = Places(
        lambda n, *index: (n, 0, index[-1], 0, joined(index[:-1], leading)),
        lambda n, b, k, y, z: (n, *split(z, leading), k),
    )
    return _finished(d, op, plan, acc, sums, places)


def batch_matmul(d: Definition, op: BatchMatMul) -> Defined:
    """acc[..., m, k] = sum over c of x[..., m, c] * w[..., c, k], then the epilogue."""
    *leading, rows, inputs = d.shape(op.input)
    outputs, groups = d.shape(op.output)[-1], _count(leading)
    packing = pack_computed(d.dots, d.element(op.input), d.element(op.other), inputs)
    plan = Contraction(packing, 1, groups, inputs, outputs, (1, rows))
    x = d.activation(op.input)

    def read(n: Expr, b: Expr, g: Expr, c: Expr, y: Expr, z: Expr) -> tuple[Expr, list[Expr]]:
        return x[(n, *split(g, leading), z, c)], [z < rows] if plan.width > rows else []

    weights = _packed_operand(d, op, plan, leading)
    acc = plan.accumulate(
        d,
        plan.pack_input(d, read),
        lambda n, b, g, k, fy, fx, c, lane, i: weights[n, g, k, c, lane, i],
    )
    places = Places(
        lambda n, *i: (n, 0, joined(i[:-2], leading) * outputs + i[-1], 0, i[-2]),
        lambda n, b, k, y, z: (n, *split(k // outputs, leading), z, k % outputs),
    )
    return _finished(d, op, plan, acc, 0, places)


def _packed_operand(
    d: Definition, op: BatchMatMul, plan: Contraction, leading: Sequence[int]
) -> te.Tensor:
    """The right operand, packed when it is there: (n, g, vectors, words, lanes, depth)."""
    w, packing = d.activation(op.other), plan.packing

    def at(n: Expr, g: Expr, k: Expr, c: Expr, lane: Expr, i: Expr) -> Expr:
        row, column = c * packing.depth + i, k * packing.lanes + lane
        place = (column, row) if op.transposed else (row, column)
        value = w[(n, *split(g, leading), *place)].astype(packing.weight)
        inside = tirx.all(row < plan.inputs, column < plan.outputs)
        return tirx.if_then_else(inside, value, tirx.const(0, packing.weight))

    sizes = (plan.groups, plan.vectors, plan.words, packing.lanes, packing.depth)
    return te.compute((d.images, *sizes), at, name="weights")


@dataclass(frozen=True, slots=True)
class Places:
    """From the output's index to (n, b, channel, y, x) of the contraction, and back."""

    into: Callable[..., tuple[Expr, ...]]
    back: Callable[..., tuple[Expr, ...]]


def _summed(
    d: Definition, plan: Contraction, read: Read, weight: NDArray[np.int64]
) -> tuple[te.Tensor, NDArray[np.int64]]:
    """The accumulators, and the sum of the weights of each output channel."""
    packed = plan.pack_input(d, read)
    w = d.constant(plan.packed_weights(weight))
    sums = weight.reshape(len(weight), -1).sum(axis=1)
    return plan.accumulate(d, packed, lambda n, b, *index: w[index]), sums


def _finished(
    d: Definition,
    op: Conv2d | MatMul | BatchMatMul,
    plan: Contraction,
    acc: te.Tensor,
    sums: NDArray[np.int64] | int,
    places: Places,
) -> Defined:
    """The epilogue and the output in row-major order."""
    shape = d.shape(op.output)
    if not _by_block(d, op):
        values = plan.unblocked(plan.kept(d, acc))
        finished = d.finished(op.epilogue, shape, lambda *index: values(*places.into(*index)))
        return d.output(finished), plan.schedule()
    residual = None
    if op.epilogue.residual is not None:
        r = d.activation(op.epilogue.residual)
        residual = Residual(lambda *index: r[places.back(*index)], str(r.dtype))
    dtype = storage(d.element(op.output))
    values = plan.unblocked(plan.finish(d, op.epilogue, acc, sums, residual, dtype))
    return d.output(lambda *index: values(*places.into(*index))), plan.schedule()


def _by_block(d: Definition, op: Conv2d | MatMul | BatchMatMul) -> bool:
    """Whether the epilogue's constants run along the channels of the contraction."""
    if isinstance(op, Conv2d):
        return True
    rank = len(d.shape(op.output))
    own = (op.epilogue.multiplier, op.epilogue.shift, op.epilogue.bias)
    same = all(d.shape(name) == (1,) for name in own)
    return channel_axis(rank) == rank - 1 or same


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape, dtype=np.int64))
