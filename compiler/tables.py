"""The unary functions that become tables, as PyTorch itself computes them in float64.

A table clamps what its output's type cannot hold, so an infinite value (the logarithm of 0) becomes
the end of the type; where the function is not a number (the root of -1), no table is made.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node

from intaglio.compiler.numerics import Floats

aten = torch.ops.aten
Function = Callable[[Floats], Floats]


def unary_function(node: Node) -> Function:
    """The function that a call of a table operator computes, on float64 arrays."""
    operator = cast("Callable[..., Tensor]", node.target)
    numbers, options = node.args[1:], node.kwargs

    def function(values: Floats) -> Floats:
        made = operator(torch.from_numpy(values), *numbers, **options)
        return np.asarray(made.numpy(), np.float64)

    return function


def raised(
    values: Tensor,
    function: Callable[..., Tensor],
    lowest: float,
    start: float,
    *numbers: object,
    **options: object,
) -> Tensor:
    """How far a function of `values` above `start` lies above `lowest`; a table operator itself."""
    return function(values + start, *numbers, **options) - lowest


def is_non_negative(node: Node) -> bool:
    """Whether no value of a call of a table operator is negative."""
    if node.target is aten.pow.Tensor_Scalar:
        return cast(float, node.args[1]) % 2 == 0
    return node.target is raised or node.target in _NON_NEGATIVE


_NON_NEGATIVE = frozenset(
    {
        aten.abs.default,
        aten.acos.default,
        aten.acosh.default,
        aten.cosh.default,
        aten.erfc.default,
        aten.exp.default,
        aten.exp2.default,
        aten.hardsigmoid.default,
        aten.rsqrt.default,
        aten.sigmoid.default,
        aten.softplus.default,
        aten.sqrt.default,
    }
)
UNARY = _NON_NEGATIVE | {
    aten.asin.default,
    aten.asinh.default,
    aten.atan.default,
    aten.atanh.default,
    aten.ceil.default,
    aten.celu.default,
    aten.cos.default,
    aten.elu.default,
    aten.erf.default,
    aten.expm1.default,
    aten.floor.default,
    aten.gelu.default,
    aten.hardswish.default,
    aten.leaky_relu.default,
    aten.log.default,
    aten.log10.default,
    aten.log1p.default,
    aten.log2.default,
    aten.log_sigmoid.default,
    aten.logit.default,
    aten.mish.default,
    aten.pow.Tensor_Scalar,
    aten.reciprocal.default,
    aten.round.default,
    aten.selu.default,
    aten.sign.default,
    aten.silu.default,
    aten.sin.default,
    aten.sinh.default,
    aten.tan.default,
    aten.tanh.default,
    aten.threshold.default,
    aten.trunc.default,
}
"""Operators whose first argument alone is a tensor, and whose value at a point depends on it."""
