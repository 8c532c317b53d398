"""One spelling for elements taken at fixed positions.

upsample_nearest, flip, roll, repeat            ->  index_select(x, axis, positions) along each axis
pad(x, mode="reflect" | "replicate" | "circular")  ->  the same
pad(x, value)                                   ->  pad(x) + constant
"""

from __future__ import annotations

import math
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
from intaglio.compiler.passes.spellings import reshaped, sliced, source

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
        made = insert_call(node, aten.constant_pad_nd.default, args, node, shape(node))
        replace(node, made)
        _framed(made)
        return
    value = source(node)
    for index in range(len(borders) // 2):
        axis = len(shape(value)) - 1 - index
        along = torch.arange(shape(value)[axis], dtype=torch.float64)[None, None]
        ends = (borders[2 * index], borders[2 * index + 1])
        value = picked(node, value, axis, functional.pad(along, ends, mode)[0, 0].long())
    replace(node, value)


def bordered(before: Node, value: Node, borders: list[int], number: float) -> Node:
    """`value` with a number around it, cut off where borders are negative, ahead of `before`.

    `borders` are (ahead, behind) from the last axis on.
    """
    rank = len(shape(value))
    for index in range(len(borders) // 2):
        axis = rank - 1 - index
        ahead, behind = borders[2 * index : 2 * index + 2]
        start, end = max(-ahead, 0), shape(value)[axis] + min(behind, 0)
        if (start, end) != (0, shape(value)[axis]):
            value = sliced(before, value, axis, start, end)
    added = [max(pixels, 0) for pixels in borders]
    if not any(added):
        return value
    size = tuple(functional.pad(torch.empty(shape(value), device="meta"), added).shape)
    made = insert_call(before, aten.constant_pad_nd.default, (value, added, 0.0), before, size)
    if number == 0:
        return made
    with torch.device("cpu"):
        frame = functional.pad(torch.zeros(shape(value)), added, value=number)
    held = frame.to(torch.get_default_device())
    constant = insert_parameter(owner(before), before, f"{before.name}_frame", held)
    return insert_call(before, aten.add.Tensor, (made, constant), before, size)


def _framed(node: Node) -> None:
    borders, number = cast("list[int]", node.args[1]), argument(node, 2, "value", 0)
    plain = number == 0 and min(borders) >= 0
    if not plain and isinstance(number, int | float) and math.isfinite(number):
        replace(node, bordered(node, source(node), borders, float(number)))


def maxima(node: Node) -> Node | None:
    """What reads the first result of `node`, when nothing reads another."""
    users = list(node.users)
    if len(users) == 1 and users[0].target is operator.getitem and users[0].args[1] == 0:
        return users[0]
    return None


RULES: dict[object, Callable[[Node], None]] = {
    aten._upsample_nearest_exact1d.vec: _nearest,
    aten._upsample_nearest_exact2d.vec: _nearest,
    aten._upsample_nearest_exact3d.vec: _nearest,
    aten.constant_pad_nd.default: _framed,
    aten.flip.default: _flip,
    aten.pad.default: _padding,
    aten.repeat.default: _repeat,
    aten.roll.default: _roll,
    aten.upsample_nearest1d.vec: _nearest,
    aten.upsample_nearest2d.vec: _nearest,
    aten.upsample_nearest3d.vec: _nearest,
}
