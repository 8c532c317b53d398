"""Choices between values, in sums and products; a choice is between 0 and 1 of each.

maximum(x, y)           ->  x + relu(y - x)
minimum(x, y)           ->  x - relu(x - y)
where(p, x, y)          ->  p * x + (1 - p) * y
max(x, axis)[0], amin   ->  amax(x), -amax(-x)
clamp(x, tensors)       ->  maximum and minimum
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import cast

import torch
from torch.fx import Node
from torch.fx.node import Argument

from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    is_real,
    owner,
    replace,
    shape,
)
from intaglio.compiler.passes.masks import hides
from intaglio.compiler.passes.spellings import expanded, reshaped, source
from intaglio.compiler.passes.truths import is_all, known, opposite, total, truth
from intaglio.compiler.tables import composed

aten = torch.ops.aten


def _maximum(node: Node) -> None:
    first, second = (cast(Node, arg) for arg in node.args[:2])
    replace(node, larger(node, first, second))


def larger(node: Node, first: Node, second: Node) -> Node:
    """The larger of two values at every element, ahead of `node`, whose shape it has."""
    return total(node, aten.add.Tensor, first, _excess(node, second, first), shape(node))


def _minimum(node: Node) -> None:
    first, second = (cast(Node, arg) for arg in node.args[:2])
    replace(node, smaller(node, first, second))


def smaller(node: Node, first: Node, second: Node) -> Node:
    """The smaller of two values at every element, ahead of `node`, whose shape it has."""
    return total(node, aten.sub.Tensor, first, _excess(node, first, second), shape(node))


def _excess(node: Node, first: Node, second: Node) -> Node:
    """By how much one value exceeds another, 0 where it does not, ahead of `node`."""
    gap = total(node, aten.sub.Tensor, first, second, shape(node))
    return insert_call(node, aten.relu.default, (gap,), node, shape(node))


def _clamp(node: Node) -> None:
    """Bounds that are tensors."""
    value = source(node)
    low, high = argument(node, 1, "min"), argument(node, 2, "max")
    if isinstance(low, Node):
        value = larger(node, value, low)
    if isinstance(high, Node):
        value = smaller(node, value, high)
    replace(node, value)


def _extremes(node: Node) -> None:
    """The first result of max or min along an axis, when nothing reads where it was."""
    if any(user.target is not operator.getitem or user.args[1] != 0 for user in node.users):
        return
    axis, kept = cast(int, node.args[1]), bool(argument(node, 2, "keepdim", False))
    for user in list(node.users):
        least = node.target is aten.min.dim
        replace(user, _extreme(user, source(node), shape(user), [axis], kept, least))


def _extreme(
    before: Node, value: Node, size: tuple[int, ...], axes: list[int], kept: bool, least: bool
) -> Node:
    """The largest or the least of a value along axes, of shape `size`, ahead of `before`."""
    if least:
        value = _negative(before, value)
    made = insert_call(before, aten.amax.default, (value, axes, kept), before, size)
    return _negative(before, made) if least else made


def _negative(before: Node, value: Node) -> Node:
    """-x as a table, ahead of `before`."""
    steps = cast(Argument, ((aten.neg.default, ((0,),), {}),))
    return insert_call(before, composed, (value, steps), before, shape(value))


def _least(node: Node) -> None:
    axes = cast("list[int]", argument(node, 1, "dim") or list(range(len(shape(source(node))))))
    kept = bool(argument(node, 2, "keepdim", False))
    replace(node, _extreme(node, source(node), shape(node), axes, kept, True))


def _extreme_of_all(node: Node) -> None:
    value = source(node)
    flat = reshaped(node, value, (1, math.prod(shape(value))))
    least = node.target is aten.min.default
    replace(node, reshaped(node, _extreme(node, flat, (1, 1), [1], True, least), shape(node)))


def _where(node: Node) -> None:
    """P * x + (1 - p) * y, of which zeros are left out; masks of scores stay choices."""
    chosen, first, second = (cast(Node, arg) for arg in node.args[:3])
    if not is_real(node) or hides(first) or hides(second):
        return
    kept = truth(node, chosen)
    if kept is None:
        return
    if is_all(kept, 1.0) or is_all(kept, 0.0):
        replace(node, expanded(node, first if is_all(kept, 1.0) else second, shape(node)))
        return
    terms = []
    for share, value in ((kept, first), (None, second)):
        if is_all(value, 0.0):
            continue
        share = opposite(node, kept) if share is None else share
        size = tuple(torch.broadcast_shapes(shape(share), shape(value)))
        value = _of_rank(node, value, len(size))
        args = (value, share) if shape(value) == size else (share, value)
        terms.append(insert_call(node, aten.mul.Tensor, args, node, size))
    if not terms:
        replace(node, expanded(node, first, shape(node)))
        return
    made = expanded(node, terms[0], shape(node))
    if len(terms) == 2:
        made = total(node, aten.add.Tensor, terms[0], terms[1], shape(node))
    replace(node, made)


def _as_number(node: Node) -> None:
    """Truth values that become real."""
    if is_real(node) and source(node).meta["val"].dtype is torch.bool:
        kept = truth(node, source(node))
        if kept is not None:
            replace(node, kept)


def _with_truths(node: Node) -> None:
    """Sums and products of real values with truth values, and with numbers held as tensors."""
    for operand in node.all_input_nodes:
        number = known(operand) if is_real(node) and not shape(operand) else None
        if number is not None and number.is_floating_point():
            if operand is node.args[1]:
                node.args = (node.args[0], number.item(), *node.args[2:])
            elif node.target is aten.mul.Tensor:
                node.args = (node.args[1], number.item())
            continue
        if is_real(node) and operand.meta["val"].dtype is torch.bool:
            kept = truth(node, operand)
            if kept is not None:
                node.replace_input_with(operand, kept)


def _of_rank(before: Node, value: Node, rank: int) -> Node:
    """A number of the model with as many axes as what it multiplies; other values as they are."""
    number = known(value)
    if number is None or number.numel() > 1 or number.dim() == rank:
        return value
    form = number.reshape((1,) * rank)
    return insert_parameter(owner(before), before, f"{before.name}_number", form)


def _filled(node: Node) -> None:
    """A tensor of one number, in the shape of another."""
    number = argument(node, 1, "fill_value")
    if is_real(node) and isinstance(number, int | float):
        value = torch.full(shape(node), float(number))
        replace(node, insert_parameter(owner(node), node, f"{node.name}_filled", value))


RULES: dict[object, Callable[[Node], None]] = {
    aten._to_copy.default: _as_number,
    aten.add.Tensor: _with_truths,
    aten.amin.default: _least,
    aten.clamp.Tensor: _clamp,
    aten.div.Tensor: _with_truths,
    aten.full_like.default: _filled,
    aten.max.default: _extreme_of_all,
    aten.max.dim: _extremes,
    aten.maximum.default: _maximum,
    aten.min.default: _extreme_of_all,
    aten.min.dim: _extremes,
    aten.minimum.default: _minimum,
    aten.mul.Tensor: _with_truths,
    aten.sub.Tensor: _with_truths,
    aten.where.self: _where,
}
