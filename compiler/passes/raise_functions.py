"""Functions whose negative values are few and small, raised so that they need no sign.

GELU, SiLU and their kin reach far up and hardly below 0: as signed integers they waste half of the
codes.  A layer takes any constant that is added to its input into its bias, exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import Argument

from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    parameter,
    replace,
    shape,
    single_user,
)
from intaglio.compiler.tables import raised

aten = torch.ops.aten
LOWEST: Mapping[object, float] = {
    aten.gelu.default: -0.170041,
    aten.hardswish.default: -0.375,
    aten.mish.default: -0.308844,
    aten.silu.default: -0.278465,
}
"""A bound below each function, no further than 1e-4 from its least value."""


FLAT_BELOW: Mapping[object, float] = {aten.gelu.default: -4.0, aten.hardswish.default: -3.0}
"""Where a function is 0 for all that lies below, to 1.3e-4."""


@dataclass(frozen=True, slots=True)
class RaiseFunctions:
    """Raise a function that linear layers alone read above 0, and take that from their biases.

    linear(gelu(x), w, b)        ->   linear(gelu(x) + 0.17, w, b - 0.17 * sum of w)
    gelu(linear(x, w, b)), read  ->   gelu(relu(linear(x, w, b + 4)) - 4)
    by the function alone
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in list(module.graph.nodes):
            if node.target in LOWEST and all(_is_layer(user, node) for user in node.users):
                _raise(module, node)
        module.recompile()
        return module


def _is_layer(node: Node, value: Node | None = None) -> bool:
    """Whether `node` is a linear layer of the model, of `value` when given."""
    if node.target is not aten.linear.default or value not in (None, node.args[0]):
        return False
    constants = [arg for arg in node.args[1:3] if isinstance(arg, Node)]
    return all(constant.op == "get_attr" for constant in constants)


def _raise(module: GraphModule, node: Node) -> None:
    source, lowest = cast(Node, node.args[0]), LOWEST[node.target]
    start = FLAT_BELOW.get(node.target, 0.0)
    if start and _is_layer(source) and single_user(source) is node:
        _add_to_bias(module, source, -start)
        source = insert_call(node, aten.relu.default, (source,), node, shape(node))
    else:
        start = 0.0
    function = cast(Argument, node.target)
    args = (source, function, lowest, start, *node.args[1:])
    made = insert_call(node, raised, args, node, shape(node))
    made.kwargs = node.kwargs
    for layer in list(node.users):
        weight = parameter(module, cast(Node, layer.args[1]))
        _add_to_bias(module, layer, lowest * weight.double().sum(1))
    replace(node, made)


def _add_to_bias(module: GraphModule, layer: Node, offset: Tensor | float) -> None:
    """Let a layer's results differ by `offset`, a number or one for each of its features."""
    given = argument(layer, 2, "bias")
    bias = parameter(module, given).double() if isinstance(given, Node) else 0.0
    total = torch.zeros(shape(layer)[-1], dtype=torch.float64) + bias + offset
    held = insert_parameter(module, layer, f"{layer.name}_raised_bias", total.float())
    layer.args = (layer.args[0], layer.args[1], held)
    layer.kwargs = {}
