"""Norms that a model writes out, and vectors divided by their length, as one norm each.

x * rsqrt(mean(x ** 2) + epsilon) [* w]           ->  rms_norm(x, w, epsilon)
(x - mean(x)) / sqrt(var(x) + epsilon) [* w + b]  ->  layer_norm(x, w, b, epsilon)
x / max(norm(x), epsilon)                         ->  rms_norm(x, 1 / sqrt(n), epsilon ** 2 / n)

Axes that are not the last ones are moved there and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    is_real,
    merge_origins,
    owner,
    parameter,
    shape,
    single_user,
)
from intaglio.compiler.passes.roots import Root, centred_by, divisor, number_of, reciprocal
from intaglio.compiler.passes.spellings import permuted, reshaped

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class ComposeNorms:
    """Find norms that are written out, in every way that models are seen to write them.

    x * rsqrt(mean(x ** 2, -1) + epsilon) [* w]   ->   rms_norm(x, w, epsilon)
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in list(module.graph.nodes):
            if node.op == "call_function" and node.users and is_real_tensor(node):
                _compose(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def is_real_tensor(node: Node) -> bool:
    """Whether the value of a node is one tensor of real numbers."""
    return isinstance(node.meta.get("val"), torch.Tensor) and is_real(node)


def _compose(quotient: Node) -> None:
    """Let a norm take the place of `quotient` and of the weight and bias behind it."""
    parts = _quotient(quotient)
    found = None if parts is None else _norm(*parts)
    if found is None or shape(found.value) != shape(quotient):
        return
    affine = _Affine(quotient, found.axes, 1 / found.factor)
    affine.follow(found.centred)
    result = _normed(affine, found)
    for gone in (*found.nodes, *affine.nodes):
        merge_origins(result, gone)
    affine.last.replace_all_uses_with(result)


def _quotient(node: Node) -> tuple[Node, Root] | None:
    """What is divided, and by which root."""
    if node.target is aten.div.Tensor:
        above, below = node.args[:2]
        root = divisor(below) if isinstance(below, Node) else None
        return None if root is None or not isinstance(above, Node) else (above, root)
    if node.target is aten.mul.Tensor:
        for above, below in (node.args[:2], node.args[1::-1]):
            root = reciprocal(below) if isinstance(below, Node) else None
            if root is not None and isinstance(above, Node):
                return above, root
    return None


def _norm(above: Node, root: Root) -> Root | None:
    """The root of the value that is normalised, when `above` is what the root is made of."""
    of_above = centred_by(above, root.axes)
    if root.centred:
        return root if of_above is root.value else None
    if of_above is not None and centred_by(root.value, root.axes) is of_above:
        return replace(root, value=of_above, centred=True, nodes=(*root.nodes, above))
    return root if above is root.value else None


class _Affine:
    """What follows a quotient: numbers and tensors of the model that belong into its norm."""

    def __init__(self, quotient: Node, axes: tuple[int, ...], gain: float) -> None:
        self.last, self.axes, self.gain = quotient, axes, gain
        self.nodes = [quotient]
        self.weight: Node | None = None
        self.bias: Node | None = None

    def follow(self, centred: bool) -> None:
        """Take factors, one weight, and (behind a mean that is taken off) a bias."""
        while (user := single_user(self.last)) is not None and self.bias is None:
            if user.target is aten.mul.Tensor and self._factor(user):
                pass
            elif not (centred and user.target is aten.add.Tensor and self._sum(user)):
                return
            self.last = user
            self.nodes.append(user)

    def _factor(self, user: Node) -> bool:
        other = self._other(user)
        number = number_of(other)
        if number is not None:
            self.gain *= number
        elif self.weight is None and self._along(other):
            self.weight = cast(Node, other)
        else:
            return False
        return True

    def _sum(self, user: Node) -> bool:
        other = self._other(user)
        if not self._along(other) or argument(user, 2, "alpha", 1) != 1:
            return False
        self.bias = cast(Node, other)
        return True

    def _other(self, user: Node) -> object:
        others = [arg for arg in user.args[:2] if arg is not self.last]
        return others[0] if len(others) == 1 else None

    def _along(self, node: object) -> bool:
        """Whether a tensor of the model varies along the normalised axes alone."""
        if not isinstance(node, Node) or node.op != "get_attr":
            return False
        size, rank = shape(node), len(shape(self.last))
        return len(size) <= rank and all(
            extent == 1 or rank - len(size) + axis in self.axes for axis, extent in enumerate(size)
        )

    def entries(self, node: Node | None, gain: float) -> Node | None:
        """A tensor of the model, times `gain`, with one entry for each normalised element."""
        size = shape(self.last)
        extents = [size[axis] for axis in self.axes]
        if gain == 1 and (node is None or shape(node) == (math.prod(extents),)):
            return node
        module = owner(self.last)
        value = torch.ones(()) if node is None else parameter(module, node)
        lead = value.reshape((1,) * (len(size) - value.dim()) + tuple(value.shape))
        form = [size[axis] if axis in self.axes else 1 for axis in range(len(size))]
        numbers = (lead * gain).expand(form).reshape(-1).contiguous()
        return insert_parameter(module, self.last, f"{self.last.name}_entries", numbers)


def _normed(affine: _Affine, found: Root) -> Node:
    """The norm, ahead of the last node that it stands for, on axes moved to the end and back."""
    last, value, axes = affine.last, found.value, found.axes
    size = shape(value)
    order = (*(axis for axis in range(len(size)) if axis not in axes), *axes)
    count = math.prod(size[axis] for axis in axes)
    moved = permuted(last, value, order)
    flat = reshaped(last, moved, (*shape(moved)[: -len(axes)], count))
    weight, bias = affine.entries(affine.weight, affine.gain), affine.entries(affine.bias, 1.0)
    target = aten.layer_norm.default if found.centred else aten.rms_norm.default
    entries = (weight, bias) if found.centred else (weight,)
    args = (flat, [count], *entries, found.epsilon)
    made = insert_call(last, target, args, affine.nodes[0], shape(flat))
    back = tuple(order.index(axis) for axis in range(len(size)))
    return permuted(last, reshaped(last, made, shape(moved)), back)
