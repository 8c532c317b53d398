"""Operators that are sums and products of others, spelled out ahead of everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch.fx import GraphModule, Node

from intaglio.compiler.passes import choices, matrices, pools, statistics


@dataclass(frozen=True, slots=True)
class Decompose:
    """Write operators that have no integer form in terms of those that have one.

    maximum(x, y)   ->  x + relu(y - x)
    where(p, x, y)  ->  p * x + (1 - p) * y
    cumsum(x)       ->  linear(x, triangle of ones)
    var(x)          ->  mean((x - mean(x)) ** 2)
    max_pool3d(x)   ->  max_pool2d(max_pool2d(x))
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in list(module.graph.nodes):
            rule = RULES.get(node.target) if node.op == "call_function" else None
            if rule is not None:
                rule(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


RULES: dict[object, Callable[[Node], None]] = {
    **choices.RULES,
    **matrices.RULES,
    **pools.VOLUMES,
    **statistics.RULES,
}
