"""QLinearConv and QLinearMatMul: a layer between dequantisers and a quantiser, in one node.

Their inputs are x, its scale and zero point, w, its scale and zero point, the scale and the zero
point of the result, and the bias of a convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode
from intaglio.compiler.onnx_import.operators.layers import LAYERS
from intaglio.compiler.onnx_import.operators.quantisers import QUANTISERS

OPERANDS, RESULT = (0, 3), 6
"""Where x and w stand, and where the scale of the result does."""


def _convolution(node: OnnxNode) -> Function:
    layer = LAYERS["Conv"](_part(node, "Conv", (0, 3), node.attributes))
    return _between(node, layer, axis=0)


def _product(node: OnnxNode) -> Function:
    return _between(node, torch.matmul, axis=-1)


def _between(node: OnnxNode, layer: Function, axis: int) -> Function:
    """`layer` of real numbers; the scales of w differ along `axis`, if at all."""
    of_x, of_w = (
        QUANTISERS["DequantizeLinear"](
            _part(node, "DequantizeLinear", (index, index + 1, index + 2), {"axis": axis})
        )
        for index in OPERANDS
    )
    rounded = QUANTISERS["QuantizeLinear"](_part(node, "QuantizeLinear", (0, 6, 7), {}))
    step = (node.constant(1) * node.constant(4)).flatten()

    def run(x: Tensor, *rest: Tensor) -> Tensor | tuple[Tensor, ...]:
        bias = [value.to(torch.float32) * step for value in rest[7:8]]
        return rounded(layer(of_x(x), of_w(rest[2]), *bias))

    return run


def _part(
    node: OnnxNode, kind: str, inputs: tuple[int, ...], attributes: Mapping[str, object]
) -> OnnxNode:
    """The node of another kind that reads these inputs of `node`."""
    return replace(
        node,
        kind=kind,
        attributes=attributes,
        operands=tuple(node.operands[index] for index in inputs),
        known=tuple(node.known[index] for index in inputs),
        types=tuple(node.types[index] for index in inputs),
    )


INTEGER_LAYERS: Mapping[str, Builder] = {"QLinearConv": _convolution, "QLinearMatMul": _product}
