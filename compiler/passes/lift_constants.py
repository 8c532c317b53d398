"""Tensors of the model that are operands, not weights: they enter the graph as placeholders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen

from intaglio.compiler.graph import ORIGINS, parameter
from intaglio.compiler.passes.attention import masked_softmax
from intaglio.compiler.passes.given import GIVEN, GRID, Grid

LIFTED = "constant"
"""Key of a placeholder's metadata: the tensor of the model that it stands for."""
aten = torch.ops.aten
OPERANDS: Mapping[object, tuple[int, ...]] = {
    aten.add.Tensor: (0, 1),
    aten.sub.Tensor: (0, 1),
    aten.mul.Tensor: (0, 1),
    aten.matmul.default: (0, 1),
    aten.linear.default: (0,),
    aten.conv2d.default: (0,),
    aten.embedding.default: (0, 1),
    aten.index_select.default: (0, 2),
    aten.expand.default: (0,),
    aten.group_norm.default: (0,),
    aten.layer_norm.default: (0,),
    aten.rms_norm.default: (0,),
    aten.softmax.int: (0,),
    masked_softmax: (0, 1),
}
"""Arguments of a call that are activations; a tensor of the model may stand there."""


@dataclass(frozen=True, slots=True)
class LiftConstants:
    """Make a placeholder of every parameter that a call reads as an activation.

    add(x, positions)   ->   add(x, p) with the placeholder p, whose value is kept beside it
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it; from here on it takes its placeholders in order."""
        module.graph.set_codegen(CodeGen())
        for node in module.graph.find_nodes(op="get_attr"):
            for user in [user for user in node.users if _as_operand(user, node)]:
                _lift(module, node, user)
        for node in module.graph.find_nodes(op="call_function", target=aten.cat.default):
            for operand in [o for o in node.all_input_nodes if o.op == "get_attr"]:
                _lift(module, operand, node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def lifted(module: GraphModule) -> dict[str, Tensor]:
    """The tensors of the model behind placeholders, by the placeholder's name."""
    placeholders = module.graph.find_nodes(op="placeholder")
    return {node.name: node.meta[LIFTED] for node in placeholders if LIFTED in node.meta}


def forget_values(module: GraphModule) -> None:
    """Keep of every tensor of the model, lifted ones too, the shape and the type alone."""
    module.to("meta")
    for node in module.graph.find_nodes(op="placeholder"):
        if LIFTED in node.meta:
            node.meta[LIFTED] = node.meta[LIFTED].to("meta")


def _as_operand(user: Node, node: Node) -> bool:
    positions = OPERANDS.get(user.target, ())
    return any(index < len(user.args) and user.args[index] is node for index in positions)


def _lift(module: GraphModule, node: Node, user: Node) -> None:
    """Let `user` read a placeholder where it reads the parameter `node` as an operand."""
    placeholder = _placeholder(module, node)
    positions = OPERANDS.get(user.target)
    if positions is None:
        user.replace_input_with(node, placeholder)
        return
    user.args = tuple(
        placeholder if index in positions and arg is node else arg
        for index, arg in enumerate(user.args)
    )


def _placeholder(module: GraphModule, node: Node) -> Node:
    """The placeholder of a parameter: the one there is, or a new one behind the model's inputs."""
    value = parameter(module, node)
    placeholders: list[Node] = list(module.graph.find_nodes(op="placeholder"))
    for existing in placeholders:
        if existing.meta.get("lifted_from") == node.target:
            return existing
    with module.graph.inserting_after(placeholders[-1]):
        made = module.graph.placeholder(str(node.target).replace(".", "_"))
    made.meta = {
        "val": node.meta["val"],
        LIFTED: value,
        "lifted_from": node.target,
        ORIGINS: (made.name,),
    }
    grid: Grid | None = node.meta.get(GRID)
    if grid is not None:
        made.meta[GRID] = grid
        if grid.given is not None:
            made.meta[GIVEN] = grid.given
    return made
