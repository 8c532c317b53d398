"""Batch normalisation with fixed statistics is an affine map of channels: fold it away."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import (
    insert_call,
    insert_parameter,
    merge_origins,
    parameter,
    replace,
    shape,
    single_user,
)
from intaglio.compiler.passes.given import GRID, Grid

aten = torch.ops.aten
LAYERS = (
    aten.conv2d.default,
    aten.conv3d.default,
    aten.conv3d.padding,
    aten.linear.default,
)
BATCH_NORM = aten._native_batch_norm_legit_no_training.default


@dataclass(frozen=True, slots=True)
class FoldBatchNorm:
    """Fold gain g = gamma / sqrt(var + eps) and offset beta - mean * g into the layer before.

        batch_norm(conv(x, w, b))    ->  conv(x, w * g, b * g + offset)
        batch_norm(linear(x, w, b))  ->  linear(x, w * g, b * g + offset)
        batch_norm(x), no layer before  ->  depthwise conv 1x1 (x, g, offset)

    The new constants are computed in float64 and stored in the weight's type.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in module.graph.find_nodes(op="call_function", target=BATCH_NORM):
            _fold(module, node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def _fold(module: GraphModule, norm: Node) -> None:
    result = single_user(norm)
    source = cast(Node, norm.args[0])
    if result is None or result.target is not operator.getitem or result.args[1] != 0:
        return
    gain, offset = _affine(module, norm)
    if _is_layer(source) and single_user(source) is norm:
        layer = _scaled_layer(module, source, gain, offset)
    elif len(shape(source)) == 4:
        layer = _depthwise_layer(module, norm, gain, offset)
    else:
        return
    merge_origins(layer, norm)
    replace(result, layer)
    module.graph.erase_node(norm)
    if source.target is layer.target and not source.users:
        module.graph.erase_node(source)


def _affine(module: GraphModule, norm: Node) -> tuple[Tensor, Tensor]:
    """(gain, offset) of each channel in float64."""
    gamma, beta, mean, variance = (
        parameter(module, arg).double() if isinstance(arg, Node) else None for arg in norm.args[1:5]
    )
    assert mean is not None
    assert variance is not None
    gain = torch.rsqrt(variance + float(cast(float, norm.args[6])))
    gain = gain if gamma is None else gain * gamma
    offset = -mean * gain
    return gain, offset if beta is None else offset + beta


def _is_layer(node: Node) -> bool:
    """A convolution or product whose weight (and bias, if any) are constants."""
    if node.target not in LAYERS:
        return False
    return all(isinstance(a, Node) and a.op == "get_attr" for a in node.args[1:3] if a is not None)


def _scaled_layer(module: GraphModule, layer: Node, gain: Tensor, offset: Tensor) -> Node:
    given = cast(Node, layer.args[1])
    weight = parameter(module, given)
    bias = layer.args[2] if len(layer.args) > 2 else None
    shift = offset
    if isinstance(bias, Node):
        shift = shift + gain * parameter(module, bias).double()
    rows = gain.reshape(-1, *[1] * (weight.dim() - 1))
    scaled = weight.double() * rows
    constants = _constants(module, layer, scaled.to(weight.dtype), shift.to(weight.dtype))
    grid: Grid | None = given.meta.get(GRID)
    constants[0].meta[GRID] = None if grid is None else grid.times(rows, scaled)
    args = (layer.args[0], *constants, *layer.args[3:])
    return insert_call(layer, layer.target, args, layer, shape(layer))


def _depthwise_layer(module: GraphModule, norm: Node, gain: Tensor, offset: Tensor) -> Node:
    weight = gain.reshape(-1, 1, 1, 1).float()
    constants = _constants(module, norm, weight, offset.float())
    args = (norm.args[0], *constants, [1, 1], [0, 0], [1, 1], len(gain))
    size = shape(cast(Node, norm.args[0]))
    return insert_call(norm, aten.conv2d.default, args, norm, size)


def _constants(
    module: GraphModule, before: Node, weight: Tensor, bias: Tensor
) -> tuple[Node, Node]:
    return (
        insert_parameter(module, before, f"{before.name}_folded_weight", weight),
        insert_parameter(module, before, f"{before.name}_folded_bias", bias),
    )
