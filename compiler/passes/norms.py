"""Layer, RMS and group norms in one spelling each.

layer_norm(x, (C, Y, X), w, b)                 ->  reshape -> layer_norm over one axis -> reshape
native_layer_norm(x, ...)[0]                   ->  layer_norm(x, ...)
instance_norm(x), batch_norm(x) of the image   ->  group_norm(x, channels)
y = norm(x), read by sums and by others        ->  norm(x) for the sums, norm(x) for the others
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import insert_call, replace, shape
from intaglio.compiler.passes.spellings import reshaped

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class SplitNorms:
    """Give sums that are normalised again a norm of their own, which may be wide.

    y = norm(x); norm(f(y) + y)   ->   norm(f(norm(x)) + norm(x))

    Transformers with their norms behind the sums keep the residual stream in y: layers read it at
    the width of their multipliers, sums at full width.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in list(module.graph.nodes):
            if node.target in NORMS:
                _split(node)
        module.recompile()
        return module


NORMS = (aten.layer_norm.default, aten.rms_norm.default)


def _split(norm: Node) -> None:
    sums = [user for user in norm.users if user.target is aten.add.Tensor]
    others = [user for user in norm.users if user not in sums]
    again = all(user.target in NORMS for total in sums for user in total.users)
    if not sums or not others or not again:
        return
    with norm.graph.inserting_after(norm):
        copy = norm.graph.node_copy(norm)
    for user in others:
        user.replace_input_with(norm, copy)


def _native(node: Node) -> None:
    """The norm among the results of native_layer_norm, when nothing reads the statistics."""
    users = list(node.users)
    if all(user.target is operator.getitem and user.args[1] == 0 for user in users):
        for user in users:
            made = insert_call(user, aten.layer_norm.default, node.args, user, shape(user))
            replace(user, made)
            _one_axis(made)


def _one_axis(node: Node) -> None:
    """A norm over several last axes works on one that holds them all."""
    value, axes, *rest = node.args
    size = cast("list[int]", axes)
    if len(size) == 1 or not isinstance(value, Node):
        return
    count = math.prod(size)
    flat = reshaped(node, value, (*shape(value)[: -len(size)], count))
    parts = [reshaped(node, p, (count,)) if isinstance(p, Node) else p for p in rest]
    args = (flat, [count], *parts)
    made = insert_call(node, node.target, args, node, shape(flat))
    replace(node, reshaped(node, made, shape(node)))


def _of_one_image(node: Node) -> None:
    """Batch normalisation by the statistics of the image itself: a group norm of each channel."""
    value, weight, bias = node.args[:3]
    size = shape(cast(Node, value))
    if node.args[3] is not True or size[0] != 1 or len(size) < 3:
        return
    for user in [user for user in node.users if user.args[1] == 0]:
        args = (value, size[1], weight, bias, node.args[5])
        replace(user, insert_call(user, aten.group_norm.default, args, user, size))


RULES: dict[object, Callable[[Node], None]] = {
    aten._native_batch_norm_legit.no_stats: _of_one_image,
    aten.layer_norm.default: _one_axis,
    aten.native_layer_norm.default: _native,
    aten.rms_norm.default: _one_axis,
}
