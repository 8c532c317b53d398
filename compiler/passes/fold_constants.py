"""Values that no input changes, computed once: positions, causal masks, transposed weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import insert_parameter, parameter, replace
from intaglio.compiler.passes.given import GRID, QUANTISERS, grid_of, objection

Known = dict[Node, Tensor]


@dataclass(frozen=True, slots=True)
class FoldConstants:
    """Compute every call that depends on parameters and numbers alone.

    arange(n), permute(weight), where(mask, 0, -inf)   ->   a parameter of the graph

    What a quantiser says of a constant stays with it.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        known: Known = {
            node: parameter(module, node) for node in module.graph.find_nodes(op="get_attr")
        }
        folded = []
        for node in module.graph.nodes:
            value = _computed(node, known)
            if value is not None:
                known[node] = value
                node.meta[GRID] = grid_of(node, known)
                folded.append(node)
        for node in folded:
            if any(user not in known for user in node.users):
                _store(module, node, known[node])
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def _computed(node: Node, known: Known) -> Tensor | None:
    """The value of a call whose operands are all known; None for any other node."""
    if node.op != "call_function" or not isinstance(node.meta.get("val"), Tensor):
        return None
    if any(operand not in known for operand in node.all_input_nodes):
        return None
    if node.target in QUANTISERS and objection(node, known):
        return None
    if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()):
        return None
    args, kwargs = torch.fx.node.map_arg((node.args, node.kwargs), lambda n: known[n])
    assert callable(node.target)
    with torch.no_grad():
        value = node.target(*args, **kwargs)
    return value if isinstance(value, Tensor) else None


def _store(module: GraphModule, node: Node, value: Tensor) -> None:
    """Let a parameter of the graph take the place of `node`."""
    stored = insert_parameter(module, node, f"folded_{node.name}", value.detach().clone())
    stored.meta.update({key: node.meta[key] for key in ("val", GRID)})
    replace(node, stored)
