"""Operators that move elements, and how other operators read an activation through a move.

Every definition is at an index (n, i0, i1, ...): the image, then the axes of the output tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from intaglio.compiler.kernels.definition import (
    At,
    Defined,
    Definition,
    storage,
)
from intaglio.compiler.kernels.schedules import plain
from intaglio.compiler.workload import (
    Concat,
    Constant,
    Expand,
    Gather,
    Pad,
    Padding,
    Reshape,
    Shape,
    Slice,
    Transpose,
)


def expand(d: Definition, op: Expand) -> Defined:
    """Axes of extent 1, and missing ones, repeated."""
    return d.output(stretched(d, op.input, d.shape(op.output))), plain


def stretched(d: Definition, name: str, shape: Shape) -> At:
    """The activation `name` at an index of `shape`, to which it stretches."""
    x, own = d.activation(name), d.shape(name)

    def at(image: Expr, *index: Expr) -> Expr:
        matched = index[len(shape) - len(own) :]
        places = (0 if extent == 1 else i for i, extent in zip(matched, own, strict=True))
        return x[(image, *places)]

    return at


def constant(d: Definition, op: Constant) -> Defined:
    """The same numbers for every image."""
    value = d.constant(d.workload.constants[op.value].astype(storage(d.element(op.output))))
    return d.output(lambda image, *index: value[index]), plain


def concat(d: Definition, op: Concat) -> Defined:
    """Finished operands, one behind the other along the operator's axis."""
    finished = [
        d.finished(epilogue, d.shape(name), d.activation(name))
        for name, epilogue in zip(op.inputs, op.epilogues, strict=True)
    ]
    ends = np.cumsum([d.shape(name)[op.axis] for name in op.inputs]).tolist()
    starts = [0, *ends[:-1]]
    axis = op.axis + 1

    def at(*index: Expr) -> Expr:
        def part(which: int) -> Expr:
            along = index[axis] - starts[which]
            return finished[which](*index[:axis], along, *index[axis + 1 :]).astype("int64")

        value = part(len(ends) - 1)
        for which in reversed(range(len(ends) - 1)):
            value = tirx.if_then_else(index[axis] < ends[which], part(which), value)
        return value

    return d.output(at), plain


def reshape(d: Definition, op: Reshape) -> Defined:
    """The same elements in row-major order."""
    x, shape, own = d.activation(op.input), d.shape(op.output), d.shape(op.input)
    return d.output(lambda n, *index: x[(n, *split(joined(index, shape), own))]), plain


def joined(index: Sequence[Expr], shape: Sequence[int]) -> Expr:
    """The place of `index` in an array of `shape` in row-major order."""
    pairs = zip(index, shape, strict=True)
    return reduce(lambda place, pair: place * pair[1] + pair[0], pairs, 0)


def split(place: Expr, shape: Sequence[int]) -> tuple[Expr, ...]:
    """The index in an array of `shape` of `place` in row-major order."""
    index: list[Expr] = []
    for extent in reversed(shape[1:]):
        index.insert(0, place % extent)
        place = place // extent
    return (place, *index) if shape else ()


def transpose(d: Definition, op: Transpose) -> Defined:
    """Axes in another order."""
    x = d.activation(op.input)
    inverse = np.argsort(op.permutation).tolist()
    return d.output(lambda n, *index: x[(n, *(index[axis] for axis in inverse))]), plain


def slice_(d: Definition, op: Slice) -> Defined:
    """Every so manieth element from a start."""
    x = d.activation(op.input)

    def at(n: Expr, *index: Expr) -> Expr:
        steps = zip(op.starts, op.steps, index, strict=True)
        return x[(n, *(start + step * i for start, step, i in steps))]

    return d.output(at), plain


def pad(d: Definition, op: Pad) -> Defined:
    """Zeros around the input."""
    return d.output(padded(d, op.input, op.before, op.after, 0)), plain


def padded(
    d: Definition, name: str, before: tuple[int, ...], after: tuple[int, ...], fill: int
) -> At:
    """The activation `name` at an index into it with `fill` around it."""
    x, shape = d.activation(name), d.shape(name)

    def at(n: Expr, *index: Expr) -> Expr:
        inside = []
        for i, extent, ahead, behind in zip(index, shape, before, after, strict=True):
            inside += [i >= ahead] if ahead else []
            inside += [i < ahead + extent] if behind else []
        value = x[(n, *(i - ahead for i, ahead in zip(index, before, strict=True)))]
        outside = tirx.const(fill, x.dtype)
        return tirx.if_then_else(tirx.all(*inside), value, outside) if inside else value

    return at


def with_border(d: Definition, name: str, border: Padding, fill: int) -> te.Tensor:
    """A feature map with `fill` around it, top, bottom, left and right."""
    top, bottom, left, right = border
    b, c, height, width = d.shape(name)
    at = padded(d, name, (0, 0, top, left), (0, 0, bottom, right), fill)
    shape = (d.images, b, c, height + top + bottom, width + left + right)
    return te.compute(shape, at, name="padded")


def gather(d: Definition, op: Gather) -> Defined:
    """Slices along an axis, at computed indices that are clamped to its extent."""
    x, places = d.activation(op.input), d.activation(op.index)
    rank, last = len(d.shape(op.index)), d.shape(op.input)[op.axis] - 1

    def at(n: Expr, *index: Expr) -> Expr:
        ahead, own, behind = np.split(np.array(index, object), (op.axis, op.axis + rank))
        place = places[(n, *own)].astype("int64")
        return x[(n, *ahead, te.max(te.min(place, last), 0).astype("int32"), *behind)]

    return d.output(at), plain
