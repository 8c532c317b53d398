"""One spelling for convolutions and what belongs to them: all become conv2d on four axes.

conv1d(x, w)                       ->  conv2d of height 1 between reshapes
conv2d(x, padding="same")          ->  [constant_pad_nd ->] conv2d(x, numbers)
conv_transpose(x, w, stride)       ->  zeros between the pixels, constant_pad_nd, conv2d(flipped w)
conv_transpose of whole windows    ->  conv2d of 1 x 1 to all pixels of a window, permute
batch_norm of (N, C) or (N, C, L)  ->  batch_norm of a map of height 1
prelu(x, slopes)                   ->  leaky_relu(x), or relu(x) + slopes * min(x, 0)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node

from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    owner,
    parameter,
    replace,
    shape,
)
from intaglio.compiler.passes.fold_batch_norm import BATCH_NORM
from intaglio.compiler.passes.given import GRID, Grid
from intaglio.compiler.passes.spellings import permuted, reshaped, sliced, source

aten = torch.ops.aten
Borders = tuple[tuple[int, int], tuple[int, int]]
"""Pixels ahead of and behind a map, for (y, x); negative ones are cut off."""


def _row(node: Node) -> None:
    """A convolution over one axis is one of height 1."""
    value, weight = (cast(Node, arg) for arg in node.args[:2])
    if len(shape(value)) != 3:
        return
    kernel = remade(node, weight, "row", lambda w: w.unsqueeze(2))
    padding = argument(node, 4, "padding", 0)
    named = isinstance(padding, str)
    args = (
        _as_map(node, value),
        kernel,
        argument(node, 2, "bias"),
        [1, *numbers(node, 3, "stride", 1, 1)],
        padding if named else [0, *numbers(node, 4, "padding", 1, 0)],
        [1, *numbers(node, 5, "dilation", 1, 1)],
        argument(node, 6, "groups", 1),
    )
    target = aten.conv2d.padding if named else aten.conv2d.default
    layer = insert_call(node, target, args, node, _map_shape(shape(node)))
    replace(node, reshaped(node, layer, shape(node)))
    if named:
        _named_padding(layer)


def _named_padding(node: Node) -> None:
    """Write 'same' (an odd pixel goes to the bottom and right) and 'valid' as numbers."""
    value, weight = source(node), cast(Node, node.args[1])
    stride = argument(node, 3, "stride", [1, 1])
    dilation = cast("list[int]", argument(node, 5, "dilation", [1, 1]))
    total = [0, 0]
    if argument(node, 4, "padding", "valid") == "same":
        total = [d * (k - 1) for d, k in zip(dilation, shape(weight)[2:], strict=True)]
    padding = [pixels // 2 for pixels in total]
    value = _bordered(node, value, ((0, total[0] % 2), (0, total[1] % 2)))
    groups = argument(node, 6, "groups", 1)
    args = (value, weight, argument(node, 2, "bias"), stride, padding, dilation, groups)
    replace(node, insert_call(node, aten.conv2d.default, args, node, shape(node)))


def _transposed(node: Node) -> None:
    """A transposed convolution slides its flipped kernel over pixels with zeros between them."""
    value, weight = (cast(Node, arg) for arg in node.args[:2])
    axes = len(shape(weight)) - 2
    if weight.op != "get_attr" or len(shape(value)) != axes + 2:
        return
    ones, zeros = [1] * (2 - axes), [0] * (2 - axes)
    stride = ones + numbers(node, 3, "stride", axes, 1)
    padding = zeros + numbers(node, 4, "padding", axes, 0)
    added = zeros + numbers(node, 5, "output_padding", axes, 0)
    groups = cast(int, argument(node, 6, "groups", 1))
    dilation = ones + numbers(node, 7, "dilation", axes, 1)
    window = [*ones, *shape(weight)[2:]]
    normed = any(user.target is BATCH_NORM for user in node.users)
    if window == stride and not any(padding + added) and dilation == [1, 1] and not normed:
        _side_by_side(node, value, weight, groups)
        return
    kernel = remade(node, weight, "flipped", lambda w: _flipped(w, groups))
    reach = [d * (k - 1) for d, k in zip(dilation, shape(kernel)[2:], strict=True)]
    top, left = (r - p for r, p in zip(reach, padding, strict=True))
    bottom, right = (
        r - p + a - s + 1 for r, p, a, s in zip(reach, padding, added, stride, strict=True)
    )
    spread = _spread(node, _as_map(node, value), (stride[0], stride[1]))
    entry = _bordered(node, spread, ((top, bottom), (left, right)))
    args = (entry, kernel, argument(node, 2, "bias"), [1, 1], [0, 0], dilation, groups)
    layer = insert_call(node, aten.conv2d.default, args, node, _map_shape(shape(node)))
    replace(node, reshaped(node, layer, shape(node)))


def _side_by_side(node: Node, value: Node, weight: Node, groups: int) -> None:
    """Windows that do not overlap: a product for each pixel of them, and the pixels apart."""
    mapped = _as_map(node, value)
    inputs, (down, across) = shape(mapped)[2:], _window(list(shape(weight)[2:]))
    outputs = shape(node)[1]
    pixels = down * across
    kernel = remade(node, weight, "pixels", lambda w: _pixels(w, groups))
    bias = argument(node, 2, "bias")
    if isinstance(bias, Node):
        bias = remade(node, bias, "pixels", lambda b: b.repeat_interleave(pixels))
    size = (1, outputs * pixels, *inputs)
    args = (mapped, kernel, bias, [1, 1], [0, 0], [1, 1], groups)
    layer = insert_call(node, aten.conv2d.default, args, node, size)
    apart = reshaped(node, layer, (1, outputs, down, across, *inputs))
    placed = permuted(node, apart, (0, 1, 4, 2, 5, 3))
    replace(node, reshaped(node, placed, shape(node)))


def _pixels(weight: Tensor, groups: int) -> Tensor:
    """The weight (C, K / groups, ...) of a transposed layer as (K * pixels, C / groups, 1, 1)."""
    channels, outputs, *window = weight.shape
    columns = weight.reshape(groups, channels // groups, outputs * math.prod(window))
    return columns.transpose(1, 2).reshape(-1, channels // groups, 1, 1)


def _flipped(weight: Tensor, groups: int) -> Tensor:
    """The weight (C, K / groups, ...) of a transposed layer as (K, C / groups, FY, FX)."""
    channels, outputs, *window = weight.shape
    grouped = weight.reshape(groups, channels // groups, outputs, *window).transpose(1, 2)
    kernel = grouped.reshape(groups * outputs, channels // groups, *window)
    return kernel.flip(*range(2, kernel.dim())).reshape(*kernel.shape[:2], *_window(window))


def _window(window: list[int]) -> tuple[int, ...]:
    return (1,) * (2 - len(window)) + tuple(window)


def _spread(before: Node, value: Node, stride: tuple[int, int]) -> Node:
    """`value` with stride - 1 zeros behind every pixel of both axes."""
    if stride == (1, 1):
        return value
    n, c, y, x = shape(value)
    apart = reshaped(before, value, (n, c, y, 1, x, 1))
    size = (n, c, y, stride[0], x, stride[1])
    borders = [0, stride[1] - 1, 0, 0, 0, stride[0] - 1]
    args = (apart, borders, 0.0)
    padded = insert_call(before, aten.constant_pad_nd.default, args, before, size)
    return reshaped(before, padded, (n, c, y * stride[0], x * stride[1]))


def _bordered(before: Node, value: Node, borders: Borders) -> Node:
    """`value` with zeros around it, or with its edges cut off."""
    for axis, (ahead, behind) in enumerate(borders, 2):
        start, end = max(-ahead, 0), shape(value)[axis] + min(behind, 0)
        if (start, end) != (0, shape(value)[axis]):
            value = sliced(before, value, axis, start, end)
    (top, bottom), (left, right) = (tuple(max(pixels, 0) for pixels in pair) for pair in borders)
    if not (top or bottom or left or right):
        return value
    n, c, y, x = shape(value)
    args = (value, [left, right, top, bottom], 0.0)
    size = (n, c, y + top + bottom, x + left + right)
    return insert_call(before, aten.constant_pad_nd.default, args, before, size)


def _norm_of_rows(node: Node) -> None:
    """Batch normalisation of rows or features becomes that of a map, which can be folded."""
    value = source(node)
    rank = len(shape(value))
    if rank == 4 or value.target in OWN_NORMS.get(rank, ()):
        return
    mapped = _as_map(node, value)
    norm = insert_call(node, node.target, (mapped, *node.args[1:]), node, shape(mapped))
    for user in [user for user in node.users if user.args[1] == 0]:
        result = insert_call(user, user.target, (norm, 0), user, shape(mapped))
        replace(user, reshaped(user, result, shape(user)))


OWN_NORMS: Mapping[int, tuple[object, ...]] = {
    2: (aten.linear.default,),
    5: (aten.conv3d.default, aten.conv3d.padding),
}
"""Layers that take the norm behind them as it is, by the rank of their results."""


def _prelu(node: Node) -> None:
    """One slope is a table; one for each channel scales what is below zero."""
    value, slopes = (cast(Node, arg) for arg in node.args[:2])
    if slopes.op != "get_attr":
        return
    numbers, size = parameter(owner(node), slopes), shape(node)
    if numbers.numel() == 1:
        args = (value, float(numbers))
        replace(node, insert_call(node, aten.leaky_relu.default, args, node, size))
        return
    above = insert_call(node, aten.relu.default, (value,), node, size)
    below = insert_call(node, aten.clamp.default, (value, None, 0.0), node, size)
    if len(size) == 4:
        kernel = remade(node, slopes, "slopes", lambda s: s.reshape(-1, 1, 1, 1))
        layer = (below, kernel, None, [1, 1], [0, 0], [1, 1], size[1])
        below = insert_call(node, aten.conv2d.default, layer, node, size)
    else:
        factor = remade(node, slopes, "slopes", lambda s: s.reshape(-1, *[1] * (len(size) - 2)))
        below = insert_call(node, aten.mul.Tensor, (below, factor), node, size)
    replace(node, insert_call(node, aten.add.Tensor, (below, above), node, size))


def _as_map(before: Node, value: Node) -> Node:
    """(N, C), (N, C, L) or (N, C, ...) as (N, C, Y, X)."""
    return reshaped(before, value, _map_shape(shape(value)))


def _map_shape(size: tuple[int, ...]) -> tuple[int, ...]:
    if len(size) == 4:
        return size
    return (*size[:2], 1, math.prod(size[2:]))


def remade(node: Node, weight: Node, name: str, form: Callable[[Tensor], Tensor]) -> Node:
    """A parameter in another form, made once however many calls read it."""
    if weight.op != "get_attr":
        value = weight.meta["val"]
        return reshaped(node, weight, tuple(form(value).shape))
    module = owner(node)
    label = f"{str(weight.target).replace('.', '_')}_{name}"
    for made in module.graph.find_nodes(op="get_attr", target=label):
        return cast(Node, made)
    remade = form(parameter(module, weight)).contiguous()
    made = insert_parameter(module, node, label, remade)
    grid: Grid | None = weight.meta.get(GRID)
    made.meta[GRID] = None if grid is None else grid.moved(form)
    return made


def numbers(node: Node, index: int, name: str, axes: int, default: int) -> list[int]:
    """A geometry argument of one number for each axis, however it was written."""
    value = argument(node, index, name, default)
    entries = [value] if isinstance(value, int) else list(cast("list[int]", value))
    entries = entries or [default]
    return entries * axes if len(entries) == 1 else entries


RULES: dict[object, Callable[[Node], None]] = {
    BATCH_NORM: _norm_of_rows,
    aten.conv1d.default: _row,
    aten.conv1d.padding: _row,
    aten.conv2d.padding: _named_padding,
    aten.conv_transpose1d.default: _transposed,
    aten.conv_transpose2d.input: _transposed,
    aten.prelu.default: _prelu,
}
