"""Operators on single elements and reductions over axes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode


def _plain(function: Function) -> Builder:
    """An operator without attributes."""
    return lambda node: function


def _binary(function: Callable[[Tensor, Tensor | float], Tensor], commutes: bool) -> Builder:
    """An operator on two tensors; a constant of one element is passed as a number."""

    def build(node: OnnxNode) -> Function:
        second = node.number(1)
        if second is not None:
            return lambda a, _: function(a, second)
        first = node.number(0)
        if commutes and first is not None:
            return lambda _, b: function(b, first)
        return function

    return build


def _divide(first: Tensor, second: Tensor | float) -> Tensor:
    """Real division; integers divide towards zero."""
    if first.is_floating_point():
        return first / second
    return torch.div(first, second, rounding_mode="trunc")


def _power(node: OnnxNode) -> Function:
    exponent = node.number(1)
    if exponent is not None:
        return lambda a, _: torch.pow(a, exponent)
    return lambda a, b: torch.pow(a, b).to(a.dtype)


def _remainder(node: OnnxNode) -> Function:
    return torch.fmod if node.integer("fmod", 0) else torch.remainder


def _where(node: OnnxNode) -> Function:
    """A choice that a constant makes alike for all elements is one of the operands."""
    condition = node.constant(0) if node.known[0] else None
    if condition is None or bool(condition.any()) != bool(condition.all()):
        return torch.where
    size = torch.broadcast_shapes(*(node.shape(index) for index in range(3)))
    taken = 1 if bool(condition.all()) else 2
    return lambda *tensors: tensors[taken].expand(size)


def _is_nan(node: OnnxNode) -> Function:
    """Of constants; what is computed here in integers is never one.

    Exporters guard every softmax this way: a row that is masked whole has probabilities of 0.
    """
    if all(node.known):
        return torch.isnan
    return lambda x: torch.zeros_like(x, dtype=torch.bool)


def _many(function: Callable[[Tensor, Tensor], Tensor]) -> Builder:
    """An operator on any number of tensors."""
    return lambda node: lambda *tensors: reduce(function, tensors)


def _mean_of(node: OnnxNode) -> Function:
    count = len(node.operands)
    return lambda *tensors: reduce(torch.add, tensors) / count


def _leaky_relu(node: OnnxNode) -> Function:
    slope = node.real_number("alpha", 0.01)
    return lambda x: F.leaky_relu(x, slope)


def _parametric_relu(node: OnnxNode) -> Function:
    channels = node.shape()[1] if node.rank > 1 else 1
    size = node.shape(1)
    slopes = math.prod(size)
    along = size[-(node.rank - 1) :][:1] == (channels,) and len(size) == node.rank - 1
    if slopes == 1 or (slopes == channels and along):
        return lambda x, slope: F.prelu(x, slope.flatten())
    return lambda x, slope: torch.where(x < 0, slope * x, x)


def _hard_sigmoid(node: OnnxNode) -> Function:
    alpha, beta = node.real_number("alpha", 0.2), node.real_number("beta", 0.5)
    if math.isclose(alpha, 1 / 6, rel_tol=1e-6) and beta == 0.5:
        return F.hardsigmoid
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


def _elu(node: OnnxNode) -> Function:
    alpha = node.real_number("alpha", 1.0)
    return lambda x: F.elu(x, alpha)


def _selu(node: OnnxNode) -> Function:
    for name, value in (("alpha", 1.6732632423543772), ("gamma", 1.0507009873554805)):
        node.accept(name, value, "use the standard parameters of SELU")
    return F.selu


def _celu(node: OnnxNode) -> Function:
    alpha = node.real_number("alpha", 1.0)
    return lambda x: F.celu(x, alpha)


def _thresholded_relu(node: OnnxNode) -> Function:
    limit = node.real_number("alpha", 1.0)
    return lambda x: F.threshold(x, limit, 0.0)


def _gelu(node: OnnxNode) -> Function:
    approximate = node.text("approximate", "none")
    return lambda x: F.gelu(x, approximate=approximate)


def _swish(node: OnnxNode) -> Function:
    alpha = node.real_number("alpha", 1.0)
    return F.silu if alpha == 1.0 else lambda x: x * torch.sigmoid(alpha * x)


def _clip(node: OnnxNode) -> Function:
    """Bounds are attributes before opset 11, inputs since."""

    def bound(index: int, name: str) -> float | None:
        if name in node.attributes:
            return node.real_number(name, 0.0)
        return float(node.constant(index).item()) if node.has(index) else None

    low, high = bound(1, "min"), bound(2, "max")
    if low == 0 and (high is None or math.isinf(high)):
        return lambda x, *_: torch.relu(x)
    if low is None and high is None:
        return lambda x, *_: x
    return lambda x, *_: torch.clamp(x, low, high)


def _cast(node: OnnxNode) -> Function:
    """`to` is the number of a type; the importer has turned it into a type of PyTorch."""
    dtype = node.attributes.get("to")
    if not isinstance(dtype, torch.dtype):
        node.refuse(f"type {dtype} has no counterpart in PyTorch", "cast to float32")
    return lambda x, *_: x.to(dtype)


def _cast_like(node: OnnxNode) -> Function:
    return lambda x, like: x.to(like.dtype)


def _reduction(function: Callable[[Tensor, list[int], bool], Tensor]) -> Builder:
    """A reduction over axes; none named means all, or each element by itself."""

    def build(node: OnnxNode) -> Function:
        axes = node.listed(1, "axes")
        keep = bool(node.integer("keepdims", 1))
        if not axes and node.integer("noop_with_empty_axes", 0):
            return lambda x, *_: function(x.unsqueeze(-1), [-1], False)
        named = [axis % node.rank for axis in axes or range(node.rank)]
        return lambda x, *_: function(x, named, keep)

    return build


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    for axis in sorted(axes, reverse=True):
        x = torch.prod(x, axis, keepdim=keep)
    return x


def _arg_extreme(function: Callable[..., Tensor]) -> Builder:
    def build(node: OnnxNode) -> Function:
        node.accept("select_last_index", 0, "take the first index")
        axis, keep = node.axis(0), bool(node.integer("keepdims", 1))
        return lambda x: function(x, axis, keepdim=keep)

    return build


ARITHMETIC: Mapping[str, Builder] = {
    "Abs": _plain(torch.abs),
    "Add": _binary(lambda a, b: a + b, commutes=True),
    "And": _plain(torch.logical_and),
    "ArgMax": _arg_extreme(torch.argmax),
    "ArgMin": _arg_extreme(torch.argmin),
    "Cast": _cast,
    "CastLike": _cast_like,
    "Ceil": _plain(torch.ceil),
    "Celu": _celu,
    "Clip": _clip,
    "Cos": _plain(torch.cos),
    "Div": _binary(_divide, commutes=False),
    "Elu": _elu,
    "Equal": _plain(torch.eq),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Floor": _plain(torch.floor),
    "Gelu": _gelu,
    "Greater": _plain(torch.gt),
    "GreaterOrEqual": _plain(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _plain(F.hardswish),
    "IsNaN": _is_nan,
    "LeakyRelu": _leaky_relu,
    "Less": _plain(torch.lt),
    "LessOrEqual": _plain(torch.le),
    "Log": _plain(torch.log),
    "Max": _many(torch.maximum),
    "Mean": _mean_of,
    "Min": _many(torch.minimum),
    "Mish": _plain(F.mish),
    "Mod": _remainder,
    "Mul": _binary(lambda a, b: a * b, commutes=True),
    "Neg": _plain(torch.neg),
    "Not": _plain(torch.logical_not),
    "Or": _plain(torch.logical_or),
    "PRelu": _parametric_relu,
    "Pow": _power,
    "Reciprocal": _plain(torch.reciprocal),
    "ReduceL2": _reduction(lambda x, axes, keep: x.square().sum(axes, keep).sqrt()),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceProd": _reduction(_product),
    "ReduceSum": _reduction(torch.sum),
    "ReduceSumSquare": _reduction(lambda x, axes, keep: x.square().sum(axes, keep)),
    "Relu": _plain(torch.relu),
    "Round": _plain(torch.round),
    "Selu": _selu,
    "Sigmoid": _plain(torch.sigmoid),
    "Sign": _plain(torch.sign),
    "Sin": _plain(torch.sin),
    "Softplus": _plain(F.softplus),
    "Softsign": _plain(F.softsign),
    "Sqrt": _plain(torch.sqrt),
    "Sub": _binary(lambda a, b: a - b, commutes=False),
    "Sum": _many(torch.add),
    "Swish": _swish,
    "Tanh": _plain(torch.tanh),
    "ThresholdedRelu": _thresholded_relu,
    "Where": _where,
    "Xor": _plain(torch.logical_xor),
}
