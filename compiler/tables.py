"""The unary functions that become tables, as PyTorch itself computes them in float64.

A table clamps what its output's type cannot hold, so an infinite value (the logarithm of 0) becomes
the end of the type; where the function is not a number (the root of -1), no table is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


Step = tuple[object, tuple[object, ...], Mapping[str, object]]
"""An operator, its arguments and its options; `(i,)` among them is the i-th value."""


def composed(values: Tensor, steps: Sequence[Step]) -> Tensor:
    """What a list of operators makes of each element; value 0 is `values`, step i makes i + 1."""
    made = [values]

    def operand(given: object) -> object:
        return made[given[0]] if isinstance(given, tuple) else given

    for operator, arguments, options in steps:
        call = cast("Callable[..., Tensor]", operator)
        given = {name: operand(option) for name, option in options.items()}
        made.append(call(*map(operand, arguments), **given))
    return made[-1]


def is_non_negative(node: Node) -> bool:
    """Whether no value of a call of a table operator is negative."""
    if node.target is aten.pow.Tensor_Scalar:
        return cast(float, node.args[1]) % 2 == 0
    if node.target is composed:
        return _ends_non_negative(cast("Sequence[Step]", node.args[1]))
    return node.target is raised or node.target in _NON_NEGATIVE


def _ends_non_negative(steps: Sequence[Step]) -> bool:
    """Whether the operators of a composed function say that no value of it is negative."""
    known = [False]
    for operator, arguments, options in steps:
        places = [given[0] for given in arguments if isinstance(given, tuple)]
        numbers = [given for given in arguments if isinstance(given, int | float)]
        kept = all(known[place] for place in places) and all(n >= 0 for n in numbers)
        kept = kept and "alpha" not in options and operator in _SIGN_KEEPING
        same = operator is aten.mul.Tensor and len(places) == 2 and len(set(places)) == 1
        even = operator is aten.pow.Tensor_Scalar and cast(float, arguments[1]) % 2 == 0
        known.append(operator in _NON_NEGATIVE | _NEVER_BELOW_ZERO or same or even or kept)
    return known[-1]


COMPARISONS = frozenset(
    getattr(getattr(aten, name), overload)
    for name in ("eq", "ge", "gt", "le", "lt", "ne")
    for overload in ("Scalar", "Tensor")
)
LOGICAL = frozenset(
    {
        aten.bitwise_and.Tensor,
        aten.bitwise_not.default,
        aten.bitwise_or.Tensor,
        aten.bitwise_xor.Tensor,
        aten.logical_and.default,
        aten.logical_not.default,
        aten.logical_or.default,
        aten.logical_xor.default,
    }
)
"""Operators of truth values; those by bits are mapped on truth values alone."""
_NEVER_BELOW_ZERO = COMPARISONS | LOGICAL | {aten.relu.default}
_SIGN_KEEPING = frozenset(
    {
        aten.add.Tensor,
        aten.div.Tensor,
        aten.maximum.default,
        aten.minimum.default,
        aten.mul.Scalar,
        aten.mul.Tensor,
        aten.scalar_tensor.default,
        aten.where.self,
    }
)
"""Operators that make nothing negative of what is not."""
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
