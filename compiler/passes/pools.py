"""Pools of every form: dilated, adaptive, of volumes, with divisors that vary.

avg_pool2d(x, count_include_pad=False, ceil_mode)  ->  avg_pool2d(padded x) * constant
avg_pool2d(x, divisor_override=d)                  ->  avg_pool2d(x) * window / d
max_pool2d(x, dilation), adaptive_max_pool2d(x)    ->  max_pool2d(index_select(x))
max_pool3d, avg_pool3d                             ->  a pool of (y, x), then one of the depth
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.node import Argument
from torch.nn import functional

from intaglio.compiler.graph import argument, insert_call, insert_parameter, owner, replace, shape
from intaglio.compiler.passes.convolutions import numbers
from intaglio.compiler.passes.matrices import averaged
from intaglio.compiler.passes.resampling import bordered, maxima, picked
from intaglio.compiler.passes.spellings import reshaped, source

aten = torch.ops.aten


def _average_pool(node: Node) -> None:
    """Averages whose divisor is not the whole window everywhere."""
    kernel = numbers(node, 1, "kernel_size", 2, 1)
    stride = cast("list[int]", argument(node, 2, "stride") or kernel)
    padding = numbers(node, 3, "padding", 2, 0)
    counted = bool(argument(node, 5, "count_include_pad", True))
    override = cast("int | None", argument(node, 6, "divisor_override"))
    value, size = source(node), shape(node)
    if len(size) != 4:
        return
    geometry = zip(shape(value)[2:], size[2:], kernel, stride, padding, strict=True)
    beyond = [max((o - 1) * s + k - i - 2 * p, 0) for i, o, k, s, p in geometry]
    if override is not None:
        factor: Node | float = math.prod(kernel) / override
    elif any(beyond) or (any(padding) and not counted):
        factor = _shares(node, kernel, stride, padding, beyond)
    else:
        return
    if any(beyond):
        borders = [p + b for p, b in zip(padding, beyond, strict=True)]
        value = bordered(node, value, [padding[1], borders[1], padding[0], borders[0]], 0.0)
        padding = [0, 0]
    args = (value, kernel, stride, padding)
    made = insert_call(node, aten.avg_pool2d.default, args, node, size)
    product = aten.mul.Tensor if isinstance(factor, Node) else aten.mul.Scalar
    replace(node, insert_call(node, product, (made, factor), node, size))


def _shares(
    node: Node, kernel: list[int], stride: list[int], padding: list[int], beyond: list[int]
) -> Node:
    """How often the divisor of each average goes into the whole window, as (1, 1, Y, X)."""
    with torch.device("cpu"):
        ones = torch.ones(1, 1, *shape(source(node))[2:])
        ends = [p + b for p, b in zip(padding, beyond, strict=True)]
        around = functional.pad(ones, [padding[1], ends[1], padding[0], ends[0]])
        whole = functional.avg_pool2d(around, kernel, stride)
        wanted = functional.avg_pool2d(
            ones,
            kernel,
            stride,
            padding,
            bool(argument(node, 4, "ceil_mode", False)),
            bool(argument(node, 5, "count_include_pad", True)),
        )
    held = (wanted / whole).to(torch.get_default_device())
    return insert_parameter(owner(node), node, f"{node.name}_shares", held)


def _adaptive_average(node: Node) -> None:
    before, after = shape(source(node)), shape(node)
    if before == after:
        replace(node, source(node))
        return
    if len(before) != 4:
        return
    if any(b % a for b, a in zip(before[2:], after[2:], strict=True)):
        replace(node, averaged(node, source(node), after[2:]))
        return
    window = [b // a for b, a in zip(before[2:], after[2:], strict=True)]
    args = (source(node), window, window)
    replace(node, insert_call(node, aten.avg_pool2d.default, args, node, after))


def _max_pool(node: Node) -> None:
    """Only the maxima are read, not where they are."""
    found = maxima(node)
    if found is not None:
        made = insert_call(node, aten.max_pool2d.default, node.args, node, shape(found))
        replace(found, made)
        _dilated(made)


def _dilated(node: Node) -> None:
    """Windows with gaps are laid side by side."""
    dilation = numbers(node, 4, "dilation", 2, 1)
    if dilation == [1, 1]:
        return
    kernel = numbers(node, 1, "kernel_size", 2, 1)
    stride = cast("list[int]", argument(node, 2, "stride") or kernel)
    padding = numbers(node, 3, "padding", 2, 0)
    value, size = source(node), shape(node)
    for index, axis in enumerate(range(len(size) - 2, len(size))):
        k, s, p, d = kernel[index], stride[index], padding[index], dilation[index]
        windows = [range(o * s - p, o * s - p + d * k, d) for o in range(size[axis])]
        value = _side_by_side(node, value, axis, windows, k)
    args = (value, kernel, kernel)
    replace(node, insert_call(node, aten.max_pool2d.default, args, node, size))


def _side_by_side(before: Node, value: Node, axis: int, windows: list[range], count: int) -> Node:
    """The elements of each window behind those of the one before; `count` of each.

    Elements outside the value, and those that a window lacks, are another of the window.
    """
    extent, order = shape(value)[axis], []
    for window in windows:
        inside = [place for place in window if 0 <= place < extent]
        order += inside + inside[-1:] * (count - len(inside))
    return picked(before, value, axis, torch.tensor(order, device="cpu"))


def _adaptive_max_pool(node: Node) -> None:
    """Windows of several sizes become windows of the largest."""
    found = maxima(node)
    if found is None:
        return
    value, size, kernel = source(node), shape(found), []
    for axis in (len(size) - 2, len(size) - 1):
        extent, wanted = shape(value)[axis], size[axis]
        windows = [
            range(o * extent // wanted, -(-(o + 1) * extent // wanted)) for o in range(wanted)
        ]
        kernel.append(max(map(len, windows)))
        value = _side_by_side(found, value, axis, windows, kernel[-1])
    args = (value, kernel, kernel)
    replace(found, insert_call(found, aten.max_pool2d.default, args, node, size))


def _volume_max_pool(node: Node) -> None:
    found = maxima(node)
    if found is not None:
        dilation = numbers(node, 4, "dilation", 3, 1)
        ceiling = bool(argument(node, 5, "ceil_mode", False))
        more = ((dilation[1:], ceiling), ([dilation[0], 1], ceiling))
        replace(found, _by_axes(node, shape(found), aten.max_pool2d.default, more))


def _volume_average_pool(node: Node) -> None:
    if argument(node, 6, "divisor_override") is None:
        ceiling = bool(argument(node, 4, "ceil_mode", False))
        more = (ceiling, bool(argument(node, 5, "count_include_pad", True)))
        replace(node, _by_axes(node, shape(node), aten.avg_pool2d.default, (more, more)))


def _by_axes(
    node: Node, size: tuple[int, ...], kind: OpOverload, more: tuple[tuple[Argument, ...], ...]
) -> Node:
    """A pool of volumes as one of (y, x) and one of the depth, each with its last arguments."""
    kernel = numbers(node, 1, "kernel_size", 3, 1)
    stride = cast("list[int]", argument(node, 2, "stride") or kernel)
    padding = numbers(node, 3, "padding", 3, 0)
    value = source(node)
    channels, depth, height, width = shape(value)[-4:]
    if (kernel[1:], stride[1:]) != ([1, 1], [1, 1]):
        maps = reshaped(node, value, (1, channels * depth, height, width))
        args = (maps, kernel[1:], stride[1:], padding[1:], *more[0])
        value = insert_call(node, kind, args, node, (1, channels * depth, *size[-2:]))
    if (kernel[0], stride[0]) != (1, 1):
        columns = reshaped(node, value, (1, channels, depth, math.prod(size[-2:])))
        window = [kernel[0], 1], [stride[0], 1], [padding[0], 0]
        form = (1, channels, size[-3], math.prod(size[-2:]))
        value = insert_call(node, kind, (columns, *window, *more[1]), node, form)
    return reshaped(node, value, size)


VOLUMES: dict[object, Callable[[Node], None]] = {
    aten.avg_pool3d.default: _volume_average_pool,
    aten.max_pool3d_with_indices.default: _volume_max_pool,
}
"""Pools that become pools of maps, which `RULES` knows."""
RULES: dict[object, Callable[[Node], None]] = {
    aten.adaptive_avg_pool2d.default: _adaptive_average,
    aten.adaptive_max_pool2d.default: _adaptive_max_pool,
    aten.avg_pool2d.default: _average_pool,
    aten.max_pool2d.default: _dilated,
    aten.max_pool2d_with_indices.default: _max_pool,
}
