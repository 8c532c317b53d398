"""Why a node has no exact integer form, and what to write instead."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import (
    argument,
    module_path,
    operation,
    origins,
    shape,
    user_line,
    value_name,
)
from intaglio.compiler.partition import ALLOW_HOST
from intaglio.compiler.passes.attention import feeds_masks, masked_softmax
from intaglio.compiler.passes.given import GRID, QUANTISERS, Grid, objection
from intaglio.compiler.passes.hostable import hostable
from intaglio.compiler.passes.resampling import LINEAR_RESIZES
from intaglio.compiler.tables import UNARY, composed, raised

aten = torch.ops.aten


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that cannot be mapped: the captured nodes behind it, the reason and the way out.

    `hostable` says that the host can compute it in floating point.
    """

    name: str
    nodes: tuple[str, ...]
    line: str
    reason: str
    way_out: str
    hostable: bool = False

    def __str__(self) -> str:
        place = f" ({self.line})" if self.line else ""
        return f"{self.name}{place}: {self.reason}; {self.ways_out}"

    @property
    def ways_out(self) -> str:
        """The way out, and the host where it helps."""
        return f"{self.way_out}, or {ALLOW_HOST}" if self.hostable else self.way_out


Complaint = tuple[str, str]
"""A reason and a way out."""


def refuse_unknown(node: Node) -> Refusal | None:
    """Why `node` has no integer form; None when it has one."""
    check = CHECKS.get(node.target)
    complaint = _unknown(node) if check is None else _not_real(node) or _scales(node) or check(node)
    return None if complaint is None else _refusal(node, complaint)


def refuse_results(module: GraphModule) -> tuple[Refusal, ...]:
    """A refusal for each result of a graph that no node computes from its inputs."""
    results = cast("tuple[object, ...]", module.graph.output_node().args[0])
    refusals = []
    for result in results:
        if not isinstance(result, Node):
            complaint = f"the model returns {result!r}", "return tensors only"
            refusals.append(Refusal("output", (), "", *complaint))
        elif result.op != "call_function":
            what = "an input" if result.op == "placeholder" else "a constant"
            complaint = f"the model returns {what} unchanged", "return computed tensors only"
            refusals.append(_refusal(result, complaint))
    return tuple(refusals)


def _refusal(node: Node, complaint: Complaint) -> Refusal:
    name = module_path(node) if node.op == "call_function" else value_name(node)
    return Refusal(name, origins(node), user_line(node), *complaint, hostable(node))


def _not_real(node: Node) -> Complaint | None:
    """Every operand and the result are float32 tensors; indices are integers."""
    if feeds_masks(node):
        return None
    indices = [node.args[index] for index in INDICES.get(node.target, ())]
    for value in (node, *node.all_input_nodes):
        if value in indices:
            continue
        tensor = value.meta.get("val")
        if not isinstance(tensor, Tensor):
            return f"it reads '{value_name(value)}', which is no tensor", DEFAULT_WAY_OUT
        if tensor.dtype != torch.float32:
            return (
                f"it works on {tensor.dtype} ('{value_name(value)}')",
                "keep the model in float32 throughout",
            )
    return None


def _scales(node: Node) -> Complaint | None:
    """Every constant among the activations that has quantisers has one scale."""
    for operand in node.all_input_nodes:
        grid: Grid | None = operand.meta.get(GRID) if operand.op == "placeholder" else None
        if grid is not None and grid.given is None:
            scales = len(grid.scales.unique())
            reason = f"it reads a constant of shape {shape(operand)} quantised with {scales} scales"
            return reason, "quantise this constant with one scale"
    return None


def _unknown(node: Node) -> Complaint:
    found = objection(node) if node.target in QUANTISERS else None
    if found is not None:
        return found
    name = operation(node).split(".")[0]
    return (f"{name} has no integer form", WAYS_OUT.get(name, DEFAULT_WAY_OUT))


INDICES: Mapping[object, tuple[int, ...]] = {
    aten.embedding.default: (1,),
    aten.index_select.default: (2,),
    masked_softmax: (1,),
}
"""Arguments of a call that hold indices or masks."""
DEFAULT_WAY_OUT = "replace it by supported layers, or run this part outside the model"
WAYS_OUT = {
    "_native_batch_norm_legit": "give the batch normalisation running statistics",
    "adaptive_max_pool2d": "leave out return_indices",
    "argmax": "return the scores and take the argmax of the outputs",
    "argmin": "return the scores and take the argmin of the outputs",
    "conv1d": "give it a batch of 1 in front and a weight of the model",
    "conv3d": "give it a batch of 1 in front and a weight of the model",
    "copy": "join the parts with torch.cat instead of assigning to them",
    "slice_scatter": "join the parts with torch.cat instead of assigning to them",
    "conv_transpose1d": "give it a batch of 1 in front and a weight of the model",
    "conv_transpose2d": "give it a batch of 1 in front and a weight of the model",
    "conv_transpose3d": "use ConvTranspose2d layers, with the depth as channels",
    "max_pool2d_with_indices": "leave out return_indices",
    "max_pool3d_with_indices": "leave out return_indices",
    "prelu": "make its slopes a parameter",
    "scaled_dot_product_attention": "set dropout_p=0",
}


def _image(node: Node) -> Complaint | None:
    size = shape(cast(Node, node.args[0]))
    if len(size) == 4:
        return None
    return (
        f"its input has shape {size}, (1, channels, height, width) is needed",
        "reshape it to four dimensions",
    )


def _constants(node: Node) -> Complaint | None:
    computed = [a for a in node.args[1:4] if isinstance(a, Node) and a.op != "get_attr"]
    if not computed:
        return None
    return f"its weight is computed by '{computed[0].name}'", "make the weight a parameter"


def _conv(node: Node) -> Complaint | None:
    return _image(node) or _constants(node)


def _linear(node: Node) -> Complaint | None:
    size = shape(cast(Node, node.args[0]))
    if len(size) < 2:
        return f"its input has shape {size}, (1, features) is needed", "keep the batch in front"
    return _constants(node)


def _addition(node: Node) -> Complaint | None:
    first, second = (cast(Node, arg) for arg in node.args[:2])
    if shape(first) != shape(second):
        return (
            f"its operands have shapes {shape(first)} and {shape(second)}",
            "give both operands the same shape",
        )
    if argument(node, 2, "alpha", 1) != 1:
        return "its second operand is scaled (alpha)", "scale the weights of the layer before"
    return None


def _matmul(node: Node) -> Complaint | None:
    first, second = (shape(cast(Node, arg)) for arg in node.args[:2])
    if len(first) == len(second) >= 2 and first[:-2] == second[:-2]:
        return None
    return (
        f"its operands have shapes {first} and {second}",
        "give both operands the same leading axes",
    )


def _scale(node: Node) -> Complaint | None:
    factor = cast(float, node.args[1])
    if math.isfinite(factor) and factor > 0:
        return None
    return f"it multiplies by {factor:g}", "multiply by a finite number other than 0"


def _nothing(node: Node) -> Complaint | None:
    """A value without elements."""
    if all(shape(node)):
        return None
    return f"its result has shape {shape(node)}, which is empty", "leave this operation out"


def _any(node: Node) -> Complaint | None:
    return None


def _padding(node: Node) -> Complaint | None:
    fill = argument(node, 2, "value", 0)
    return (f"it pads with {fill}", "pad with a finite number") if fill else None


def _clamp(node: Node) -> Complaint | None:
    if any(isinstance(arg, Node) for arg in node.args[1:]):
        return "its bounds are computed", "clamp to numbers"
    return None


CHECKS: dict[object, Callable[[Node], Complaint | None]] = {
    aten.add.Tensor: _addition,
    aten.amax.default: _any,
    aten.avg_pool2d.default: _image,
    aten.cat.default: _any,
    aten.clamp.default: _clamp,
    aten.clamp_min.default: _clamp,
    aten.constant_pad_nd.default: _padding,
    aten.conv2d.default: _conv,
    aten.embedding.default: _any,
    aten.expand.default: _any,
    aten.group_norm.default: _constants,
    aten.hardtanh.default: _clamp,
    aten.index_select.default: _any,
    aten.layer_norm.default: _constants,
    aten.linear.default: _linear,
    aten.matmul.default: _matmul,
    aten.max_pool2d.default: _image,
    aten.mean.dim: _any,
    aten.mul.Scalar: _scale,
    aten.mul.Tensor: _any,
    aten.permute.default: _any,
    aten.relu.default: _any,
    aten.reshape.default: _any,
    aten.rms_norm.default: _constants,
    aten.slice.Tensor: _nothing,
    aten.softmax.int: _any,
    aten.sub.Tensor: _addition,
    aten.sum.dim_IntList: _any,
    composed: _any,
    masked_softmax: _any,
    raised: _any,
    **dict.fromkeys(UNARY, _any),
    **dict.fromkeys(LINEAR_RESIZES, _any),
}
