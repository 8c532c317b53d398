"""Quantisers of activations, noted on the values that they stand behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import insert_call, is_real, merge_origins, shape, single_user
from intaglio.compiler.passes.given import GIVEN, PER_TENSOR, Given, given_by, objection, sign
from intaglio.compiler.tables import UNARY, composed, raised

aten = torch.ops.aten
COMMUTING = frozenset(
    {
        aten.constant_pad_nd.default,
        aten.expand.default,
        aten.max_pool2d.default,
        aten.permute.default,
        aten.reshape.default,
        aten.slice.Tensor,
    }
)
"""What computes the same after a quantiser as before it."""
CLAMPED = frozenset(
    {
        aten.add.Tensor,
        aten.avg_pool2d.default,
        aten.clamp.default,
        aten.clamp_min.default,
        aten.conv2d.default,
        aten.hardtanh.default,
        aten.linear.default,
        aten.matmul.default,
        aten.mean.dim,
        aten.mul.Scalar,
        aten.mul.Tensor,
        aten.relu.default,
        aten.sub.Tensor,
        aten.sum.dim_IntList,
    }
)
"""What makes integers of any scale, clamped to any range."""
NORMS = frozenset({aten.group_norm.default, aten.layer_norm.default, aten.rms_norm.default})
SCALED = UNARY | NORMS | {composed, raised, aten.cat.default}
"""What makes integers of any scale, clamped to their type alone."""


@dataclass(frozen=True, slots=True)
class TakeQuantisers:
    """Drop every quantiser of an activation, and note what it says on the value behind it.

    relu(conv(x)) -> quantiser             becomes   relu(conv(x)), given
    x -> max_pool or a move -> quantiser   becomes   x, given -> max_pool or the move
    input -> narrow quantiser              becomes   input, given -> clamp, given
    softmax(x) -> quantiser                becomes   softmax(x) -> clamp, given
    input -> sign                          becomes   input -> clamp, given

    The border rounds to the whole of a type, so a clamp behind it leaves out what the file does.
    The last form is for what does not make integers of any scale, what others read unquantised,
    and what another quantiser has given a scale.  Signs are given to what is computed alone, and to
    norms behind a clamp.  Quantisers without integer form stay.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for target in (PER_TENSOR, sign):
            for node in module.graph.find_nodes(op="call_function", target=target):
                if objection(node) is None:
                    _take(node)
        module.recompile()
        return module


def _take(node: Node) -> None:
    given, source = given_by(node), cast(Node, node.args[0])
    maker = _maker(source, given)
    if maker.meta.get(GIVEN) != given:
        if not _makes(maker, given):
            if maker.op == "placeholder" and _is_free(maker) and not given.are_signs:
                maker.meta[GIVEN] = given.filled
            bounds = given.lo * given.scale, given.hi * given.scale
            args = (source, *bounds)
            source = maker = insert_call(node, aten.clamp.default, args, node, shape(node))
        maker.meta[GIVEN] = given
    merge_origins(source, node)
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def _maker(source: Node, given: Given) -> Node:
    """Where a value is computed, ahead of what computes the same after a quantiser.

    Zeros around a value are no signs of it.
    """
    passed = COMMUTING - ({aten.constant_pad_nd.default} if given.are_signs else set())
    while source.target in passed and GIVEN not in source.meta and single_user(source):
        source = cast(Node, source.args[0])
    return source


def _makes(maker: Node, given: Given) -> bool:
    """Whether the operator behind a value can make these integers in place of its own."""
    if not _is_free(maker):
        return False
    if given.are_signs:
        return maker.target in CLAMPED | SCALED - NORMS
    scaled = maker.op == "placeholder" or maker.target in SCALED
    return maker.target in CLAMPED or (given.fills and scaled)


def _is_free(maker: Node) -> bool:
    """Whether nothing else reads a value or has given it a scale."""
    return GIVEN not in maker.meta and single_user(maker) is not None and is_real(maker)
