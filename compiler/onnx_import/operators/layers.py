"""Layers with weights, normalisations and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode
from intaglio.compiler.onnx_import.operators.windows import pad_input, window_of

CONVOLUTIONS = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def _convolution(node: OnnxNode) -> Function:
    window = window_of(node, kernel=node.shape(1)[2:])
    convolve = CONVOLUTIONS[len(window.kernel) - 1]
    groups = node.integer("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        padding = list(window.before)
        if not window.symmetric:
            x, padding = pad_input(x, window, 0.0), [0] * len(padding)
        return convolve(x, weight, bias, window.stride, padding, window.dilation, groups)

    return run


def _transposed_convolution(node: OnnxNode) -> Function:
    """Computed whole and cut: ONNX may cut differently at the two ends."""
    axes = node.rank - 2
    stride, dilation = (node.integers(name, (1,) * axes) for name in ("strides", "dilations"))
    extra = node.integers("output_padding", (0,) * axes)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, node.shape(1)[2:], strict=True)]
    full = [stride[i] * (node.shape()[2 + i] - 1) + extra[i] + reach[i] for i in range(axes)]
    before, after = _cut(node, full, stride)
    node.require(
        min((*before, *after), default=0) >= 0,
        "its output is larger than its windows reach",
        "use output_padding",
    )
    convolve, groups = TRANSPOSED[axes - 1], node.integer("group", 1)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if before == after:
            return convolve(x, weight, bias, stride, before, extra, groups, dilation)
        y = convolve(x, weight, bias, stride, [0] * axes, extra, groups, dilation)
        for i in range(axes):
            y = y.narrow(2 + i, before[i], full[i] - before[i] - after[i])
        return y

    return run


def _cut(node: OnnxNode, full: list[int], stride: tuple[int, ...]) -> tuple[list[int], list[int]]:
    """How many elements to cut from each axis of a transposed convolution, before and after."""
    axes, mode = len(full), node.text("auto_pad", "NOTSET")
    wanted = node.integers("output_shape")[-axes:]
    if mode.startswith("SAME") and not wanted:
        wanted = tuple(node.shape()[2 + i] * stride[i] for i in range(axes))
    if not wanted:
        pads = node.integers("pads", (0,) * 2 * axes) if mode == "NOTSET" else (0,) * 2 * axes
        return list(pads[:axes]), list(pads[axes:])
    total = [full[i] - wanted[i] for i in range(axes)]
    half, rest = [t // 2 for t in total], [t - t // 2 for t in total]
    return (half, rest) if mode == "SAME_UPPER" else (rest, half)


def _general_product(node: OnnxNode) -> Function:
    """Gemm: a linear layer where it can be one."""
    alpha, beta = node.real_number("alpha", 1.0), node.real_number("beta", 1.0)
    first, second = bool(node.integer("transA", 0)), bool(node.integer("transB", 0))
    outputs = node.shape(1)[0 if second else 1]
    of_outputs = not node.has(2) or node.shape(2) in ((outputs,), (1, outputs))

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if first else a
        if alpha == beta == 1.0 and of_outputs:
            bias = c if c is None or c.dim() == 1 else c.reshape(-1)
            return F.linear(a, b if second else b.t(), bias)
        product = alpha * (a @ (b.t() if second else b))
        return product if c is None else product + beta * c

    return run


def _batch_norm(node: OnnxNode) -> Function:
    node.accept("training_mode", 0, "export the model in evaluation mode")
    epsilon = node.real_number("epsilon", 1e-5)
    return lambda x, scale, bias, mean, variance: F.batch_norm(
        x, mean, variance, scale, bias, False, 0.0, epsilon
    )


def _instance_norm(node: OnnxNode) -> Function:
    """Every channel is a group of its own."""
    channels, epsilon = node.shape()[1], node.real_number("epsilon", 1e-5)
    return lambda x, scale, bias: F.group_norm(x, channels, scale, bias, epsilon)


def _layer_norm(node: OnnxNode) -> Function:
    size = list(node.shape()[node.axis(-1) :])
    epsilon = node.real_number("epsilon", 1e-5)

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shift = None if bias is None else bias.expand(size)
        return F.layer_norm(x, size, scale.expand(size), shift, epsilon)

    return run


def _group_norm(node: OnnxNode) -> Function:
    """Scale and bias belong to groups in opset 18 and to channels since opset 21."""
    groups, epsilon = node.integer("num_groups", 1), node.real_number("epsilon", 1e-5)
    repeat = node.shape()[1] // groups if node.opset < 21 else 1

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        scale, bias = (t.repeat_interleave(repeat) for t in (scale, bias))
        return F.group_norm(x, groups, scale, bias, epsilon)

    return run


def _rms_norm(node: OnnxNode) -> Function:
    size = list(node.shape()[node.axis(-1) :])
    epsilon = node.real_number("epsilon", 1e-5)
    return lambda x, scale: F.rms_norm(x, size, scale.expand(size), epsilon)


def _softmax(function: Any) -> Builder:  # noqa: ANN401  (a function of torch with overloads)
    """Before opset 13 all axes from `axis` on are one."""

    def build(node: OnnxNode) -> Function:
        together = node.opset < 13
        axis = node.axis(1 if together else -1)
        if not together or axis == node.rank - 1:
            return lambda x: function(x, dim=axis)
        return lambda x: function(x.flatten(axis), dim=axis).reshape(x.shape)

    return build


LAYERS: Mapping[str, Builder] = {
    "BatchNormalization": _batch_norm,
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _general_product,
    "GroupNormalization": _group_norm,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _softmax(F.log_softmax),
    "MatMul": lambda node: torch.matmul,
    "RMSNormalization": _rms_norm,
    "Softmax": _softmax(F.softmax),
}
