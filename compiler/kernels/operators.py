"""The table of operators: one definition for each, and how its loops are arranged.

Every definition is at an index (n, i0, i1, ...): the image, then the axes of the output tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from tvm import te
from tvm.ir import Expr

from intaglio.compiler.kernels.definition import (
    At,
    Defined,
    Definition,
    sum_type,
)
from intaglio.compiler.kernels.moves import (
    concat,
    constant,
    expand,
    gather,
    pad,
    reshape,
    slice_,
    stretched,
    transpose,
    with_border,
)
from intaglio.compiler.kernels.products import batch_matmul, conv2d, matmul
from intaglio.compiler.kernels.resizing import resize
from intaglio.compiler.kernels.rows import normalise, softmax
from intaglio.compiler.kernels.schedules import plain
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Constant,
    Conv2d,
    Eltwise,
    Expand,
    Gather,
    MatMul,
    Multiply,
    Norm,
    Pad,
    Pool,
    Reduce,
    Rescale,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    Transpose,
)
from intaglio.errors import UnsupportedError


def eltwise(d: Definition, op: Eltwise | Rescale) -> Defined:
    """The epilogue of the input."""
    x = d.activation(op.input)
    return d.output(d.finished(op.epilogue, d.shape(op.output), x)), plain


def multiply(d: Definition, op: Multiply) -> Defined:
    """The epilogue of a product element by element."""
    shape = d.shape(op.output)
    x, w = (stretched(d, name, shape) for name in (op.input, op.other))

    def product(*index: Expr) -> Expr:
        return x(*index).astype("int64") * w(*index).astype("int64")

    return d.output(d.finished(op.epilogue, shape, product)), plain


def reduction(d: Definition, op: Reduce) -> Defined:
    """The sum or maximum over some axes, then the epilogue."""
    x, own, shape = d.activation(op.input), d.shape(op.input), d.shape(op.output)
    axes = {axis: te.reduce_axis((0, own[axis]), f"r{axis}") for axis in sorted(op.axes)}
    kept = [axis for axis in range(len(own)) if len(own) == len(shape) or axis not in axes]
    count = int(np.prod([own[axis] for axis in op.axes], dtype=np.int64))

    def at(n: Expr, *index: Expr) -> Expr:
        place = {**dict(zip(kept, index, strict=True)), **axes}
        return x[(n, *(place[axis] for axis in range(len(own))))]

    acc = _reduced(d, op, shape, at, list(axes.values()), count)
    return d.output(d.finished(op.epilogue, shape, acc)), plain


def pool(d: Definition, op: Pool) -> Defined:
    """The sum or maximum over a window, then the epilogue."""
    top, bottom, left, right = op.padding
    fill = d.element(op.input).lo if op.kind == "max" else 0
    rows = with_border(d, op.input, op.padding, fill)
    fy, fx = (te.reduce_axis((0, k), name) for k, name in zip(op.kernel, "yx", strict=True))
    (sy, sx), shape = op.stride, d.shape(op.output)

    def at(n: Expr, b: Expr, c: Expr, oy: Expr, ox: Expr) -> Expr:
        return rows[n, b, c, oy * sy + fy, ox * sx + fx]

    acc = _reduced(d, op, shape, at, [fy, fx], op.kernel[0] * op.kernel[1])
    return d.output(d.finished(op.epilogue, shape, acc)), plain


def _reduced(
    d: Definition, op: Pool | Reduce, shape: Shape, at: At, axes: list[Any], count: int
) -> te.Tensor:
    """The sum or maximum over `axes`, of `count` values."""
    element = d.element(op.input)
    if op.kind == "max":
        return te.compute((d.images, *shape), lambda *i: te.max(at(*i), axis=axes), name="acc")
    dtype = sum_type(count * max(-element.lo, element.hi))
    return te.compute(
        (d.images, *shape), lambda *i: te.sum(at(*i).astype(dtype), axis=axes), name="acc"
    )


OPERATORS: Mapping[type, Callable[[Definition, Any], Defined]] = {
    BatchMatMul: batch_matmul,
    Concat: concat,
    Constant: constant,
    Conv2d: conv2d,
    Eltwise: eltwise,
    Expand: expand,
    Gather: gather,
    MatMul: matmul,
    Multiply: multiply,
    Norm: normalise,
    Pad: pad,
    Pool: pool,
    Reduce: reduction,
    Rescale: eltwise,
    Reshape: reshape,
    Resize: resize,
    Slice: slice_,
    Softmax: softmax,
    Transpose: transpose,
}


def define(d: Definition) -> Defined:
    """The output of `d`'s operator and the schedule of its blocks.

    Raises UnsupportedError when the table has no definition for it.
    """
    definition = OPERATORS.get(type(d.op))
    if definition is None:
        line = f" ({d.op.source.line})" if d.op.source.line else ""
        raise UnsupportedError(
            f"{d.op.name}{line}: {type(d.op).__name__} has no compiled kernel, only "
            f"{', '.join(kind.__name__ for kind in OPERATORS)} have; use the reference"
        )
    return definition(d, d.op)
