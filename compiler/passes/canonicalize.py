"""One spelling for each operation: what PyTorch writes in many ways, later passes see in one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import (
    argument,
    insert_call,
    merge_origins,
    replace,
    shape,
    single_user,
)
from intaglio.compiler.passes import (
    attention,
    convolutions,
    indexing,
    norms,
    pools,
    resampling,
    spellings,
)
from intaglio.compiler.passes.fuse import CLAMPS
from intaglio.compiler.tables import UNARY, composed

aten = torch.ops.aten

IDENTITIES = frozenset(
    {
        aten.alias.default,
        aten.clone.default,
        aten.contiguous.default,
        aten.detach.default,
        aten.dropout.default,
        aten.lift_fresh_copy.default,
    }
)
RESHAPES = frozenset(
    {
        aten._unsafe_view.default,
        aten.expand.default,
        aten.flatten.using_ints,
        aten.reshape.default,
        aten.squeeze.default,
        aten.squeeze.dim,
        aten.squeeze.dims,
        aten.unsqueeze.default,
        aten.view.default,
    }
)


@dataclass(frozen=True, slots=True)
class Canonicalize:
    """Rewrite synonyms in place, without changing any value.

    dropout(x), clone(x), a view to the same shape   ->  x
    flatten, reshape, squeeze, unsqueeze, view(view) ->  reshape(x, fixed shape)
    adaptive_avg_pool2d(x, k), mean(x, (2, 3))       ->  avg_pool2d(x, window) [-> reshape]
    relu(max_pool2d(x))                              ->  max_pool2d(relu(x))
    f(reshape(x)), f of single elements              ->  reshape(f(x))
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in list(module.graph.nodes):
            if node.op == "call_function":
                _rewrite(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def _rewrite(node: Node) -> None:
    if node.target in IDENTITIES:
        _remove(node)
    elif node.target in RESHAPES:
        _reshape(node)
    elif rule := RULES.get(node.target):
        rule(node)


def _remove(node: Node) -> None:
    replace(node, spellings.source(node))


def _reshape(node: Node) -> None:
    source = spellings.source(node)
    size = shape(node)
    if node.target is aten.expand.default and size != shape(source):
        return
    if source.target is aten.reshape.default and single_user(source) is node:
        merge_origins(node, source)
        node.replace_input_with(source, spellings.source(source))
        node.graph.erase_node(source)
    if size == shape(spellings.source(node)):
        _remove(node)
        return
    node.target = aten.reshape.default
    node.args = (spellings.source(node), list(size))
    node.kwargs = {}


def _mean(node: Node) -> None:
    before = shape(spellings.source(node))
    axes = cast("list[int]", argument(node, 1, "dim", None) or [])
    if len(before) != 4 or sorted(axis % 4 for axis in axes) != [2, 3]:
        return
    window = list(before[2:])
    size = (*before[:2], 1, 1)
    args = (spellings.source(node), window, window)
    pool = insert_call(node, aten.avg_pool2d.default, args, node, size)
    if shape(node) != size:
        pool = insert_call(node, aten.reshape.default, (pool, list(shape(node))), node, shape(node))
    replace(node, pool)


def _pointwise(node: Node) -> None:
    """Move a function of single elements ahead of a reshape, to the layer that it can join."""
    view = spellings.source(node)
    if view.target is not aten.reshape.default or not _mapped_shape(spellings.source(view)):
        return
    source, size = spellings.source(view), shape(node)
    function = insert_call(node, node.target, (source, *node.args[1:]), node, shape(source))
    function.kwargs = node.kwargs
    moved = insert_call(node, aten.reshape.default, (function, list(size)), view, size)
    node.replace_all_uses_with(moved)
    for gone in (node, view):
        if not gone.users:
            gone.graph.erase_node(gone)
    _rewrite(function)


def _mapped_shape(node: Node) -> bool:
    """Whether operators may have this shape: (1, channels, height, width) or (1, features)."""
    size = shape(node)
    return len(size) in (2, 4) and size[0] == 1


def _rectifier(node: Node) -> None:
    rule = (
        _relu_after_pool if spellings.source(node).target is aten.max_pool2d.default else _pointwise
    )
    rule(node)


def _relu_after_pool(node: Node) -> None:
    pool = spellings.source(node)
    if single_user(pool) is not node:
        return
    source = spellings.source(pool)
    relu = insert_call(pool, node.target, (source, *node.args[1:]), node, shape(source))
    pool.replace_input_with(source, relu)
    node.replace_all_uses_with(pool)
    node.graph.erase_node(node)


RULES: dict[object, Callable[[Node], None]] = {
    **dict.fromkeys(CLAMPS | UNARY | {composed}, _pointwise),
    **spellings.RULES,
    **attention.RULES,
    **indexing.RULES,
    **norms.RULES,
    **convolutions.RULES,
    **pools.RULES,
    **resampling.RULES,
    aten.hardtanh.default: _rectifier,
    aten.mean.dim: _mean,
    aten.relu.default: _rectifier,
}
