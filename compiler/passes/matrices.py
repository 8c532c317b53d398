"""Sums with fixed weights along an axis, as linear layers whose matrix follows from the shapes.

adaptive_avg_pool(x, size)    ->  linear(x, shares) along each axis
upsample_bicubic2d(x, size)   ->  linear(x, weights of the taps) along each axis; antialias too
cumsum(x, axis)               ->  linear(x, triangle of ones)
bilinear(x, y, weight)        ->  matmul(linear(x, weight), y)

The matrices are what PyTorch's own operator makes of the unit vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from intaglio.compiler.graph import argument, insert_call, insert_parameter, owner, replace, shape
from intaglio.compiler.passes.resampling import factors
from intaglio.compiler.passes.spellings import permuted, reshaped, source

aten = torch.ops.aten
BICUBIC = aten.upsample_bicubic2d.vec


def along(before: Node, value: Node, axis: int, matrix: Tensor) -> Node:
    """The sums of `value` along one axis that the rows of `matrix` weigh, ahead of `before`.

    The matrix is (outputs, inputs); the input is the same where it is the identity.
    """
    outputs, inputs = matrix.shape
    if outputs == inputs and torch.equal(matrix, torch.eye(inputs, device="cpu")):
        return value
    rank = len(shape(value))
    order = (*(other for other in range(rank) if other != axis), axis)
    moved = permuted(before, value, order)
    lead = shape(moved)[:-1]
    flat = reshaped(before, moved, (1, math.prod(lead), inputs))
    held = matrix.float().to(torch.get_default_device())
    weight = insert_parameter(owner(before), before, f"{before.name}_matrix{axis}", held)
    size = (*shape(flat)[:2], outputs)
    made = insert_call(before, aten.linear.default, (flat, weight, None), before, size)
    back = tuple(order.index(other) for other in range(rank))
    return permuted(before, reshaped(before, made, (*lead, outputs)), back)


def averaged(before: Node, value: Node, size: tuple[int, ...]) -> Node:
    """Averages over windows that divide the last axes as evenly as can be, ahead of `before`."""
    lead = len(shape(value)) - len(size)
    for axis, extent in enumerate(size, lead):
        with torch.device("cpu"):
            units = torch.eye(shape(value)[axis])[None]
            matrix = functional.adaptive_avg_pool1d(units, extent)[0].T
        value = along(before, value, axis, matrix)
    return value


def _volume_averages(node: Node) -> None:
    replace(node, averaged(node, source(node), shape(node)[-3:]))


def _interpolated(node: Node) -> None:
    """An interpolation of both axes, which is one of each after the other."""
    value = source(node)
    given = _scales(node)
    for axis in (2, 3):
        matrix = _taps(node, axis, shape(value)[axis], given[axis - 2])
        value = along(node, value, axis, matrix)
    replace(node, value)


def _scales(node: Node) -> list[float | None]:
    """The scale factors given to PyTorch for (y, x); None where the size was given."""
    if node.target is BICUBIC:
        return factors(node, 3)
    given = argument(node, 3, "scales_h"), argument(node, 4, "scales_w")
    return cast("list[float | None]", list(given))


def _taps(node: Node, axis: int, extent: int, factor: float | None) -> Tensor:
    """What the operator makes of maps with ones in a single row, along one axis.

    They are two pixels wide: PyTorch misreads how maps of one pixel lie in memory.
    """
    function = cast("Callable[..., Tensor]", node.target)
    with torch.device("cpu"):
        units = torch.eye(extent)[None, :, :, None].expand(1, extent, extent, 2).contiguous()
        size = [shape(node)[axis], 2]
        if node.target is not BICUBIC:
            made = function(units, size, node.args[2], factor, None)
        elif factor is None:
            made = function(units, size, node.args[2], None)
        else:
            made = function(units, None, node.args[2], [factor, 1.0])
    return made[0, :, :, 0].T


def _running_sum(node: Node) -> None:
    axis = cast(int, node.args[1]) % len(shape(node))
    with torch.device("cpu"):
        triangle = torch.ones(shape(node)[axis], shape(node)[axis]).tril()
    replace(node, along(node, source(node), axis, triangle))


def _bilinear(node: Node) -> None:
    """A form of two vectors: the first gives a matrix that multiplies the second."""
    first, weight, second = (cast(Node, arg) for arg in node.args[:3])
    if list(node.args[3:7]) != [[1, 3], [0], [1, 2], [2, 3]] or weight.op != "get_attr":
        return
    (rows, inputs), (outputs, _, others) = shape(first), shape(weight)
    flat = reshaped(node, permuted(node, weight, (0, 2, 1)), (outputs * others, inputs))
    size = (rows, outputs * others)
    made = insert_call(node, aten.linear.default, (first, flat, None), node, size)
    matrix = reshaped(node, made, (rows, outputs, others))
    column = reshaped(node, second, (rows, others, 1))
    args = matrix, column
    product = insert_call(node, aten.matmul.default, args, node, (rows, outputs, 1))
    replace(node, reshaped(node, product, shape(node)))


RULES: dict[object, Callable[[Node], None]] = {
    aten._adaptive_avg_pool3d.default: _volume_averages,
    aten._trilinear.default: _bilinear,
    aten._upsample_bicubic2d_aa.default: _interpolated,
    aten._upsample_bilinear2d_aa.default: _interpolated,
    aten.cumsum.default: _running_sum,
    BICUBIC: _interpolated,
}
