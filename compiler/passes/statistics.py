"""Variances, lengths and logarithms of probabilities, in sums and products and tables.

var(x, axes, c)        ->  sum((x - mean(x)) ** 2) / (n - c)
norm(x), norm(x, 1)    ->  sqrt(sum(x ** 2)), sum(abs(x))
log_softmax(x)         ->  x - amax(x) + log(amax(softmax(x)))
logsumexp(x)           ->  amax(x) - log(amax(softmax(x)))

The largest probability is never near 0, so its logarithm keeps its accuracy in 8 bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch.fx import Node

from intaglio.compiler.graph import argument, insert_call, replace, shape
from intaglio.compiler.passes.roots import axes_of
from intaglio.compiler.passes.spellings import permuted, reshaped, source
from intaglio.compiler.passes.truths import total

aten = torch.ops.aten


def _mean_of_all(node: Node) -> None:
    axes = list(range(len(shape(source(node)))))
    args = (source(node), axes)
    replace(node, insert_call(node, aten.mean.dim, args, node, shape(node)))


def _variance(node: Node) -> None:
    value, axes = source(node), axes_of(node)
    count = math.prod(shape(value)[axis] for axis in axes)
    left = count - cast(float, argument(node, 2, "correction", 1))
    if left <= 0:
        return
    mean = _reduced(node, aten.mean.dim, value, axes)
    apart = total(node, aten.sub.Tensor, value, mean, shape(value))
    squares = insert_call(node, aten.mul.Tensor, (apart, apart), node, shape(value))
    spread = _reduced(node, aten.mean.dim, squares, axes)
    args = (spread, count / left)
    replace(node, _in_form(node, insert_call(node, aten.mul.Tensor, args, node, shape(spread))))


def _length(node: Node) -> None:
    """The Euclidean length, the sum of magnitudes, or the largest of them."""
    value, axes = source(node), axes_of(node)
    order = argument(node, 1, "ord", 2)
    if order == 2:
        squares = insert_call(node, aten.mul.Tensor, (value, value), node, shape(value))
        sums = _reduced(node, aten.sum.dim_IntList, squares, axes)
        made = insert_call(node, aten.sqrt.default, (sums,), node, shape(sums))
    elif order in (1, math.inf):
        kind = aten.sum.dim_IntList if order == 1 else aten.amax.default
        sizes = insert_call(node, aten.abs.default, (value,), node, shape(value))
        made = _reduced(node, kind, sizes, axes)
    else:
        return
    replace(node, _in_form(node, made))


def _log_softmax(node: Node) -> None:
    value, axis = source(node), cast(int, node.args[1]) % len(shape(node))
    most = _reduced(node, aten.amax.default, value, (axis,))
    below = total(node, aten.sub.Tensor, value, most, shape(value))
    share = _log_of_largest(node, value, axis)
    replace(node, total(node, aten.add.Tensor, below, share, shape(value)))


def _log_of_sum(node: Node) -> None:
    """Several axes become one."""
    value, axes = source(node), axes_of(node)
    rank = len(shape(value))
    order = (*(axis for axis in range(rank) if axis not in axes), *axes)
    moved = permuted(node, value, order)
    lead = shape(moved)[: rank - len(axes)]
    value = reshaped(node, moved, (*lead, math.prod(shape(moved)[len(lead) :])))
    most = _reduced(node, aten.amax.default, value, (len(lead),))
    share = _log_of_largest(node, value, len(lead))
    replace(node, _in_form(node, total(node, aten.sub.Tensor, most, share, shape(most))))


def _log_of_largest(before: Node, value: Node, axis: int) -> Node:
    """The logarithm of the largest probability along an axis, ahead of `before`."""
    shares = insert_call(before, aten.softmax.int, (value, axis), before, shape(value))
    largest = _reduced(before, aten.amax.default, shares, (axis,))
    return insert_call(before, aten.log.default, (largest,), before, shape(largest))


def _reduced(before: Node, kind: object, value: Node, axes: tuple[int, ...]) -> Node:
    """A reduction that keeps extents of 1, ahead of `before`."""
    extents = enumerate(shape(value))
    size = tuple(1 if axis in axes else extent for axis, extent in extents)
    args = (value, list(axes), True)
    return insert_call(before, cast("Callable[..., object]", kind), args, before, size)


def _in_form(node: Node, made: Node) -> Node:
    """Without the extents of 1 that `node` does not keep."""
    return reshaped(node, made, shape(node))


RULES: dict[object, Callable[[Node], None]] = {
    aten._log_softmax.default: _log_softmax,
    aten.linalg_vector_norm.default: _length,
    aten.logsumexp.default: _log_of_sum,
    aten.mean.default: _mean_of_all,
    aten.var.correction: _variance,
}
