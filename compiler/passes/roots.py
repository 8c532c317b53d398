"""Lengths, deviations and other roots of mean squares, in the ways that models write them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch.fx import Node

from intaglio.compiler.graph import argument, owner, parameter, shape

aten = torch.ops.aten
SMALL = 1e-3
"""The largest number that counts as guard against a division by 0, relative to the root's factor.

Whether it is added to the root, bounds it or is added below it matters for smaller values alone.
"""
SAME = frozenset(
    {
        aten._to_copy.default,
        aten.clone.default,
        aten.reshape.default,
        aten.unsqueeze.default,
        aten.view.default,
    }
)
"""Calls that keep elements and their order."""


@dataclass(frozen=True, slots=True)
class Root:
    """factor * sqrt(s + epsilon): s is the mean square of `value` over `axes`, or its variance.

    It is the variance when `centred`.  `nodes` compute it.
    """

    value: Node
    axes: tuple[int, ...]
    centred: bool
    factor: float
    epsilon: float
    nodes: tuple[Node, ...]

    @property
    def kept(self) -> tuple[int, ...]:
        """The shape of the value with extents of 1 on the axes."""
        extents = enumerate(shape(self.value))
        return tuple(1 if axis in self.axes else extent for axis, extent in extents)


def divisor(node: Node) -> Root | None:
    """The root that a node is, stretched over the axes or not; None when it is none."""
    if node.target is aten.expand.default:
        inner = _source(node)
        found = None if inner is None else _root(inner)
        fits = found is not None and inner is not None and shape(inner) == found.kept
        return found if found is not None and fits and shape(node) == shape(found.value) else None
    found = _root(node)
    return found if found is not None and shape(node) == found.kept else None


def reciprocal(node: Node) -> Root | None:
    """The root that a node is the reciprocal of."""
    inner = _source(node)
    if inner is None:
        return None
    if node.target is aten.reciprocal.default:
        return divisor(inner)
    if node.target is aten.rsqrt.default or _raised_to(node, -0.5):
        found = _under_root(inner)
        fits = found is not None and shape(node) == found.kept
        return replace(found, nodes=(*found.nodes, node)) if found is not None and fits else None
    return None


def centred_by(node: Node, axes: tuple[int, ...]) -> Node | None:
    """The x of x - mean(x) over `axes`."""
    if node.target is not aten.sub.Tensor or argument(node, 2, "alpha", 1) != 1:
        return None
    value, mean = node.args[:2]
    while isinstance(mean, Node) and mean.target is aten.expand.default:
        mean = mean.args[0]
    if not isinstance(value, Node) or not isinstance(mean, Node):
        return None
    same = mean.target is aten.mean.dim and mean.args[0] is value
    return (
        value if same and axes_of(mean) == axes and len(shape(mean)) == len(shape(value)) else None
    )


def number_of(given: object) -> float | None:
    """The number that an operand is: as it stands there, or of the model; None when it is none."""
    if isinstance(given, int | float):
        return float(given)
    if not isinstance(given, Node) or given.op != "get_attr":
        return None
    value = parameter(owner(given), given)
    return None if value.is_meta or value.dim() else float(value)


def _source(node: Node) -> Node | None:
    first = node.args[0] if node.op == "call_function" and node.args else None
    return first if isinstance(first, Node) else None


def _raised_to(node: Node, power: float) -> bool:
    return bool(node.target is aten.pow.Tensor_Scalar and node.args[1] == power)


def _root(node: Node) -> Root | None:
    """A root, its multiples, and its sums with a small number."""
    inner = _source(node)
    if inner is None:
        return None
    if node.target is aten.linalg_vector_norm.default:
        return _length(node, inner)
    if node.target is aten.sqrt.default or _raised_to(node, 0.5):
        found = _under_root(inner)
    elif node.target in SAME:
        found = _root(inner)
    else:
        found = _guarded(node)
    return None if found is None else replace(found, nodes=(*found.nodes, node))


def _length(node: Node, value: Node) -> Root | None:
    """The Euclidean length of vectors."""
    if argument(node, 1, "ord", 2) != 2:
        return None
    axes = axes_of(node)
    factor = math.sqrt(math.prod(shape(value)[axis] for axis in axes))
    return Root(value, axes, False, factor, 0.0, (node,))


def _guarded(node: Node) -> Root | None:
    """A root times a number, or kept from 0 by a small one."""
    for inner, other in ((node.args[0], _second(node)), (_second(node), node.args[0])):
        number = number_of(other)
        found = _root(inner) if isinstance(inner, Node) and number is not None else None
        if found is None or number is None or number <= 0:
            continue
        if node.target in (aten.mul.Tensor, aten.mul.Scalar):
            return replace(found, factor=found.factor * number)
        if node.target in (aten.div.Tensor, aten.div.Scalar) and inner is node.args[0]:
            return replace(found, factor=found.factor / number)
        guard = number / found.factor
        if node.target in GUARDS and guard <= SMALL and _only_from_below(node):
            return replace(found, epsilon=found.epsilon + guard**2)
    return None


def _second(node: Node) -> object:
    return argument(node, 1, "min")


def _only_from_below(node: Node) -> bool:
    third = argument(node, 2, "max")
    return third is None and "alpha" not in node.kwargs


GUARDS = frozenset(
    {
        aten.add.Tensor,
        aten.clamp.Tensor,
        aten.clamp.default,
        aten.clamp_min.default,
        aten.maximum.default,
    }
)
"""How a root is kept from 0."""


def _under_root(node: Node) -> Root | None:
    """sqrt(node), of a mean square, a sum of squares or a variance, and a small number."""
    found = _statistic(node)
    if found is not None:
        return found
    inner, number = _source(node), number_of(_second(node))
    found = None if inner is None else _statistic(inner)
    if found is None or number is None or number < 0 or not _only_from_below(node):
        return None
    scaled = number / found.factor**2
    exact = node.target is aten.add.Tensor
    if exact or (node.target in GUARDS and scaled <= SMALL**2):
        return replace(found, epsilon=scaled, nodes=(*found.nodes, node))
    return None


def _statistic(node: Node) -> Root | None:
    """sqrt(node), of a mean square, a sum of squares or a variance."""
    while node.target in SAME and (inner := _source(node)) is not None:
        node = inner
    inner = _source(node)
    if inner is None or node.target not in STATISTICS:
        return None
    axes, extents = axes_of(node), shape(inner)
    count = math.prod(extents[axis] for axis in axes)
    if node.target is aten.var.correction:
        left = count - cast(float, argument(node, 2, "correction", 1))
        return Root(inner, axes, True, math.sqrt(count / left), 0.0, (node,)) if left > 0 else None
    squared = _squared(inner)
    if squared is None:
        return None
    factor = 1.0 if node.target is aten.mean.dim else math.sqrt(count)
    return Root(squared, axes, False, factor, 0.0, (node, inner))


STATISTICS = frozenset({aten.mean.dim, aten.sum.dim_IntList, aten.var.correction})


def _squared(node: Node) -> Node | None:
    """The x of x ** 2."""
    if _raised_to(node, 2) or node.target is aten.square.default:
        return _source(node)
    if node.target is aten.mul.Tensor and node.args[0] is node.args[1]:
        return _source(node)
    return None


def axes_of(node: Node) -> tuple[int, ...]:
    """The axes of a reduction, in order; all when it names none."""
    index = 2 if node.target is aten.linalg_vector_norm.default else 1
    rank = len(shape(cast(Node, node.args[0])))
    given = argument(node, index, "dim")
    axes = [given] if isinstance(given, int) else list(cast("list[int]", given or range(rank)))
    return tuple(sorted(axis % rank for axis in axes))
