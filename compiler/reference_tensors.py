"""The integer reference of operators that move elements or take two computed operands.

An array of N images of a tensor (d0, d1, ...) is (N * d0, d1, ...); here it is seen as
(N, d0, d1, ...), so that axis i of the tensor is axis i + 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intaglio.compiler.numerics import Ints, linear_taps, resize_linear
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Expand,
    Gather,
    Multiply,
    Pad,
    Reduce,
    Reshape,
    Resize,
    Shape,
    Slice,
    Transpose,
    Workload,
)

Values = Mapping[str, Ints]


def move(
    workload: Workload, op: Reshape | Transpose | Slice | Pad | Expand | Gather, values: Values
) -> Ints:
    """The output of an operator that only moves elements."""
    shape = workload.tensor(op.output).shape
    x = per_image(workload, op.input, values)
    match op:
        case Reshape():
            moved = x
        case Transpose():
            moved = x.transpose(0, *(axis + 1 for axis in op.permutation))
        case Slice():
            moved = x[(slice(None), *map(_steps, op.starts, op.steps, shape))]
        case Pad():
            moved = np.pad(x, ((0, 0), *zip(op.before, op.after, strict=True)))
        case Expand():
            missing = (1,) * (len(shape) - x.ndim + 1)
            moved = np.broadcast_to(x.reshape(len(x), *missing, *x.shape[1:]), (len(x), *shape))
        case Gather():
            moved = _gather(x, per_image(workload, op.index, values), op.axis)
    return merged(moved, shape)


def concatenate(workload: Workload, op: Concat, parts: list[Ints]) -> Ints:
    """Finished operands joined along the operator's axis."""
    shapes = [workload.tensor(name).shape for name in op.inputs]
    whole = [part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True)]
    return merged(np.concatenate(whole, axis=op.axis + 1), workload.tensor(op.output).shape)


def batch_products(workload: Workload, op: BatchMatMul, values: Values) -> Ints:
    """Accumulators of a product of two computed operands; exact in float64 below 2^53."""
    x = per_image(workload, op.input, values).astype(np.float64)
    w = per_image(workload, op.other, values).astype(np.float64)
    product = x @ (np.swapaxes(w, -1, -2) if op.transposed else w)
    return merged(product.astype(np.int64), workload.tensor(op.output).shape)


def elementwise_products(workload: Workload, op: Multiply, values: Values) -> Ints:
    """Accumulators of a product element by element, stretched as in PyTorch."""
    shape = workload.tensor(op.output).shape
    x, w = (stretchable(per_image(workload, name, values), shape) for name in (op.input, op.other))
    return merged(x * w, shape)


def reduction(workload: Workload, op: Reduce, values: Values) -> Ints:
    """The sum or maximum over the operator's axes."""
    x = per_image(workload, op.input, values)
    axes = tuple(axis + 1 for axis in op.axes)
    reduced: Ints = np.sum(x, axis=axes) if op.kind == "sum" else np.max(x, axis=axes)
    return merged(reduced, workload.tensor(op.output).shape)


def resize(workload: Workload, op: Resize, values: Values) -> Ints:
    """The input interpolated over its last axes."""
    axes = len(op.factors)
    before, after = (workload.tensor(name).shape[-axes:] for name in (op.input, op.output))
    taps = [
        linear_taps(size_in, size_out, factor, op.aligned)
        for size_in, size_out, factor in zip(before, after, op.factors, strict=True)
    ]
    resized = resize_linear(per_image(workload, op.input, values), taps)
    return merged(resized, workload.tensor(op.output).shape)


def per_image(workload: Workload, name: str, values: Values) -> Ints:
    """A tensor with the images on an axis of their own, in front."""
    return values[name].reshape(-1, *workload.tensor(name).shape)


def merged(array: Ints, shape: Shape) -> Ints:
    """(N, d0, d1, ...) of `shape` (d0, d1, ...) as (N * d0, d1, ...)."""
    return np.ascontiguousarray(array).reshape(-1, *shape[1:])


def _steps(start: int, step: int, count: int) -> slice:
    return slice(start, start + step * (count - 1) + 1, step)


def _gather(x: Ints, index: Ints, axis: int) -> Ints:
    """Every image gathers with its own indices."""
    picked = np.clip(index, 0, x.shape[axis + 1] - 1)
    return np.stack([np.take(image, at, axis) for image, at in zip(x, picked, strict=True)])


def stretchable(x: Ints, shape: Shape) -> Ints:
    """`x` with the axes that it lacks in front of `shape`, behind that of the images."""
    missing = (1,) * (len(shape) - x.ndim + 1)
    return x.reshape(len(x), *missing, *x.shape[1:])
