"""Layer, RMS and group norms in one spelling each, also where a model writes them out.

layer_norm(x, (C, Y, X), w, b)                 ->  reshape -> layer_norm over one axis -> reshape
native_layer_norm(x, ...)[0]                   ->  layer_norm(x, ...)
x * rsqrt(mean(x ** 2, -1) + epsilon) [* w]    ->  rms_norm(x, w, epsilon)
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

from intaglio.compiler.graph import argument, insert_call, merge_origins, replace, shape
from intaglio.compiler.passes.spellings import reshaped, source

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class ComposeNorms:
    """Find RMS norms that are written out, as transformers' language models do.

    x * rsqrt(mean(x ** 2, -1) + epsilon) [* w]   ->   rms_norm(x, w, epsilon)
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for root in module.graph.find_nodes(op="call_function", target=aten.rsqrt.default):
            _compose(root)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def _compose(root: Node) -> None:
    """Let one RMS norm take the place of every product of x with its reciprocal root."""
    total = source(root)
    found = _mean_square(source(total)) if total.target is aten.add.Tensor else None
    epsilon = total.args[1] if found is not None else None
    if found is None or not isinstance(epsilon, int | float):
        return
    if argument(total, 2, "alpha", 1) != 1:
        return
    for product in [user for user in root.users if _is_product(user, found, root)]:
        last, weight = _weighted(product, shape(found)[-1])
        norm = insert_call(
            last,
            aten.rms_norm.default,
            (found, [shape(found)[-1]], weight, float(epsilon)),
            product,
            shape(product),
        )
        for gone in (source(total), total, root):
            merge_origins(norm, gone)
        last.replace_all_uses_with(norm)
        for gone in dict.fromkeys((last, product)):
            merge_origins(norm, gone)
            gone.graph.erase_node(gone)


def _mean_square(mean: Node) -> Node | None:
    """The x of mean(x ** 2) over the last axis, kept as 1."""
    if mean.target is not aten.mean.dim or argument(mean, 2, "keepdim", False) is not True:
        return None
    square = source(mean)
    axes = [axis % len(shape(square)) for axis in cast("list[int]", argument(mean, 1, "dim") or [])]
    if axes != [len(shape(square)) - 1]:
        return None
    if square.target is aten.pow.Tensor_Scalar and square.args[1] == 2:
        return source(square)
    if square.target is aten.mul.Tensor and square.args[0] is square.args[1]:
        return source(square)
    return None


def _is_product(node: Node, first: Node, second: Node) -> bool:
    return node.target is aten.mul.Tensor and set(node.args[:2]) == {first, second}


def _weighted(product: Node, count: int) -> tuple[Node, Node | None]:
    """The product with a weight of `count` entries that follows alone, and the weight."""
    users = list(product.users)
    if len(users) == 1 and users[0].target is aten.mul.Tensor:
        others = [arg for arg in users[0].args[:2] if arg is not product]
        weight = others[0] if len(others) == 1 else None
        if isinstance(weight, Node) and weight.op == "get_attr" and shape(weight) == (count,):
            return users[0], weight
    return product, None


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


RULES: dict[object, Callable[[Node], None]] = {
    aten.layer_norm.default: _one_axis,
    aten.native_layer_norm.default: _native,
    aten.rms_norm.default: _one_axis,
}
