"""Calls of PyTorch that TVM's importer lacks or gets wrong, as Relax expressions.

Each was found by comparing the operators of `calls.OPERATORS` with PyTorch; a test does it still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.fx import Node
from tvm import relax
from tvm.relax import op as relax_op

Importer = Any
"""TVM's importer of exported programs, which has no type."""
Expr = Any
"""An expression of Relax, which has none either."""
Conversion = Callable[[Node, Importer], Expr]


def _conversion(make: Callable[..., Expr | tuple[Expr, ...]]) -> Conversion:
    """`make` on the converted arguments of a call, its results emitted."""

    def convert(node: Node, importer: Importer) -> Expr:
        emit = importer.block_builder.emit
        made = make(emit, *importer.retrieve_args(node), **_options(node, importer))
        return tuple(map(emit, made)) if isinstance(made, tuple) else emit(made)

    return convert


def _options(node: Node, importer: Importer) -> dict[str, Any]:
    return {
        name: importer.env[value] if isinstance(value, Node) else value
        for name, value in node.kwargs.items()
    }


Emit = Callable[[Expr], Expr]


def _shape(value: Expr) -> list[int]:
    return [int(extent) for extent in value.ty.shape]


def _constant(value: float, like: Expr) -> Expr:
    return relax.const(value, str(like.ty.dtype))


def _operand(value: Expr | float, like: Expr) -> Expr:
    return value if isinstance(value, relax.Expr) else _constant(value, like)


def _isfinite(emit: Emit, x: Expr) -> Expr:
    return relax_op.less(relax_op.abs(x), _constant(math.inf, x))


def _selu(emit: Emit, x: Expr) -> Expr:
    alpha, scale = 1.6732632423543772, 1.0507009873554805
    zero, one = _constant(0.0, x), _constant(1.0, x)
    below = relax_op.subtract(relax_op.exp(relax_op.minimum(x, zero)), one)
    below = relax_op.multiply(below, _constant(alpha, x))
    return relax_op.multiply(
        relax_op.where(relax_op.greater(x, zero), x, below), _constant(scale, x)
    )


def _cdist(emit: Emit, x: Expr, y: Expr, p: float, mode: int | None) -> Expr:
    gap = relax_op.abs(relax_op.subtract(relax_op.expand_dims(x, -2), relax_op.expand_dims(y, -3)))
    if p == 2.0:
        return relax_op.sqrt(relax_op.sum(relax_op.multiply(gap, gap), -1))
    if math.isinf(p):
        return relax_op.max(gap, -1)
    total = relax_op.sum(relax_op.power(gap, _constant(p, x)), -1)
    return relax_op.power(total, _constant(1 / p, x))


def _copied(emit: Emit, x: Expr, y: Expr) -> Expr:
    return relax_op.astype(relax_op.broadcast_to(y, _shape(x)), str(x.ty.dtype))


def _reduction(reduce: Callable[..., Expr]) -> Conversion:
    def make(emit: Emit, x: Expr, axes: Sequence[int] | int = (), keep: bool = False) -> Expr:
        chosen = list(axes) if isinstance(axes, Sequence) else [axes]
        return reduce(x, chosen or None, keep)

    return _conversion(lambda emit, *args, **options: make(emit, *args, **_renamed(options)))


def _renamed(options: Mapping[str, Any]) -> dict[str, Any]:
    names = {"dim": "axes", "keepdim": "keep"}
    return {names.get(name, name): value for name, value in options.items() if name != "dtype"}


def _best(choose: Callable[..., Expr], reduce: Callable[..., Expr]) -> Conversion:
    """The extreme of each row and its place, the first of equal ones."""

    def make(emit: Emit, x: Expr, dim: int, keepdim: bool = False) -> tuple[Expr, Expr]:
        return reduce(x, [dim], keepdim), choose(x, dim, keepdim)

    return _conversion(make)


def _grid_sample(emit: Emit, x: Expr, grid: Expr, mode: int, padding: int, aligned: bool) -> Expr:
    return relax_op.image.grid_sample(
        x,
        emit(relax_op.permute_dims(grid, [0, 3, 1, 2])),
        method=("bilinear", "nearest", "bicubic")[mode],
        layout="NCHW",
        padding_mode=("zeros", "border", "reflection")[padding],
        align_corners=aligned,
    )


def _scaled(combine: Callable[..., Expr]) -> Conversion:
    """A sum or difference whose second operand may have a factor."""

    def make(emit: Emit, x: Expr, y: Expr | float, alpha: float = 1) -> Expr:
        other = _operand(y, x)
        if alpha != 1:
            other = relax_op.multiply(other, _constant(alpha, other))
        return combine(x, other)

    return _conversion(make)


def _divided(emit: Emit, x: Expr, y: Expr | float, rounding_mode: str | None = None) -> Expr:
    other = _operand(y, x)
    whole = "int" in str(x.ty.dtype)
    if rounding_mode == "floor":
        return relax_op.floor_divide(x, other)
    if rounding_mode == "trunc":
        if whole:
            raise NotImplementedError("division of integers towards zero")
        return relax_op.trunc(relax_op.divide(x, other))
    return relax_op.divide(x, other)


def _indexed(emit: Emit, x: Expr, indices: Sequence[Expr | None]) -> Expr:
    """Elements at computed places of neighbouring axes, which are merged first."""
    axes = [axis for axis, index in enumerate(indices) if index is not None]
    given = [index for index in indices if index is not None]
    if axes != list(range(axes[0], axes[-1] + 1)):
        raise NotImplementedError("indices of axes that are apart")
    shape, flat = _shape(x), None
    for axis, index in zip(axes, given, strict=True):
        extent = _constant(shape[axis], index)
        inside = relax_op.where(
            relax_op.less(index, _constant(0, index)), relax_op.add(index, extent), index
        )
        flat = inside if flat is None else relax_op.add(relax_op.multiply(flat, extent), inside)
    merged = math.prod(shape[axis] for axis in axes)
    rows = relax_op.reshape(x, [*shape[: axes[0]], merged, *shape[axes[-1] + 1 :]])
    return relax_op.take(emit(rows), emit(flat), axes[0], mode="clip")


def _selected(emit: Emit, x: Expr, dim: int, index: Expr) -> Expr:
    return relax_op.take(x, index, dim, mode="clip")


def _scattered(emit: Emit, x: Expr, dim: int, index: Expr, source: Expr) -> Expr:
    extents = _shape(index)
    axes, begin = list(range(len(extents))), [0] * len(extents)
    part = emit(relax_op.strided_slice(source, axes, begin, extents))
    return relax_op.scatter_elements(x, index, part, axis=dim)


def _sorted(
    emit: Emit, x: Expr, *, stable: bool, dim: int = -1, descending: bool = False
) -> tuple[Expr, Expr]:
    order = emit(relax_op.argsort(x, dim, descending, "int64"))
    return relax_op.gather_elements(x, order, dim), order


CONVERSIONS: Mapping[str, Conversion] = {
    "_cdist_forward.default": _conversion(_cdist),
    "add.Tensor": _scaled(relax_op.add),
    "amax.default": _reduction(relax_op.max),
    "amin.default": _reduction(relax_op.min),
    "copy.default": _conversion(_copied),
    "div.Tensor_mode": _conversion(_divided),
    "grid_sampler_2d.default": _conversion(_grid_sample),
    "index.Tensor": _conversion(_indexed),
    "index_select.default": _conversion(_selected),
    "isfinite.default": _conversion(_isfinite),
    "max.dim": _best(relax_op.argmax, relax_op.max),
    "min.dim": _best(relax_op.argmin, relax_op.min),
    "prod.dim_int": _reduction(relax_op.prod),
    "scatter.src": _conversion(_scattered),
    "selu.default": _conversion(_selu),
    "sort.stable": _conversion(_sorted),
    "sub.Tensor": _scaled(relax_op.subtract),
}
