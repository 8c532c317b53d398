"""One spelling for windows and for elements taken at fixed positions.

max_pool2d_with_indices, adaptive max pooling   ->  max_pool2d(x, window)
upsample_nearest, flip, roll, repeat            ->  index_select(x, axis, positions) along each axis
pad(x, mode="reflect" | "replicate" | "circular")  ->  the same
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from intaglio.compiler import numerics
from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    operation,
    owner,
    replace,
    shape,
)
from intaglio.compiler.passes.spellings import reshaped, source

aten = torch.ops.aten
LINEAR_RESIZES = frozenset(
    {aten.upsample_linear1d.vec, aten.upsample_bilinear2d.vec, aten.upsample_trilinear3d.vec}
)
"""Linear interpolation; it stays one operator."""


def factors(node: Node, index: int) -> list[float | None]:
    """The scale factors given to PyTorch for each resized axis; None where the size was given."""
    given = cast("list[float] | None", argument(node, index, "scale_factors"))
    return [None] * (len(shape(node)) - 2) if given is None else list(given)


def picked(before: Node, value: Node, axis: int, positions: Tensor) -> Node:
    """The slices of `value` at fixed positions of one axis, ahead of `before`."""
    size = shape(value)
    if torch.equal(positions, torch.arange(size[axis])):
        return value
    index = insert_parameter(owner(before), before, f"{before.name}_positions{axis}", positions)
    with before.meta["val"].fake_mode:
        index.meta["val"] = torch.empty(len(positions), dtype=torch.int64)
    size = (*size[:axis], len(positions), *size[axis + 1 :])
    args = (value, axis, index)
    return insert_call(before, aten.index_select.default, args, before, size)


def _nearest(node: Node) -> None:
    value, given = source(node), factors(node, 2)
    exact = "exact" in operation(node)
    for axis, factor in enumerate(given, 2):
        extents = shape(value)[axis], shape(node)[axis]
        rows = numerics.nearest_indices(*extents, factor, exact)
        value = picked(node, value, axis, torch.from_numpy(rows))
    replace(node, value)


def _flip(node: Node) -> None:
    value = source(node)
    rank = len(shape(node))
    for axis in {axis % rank for axis in cast("list[int]", node.args[1])}:
        value = picked(node, value, axis, torch.arange(shape(node)[axis]).flip(0))
    replace(node, value)


def _roll(node: Node) -> None:
    value, size = source(node), shape(node)
    shifts = cast("list[int]", node.args[1])
    axes = cast("list[int]", argument(node, 2, "dims") or [])
    if not axes:
        value = reshaped(node, value, (1, value.meta["val"].numel()))
        axes = [1]
    for shift, axis in zip(shifts, axes, strict=True):
        axis = axis % len(shape(value))
        value = picked(node, value, axis, torch.arange(shape(value)[axis]).roll(shift))
    replace(node, reshaped(node, value, size))


def _repeat(node: Node) -> None:
    value, times = source(node), cast("list[int]", node.args[1])
    missing = len(times) - len(shape(value))
    value = reshaped(node, value, (1,) * missing + shape(value))
    for axis, count in enumerate(times):
        value = picked(node, value, axis, torch.arange(shape(value)[axis]).repeat(count))
    replace(node, value)


def _padding(node: Node) -> None:
    """Borders of zeros, or copies of the elements that PyTorch takes for them."""
    borders = cast("list[int]", node.args[1])
    mode = str(argument(node, 2, "mode", "constant"))
    if mode == "constant":
        args = (source(node), borders, argument(node, 3, "value") or 0.0)
        replace(node, insert_call(node, aten.constant_pad_nd.default, args, node, shape(node)))
        return
    value = source(node)
    for index in range(len(borders) // 2):
        axis = len(shape(value)) - 1 - index
        along = torch.arange(shape(value)[axis], dtype=torch.float64)[None, None]
        ends = (borders[2 * index], borders[2 * index + 1])
        value = picked(node, value, axis, functional.pad(along, ends, mode)[0, 0].long())
    replace(node, value)


def _max_pool(node: Node) -> None:
    """Only the maxima are read, not where they are."""
    maxima = _maxima(node)
    if maxima is not None:
        args = node.args
        replace(maxima, insert_call(node, aten.max_pool2d.default, args, node, shape(maxima)))


def _adaptive_max_pool(node: Node) -> None:
    maxima = _maxima(node)
    if maxima is None:
        return
    before, after = shape(source(node))[-2:], shape(maxima)[-2:]
    if all(b % a == 0 for b, a in zip(before, after, strict=True)):
        window = [b // a for b, a in zip(before, after, strict=True)]
        args = (source(node), window, window)
        replace(maxima, insert_call(node, aten.max_pool2d.default, args, node, shape(maxima)))


def _maxima(node: Node) -> Node | None:
    """What reads the first result of `node`, when nothing reads another."""
    users = list(node.users)
    if len(users) == 1 and users[0].target is operator.getitem and users[0].args[1] == 0:
        return users[0]
    return None


RULES: dict[object, Callable[[Node], None]] = {
    aten._upsample_nearest_exact1d.vec: _nearest,
    aten._upsample_nearest_exact2d.vec: _nearest,
    aten._upsample_nearest_exact3d.vec: _nearest,
    aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    aten.flip.default: _flip,
    aten.max_pool2d_with_indices.default: _max_pool,
    aten.pad.default: _padding,
    aten.repeat.default: _repeat,
    aten.roll.default: _roll,
    aten.upsample_nearest1d.vec: _nearest,
    aten.upsample_nearest2d.vec: _nearest,
    aten.upsample_nearest3d.vec: _nearest,
}
