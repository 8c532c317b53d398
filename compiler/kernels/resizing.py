"""Linear interpolation over the last axes, as `numerics.resize` defines it."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import te, tirx
from tvm.ir import Expr

from intaglio.compiler.kernels.definition import Defined, Definition
from intaglio.compiler.kernels.schedules import plain
from intaglio.compiler.numerics.resize import WEIGHT_BITS, linear_taps
from intaglio.compiler.workload import Resize

Taps = tuple[te.Tensor, te.Tensor, te.Tensor]
"""Of one axis: for each output the lower and the upper input, and the weight of the upper."""


def resize(d: Definition, op: Resize) -> Defined:
    """Two neighbours on every axis, weighted; rounded once."""
    x, axes = d.activation(op.input), len(op.factors)
    sizes = zip(d.shape(op.input)[-axes:], d.shape(op.output)[-axes:], op.factors, strict=True)
    taps = [_taps(d, before, after, factor, op.aligned) for before, after, factor in sizes]
    shift = tirx.const(WEIGHT_BITS * axes, "int64")
    half = tirx.const(1 << (WEIGHT_BITS * axes - 1), "int64")

    def at(*index: Expr) -> Expr:
        return (_interpolated(x, index[:-axes], index[-axes:], taps) + half) >> shift

    return d.output(at), plain


def _taps(d: Definition, before: int, after: int, factor: float | None, aligned: bool) -> Taps:
    taps = linear_taps(before, after, factor, aligned)
    lower, upper = (d.constant(places.astype("int32")) for places in (taps.lower, taps.upper))
    return lower, upper, d.constant(taps.weight.astype("int64"))


def _interpolated(
    x: te.Tensor, fixed: Sequence[Expr], rest: Sequence[Expr], taps: Sequence[Taps]
) -> Expr:
    """The weighted sum over the axes of `rest`, at `fixed` on those ahead of them."""
    if not rest:
        return x[tuple(fixed)].astype("int64")
    lower, upper, weight = taps[0]
    first, second = (
        _interpolated(x, (*fixed, places[rest[0]]), rest[1:], taps[1:]) for places in (lower, upper)
    )
    one = tirx.const(1 << WEIGHT_BITS, "int64")
    return first * (one - weight[rest[0]]) + second * weight[rest[0]]
