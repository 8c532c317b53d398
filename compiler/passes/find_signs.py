"""Quantisers of one bit that a model writes out: a choice between a number and its negative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import insert_call, owner, parameter, replace, shape
from intaglio.compiler.passes.given import sign

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class FindSigns:
    """Name the sign of an activation, times one scale.

    where(x >= 0, 0.7, -0.7)   ->   sign(x, 0.7)

    Without a name it would be a function like any other, of values that are rounded before it.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in module.graph.find_nodes(op="call_function", target=aten.where.self):
            condition, above, below = cast("tuple[Node, Node, Node]", node.args)
            scale = _number(above)
            if scale is None or scale <= 0 or _number(below) != -scale:
                continue
            values = _compared_with_zero(condition)
            if values is not None and shape(values) == shape(node):
                args = (values, scale)
                replace(node, insert_call(node, sign, args, node, shape(node)))
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def _compared_with_zero(node: Node) -> Node | None:
    """The computed value whose signs a truth value is: +1 from 0 on."""
    if node.target not in (aten.ge.Scalar, aten.ge.Tensor):
        return None
    values, bound = node.args[:2]
    zero = _number(bound) if isinstance(bound, Node) else bound
    computed = isinstance(values, Node) and values.op != "get_attr"
    return cast(Node, values) if computed and zero == 0 else None


def _number(node: Node) -> float | None:
    """The one number of a constant of the graph."""
    if node.op != "get_attr":
        return None
    value = parameter(owner(node), node)
    return float(value) if value.numel() == 1 and not value.is_meta else None
