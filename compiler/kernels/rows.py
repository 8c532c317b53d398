"""Operators on whole rows: softmax and the norms, step by step as `numerics` defines them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from tvm import te, tirx
from tvm.ir import Expr

from intaglio.compiler.kernels.definition import At, Defined, Definition, Epilogue
from intaglio.compiler.kernels.moves import stretched
from intaglio.compiler.kernels.schedules import plain
from intaglio.compiler.numerics import EXPONENTIAL, norm
from intaglio.compiler.numerics.softmax import (
    EXPONENT_FRACTION,
    INTERPOLATION,
    LARGEST_EXPONENT,
    ONE,
    SEGMENTS,
)
from intaglio.compiler.workload import Norm, Softmax


def softmax(d: Definition, op: Softmax) -> Defined:
    """Powers of the distance from the row's maximum, over their sum."""
    x, shape = d.activation(op.input), d.shape(op.input)
    entries = (d.images, *shape)
    kept = None if op.mask is None else stretched(d, op.mask, shape)
    lowest = tirx.const(d.element(op.input).lo, "int64")

    def counted(index: Sequence[Expr], value: Expr, otherwise: Expr) -> Expr:
        return value if kept is None else tirx.Select(kept(*index) != 0, value, otherwise)

    def entry(*index: Expr) -> Expr:
        return counted(index, x[index].astype("int64"), lowest)

    highest = _along_row(d, shape, entry, te.max, "highest")
    exponential = d.constant(EXPONENTIAL)

    def power(*index: Expr) -> Expr:
        distance = highest[index[:-1]] - x[index].astype("int64")
        return counted(index, _power(op, exponential, distance), _wide(0))

    powers = te.compute(entries, power, name="powers")
    total = _along_row(d, shape, lambda *index: powers[index], te.sum, "total")
    largest = (1 << d.element(op.output).bits) - 1
    reciprocal = te.compute(
        entries[:-1], lambda *row: _reciprocal(total[row], largest), name="reciprocal"
    )

    def probability(*index: Expr) -> Expr:
        row = index[:-1]
        length = _bits(te.max(total[row], _wide(1 << ONE)))
        return (powers[index] * reciprocal[row] + (_wide(1) << (length + 6))) >> (length + 7)

    return d.output(probability), plain


def _along_row(
    d: Definition, shape: Sequence[int], at: At, combine: Callable[..., Expr], name: str
) -> te.Tensor:
    """The entries of the last axis combined."""
    entry = te.reduce_axis((0, shape[-1]), "entry")
    rows = (d.images, *shape[:-1])
    return te.compute(rows, lambda *row: combine(at(*row, entry), axis=entry), name=name)


def _power(op: Softmax, exponential: te.Tensor, distance: Expr) -> Expr:
    """`numerics.softmax.exponential`; a distance that a mask takes out may be negative."""
    distance = te.max(distance, _wide(0))
    exponent = (distance * _wide(op.multiplier) + _wide(1 << (op.shift - 1))) >> _wide(op.shift)
    exponent = te.min(exponent, _wide(LARGEST_EXPONENT << EXPONENT_FRACTION))
    place = ((exponent >> INTERPOLATION) & (SEGMENTS - 1)).astype("int32")
    rest = exponent & ((1 << INTERPOLATION) - 1)
    step = exponential[place] - exponential[place + 1]
    mantissa = (exponential[place] << INTERPOLATION) - step * rest
    whole = exponent >> EXPONENT_FRACTION
    return (mantissa + ((_wide(1) << whole) >> 1)) >> whole


def _reciprocal(total: Expr, largest: int) -> Expr:
    """The row's factor from its sum of powers, as `numerics.softmax` has it."""
    total = te.max(total, _wide(1 << ONE))
    normalised = total >> (_bits(total) - (ONE + 1))
    return tirx.truncdiv(_wide(largest << (ONE + 9)) + normalised, normalised * 2)


def normalise(d: Definition, op: Norm) -> Defined:
    """The input standardised, then gamma and beta as an epilogue."""
    x, shape = d.activation(op.input), d.shape(op.input)
    batch, channels, *rest = shape if op.kind == "group" else (1, 1)
    part = channels // op.groups
    extents = (part, *rest) if op.kind == "group" else shape[-1:]
    rows = (d.images, batch, op.groups) if op.kind == "group" else (d.images, *shape[:-1])
    axes = [te.reduce_axis((0, extent), f"r{axis}") for axis, extent in enumerate(extents)]
    axis = 1 if op.kind == "group" else len(shape) - 1

    def inside(*row: Expr) -> Expr:
        place = (*row[:-1], row[-1] * part + axes[0], *axes[1:])
        return x[place if op.kind == "group" else (*row, *axes)].astype("int64")

    def row_of(index: Sequence[Expr]) -> tuple[Expr, ...]:
        return (*index[:2], index[2] // part) if op.kind == "group" else tuple(index[:-1])

    count = int(np.prod(extents, dtype=np.int64))
    squares = te.compute(
        rows, lambda *row: te.sum(inside(*row) * inside(*row), axis=axes), name="squares"
    )
    total = te.compute(rows, lambda *row: te.sum(inside(*row), axis=axes), name="total")
    standard = _standardised(d, op, rows, count, total, squares)
    constants = Epilogue.of(d, op.epilogue, lambda a: np.broadcast_to(a, (shape[axis],)))

    def at(*index: Expr) -> Expr:
        z = standard(row_of(index), x[index].astype("int64"))
        return constants.apply(z, (index[axis + 1],), None)

    return d.output(at), plain


def _standardised(
    d: Definition,
    op: Norm,
    rows: Sequence[Expr],
    count: int,
    total: te.Tensor,
    squares: te.Tensor,
) -> Callable[[Sequence[Expr], Expr], Expr]:
    """`numerics.norm.standardise` of a value of a row, from the row's two sums."""
    seed = d.constant(norm.SEED)

    def mean(row: Sequence[Expr]) -> Expr:
        return _wide(0) if op.kind == "rms" else total[tuple(row)]

    def variance(*row: Expr) -> Expr:
        own = squares[row] * _wide(count) - mean(row) * mean(row)
        return te.max((own << op.fraction) + _wide(op.epsilon), _wide(1 << op.fraction))

    widened = te.compute(rows, variance, name="variance")
    root = te.compute(rows, lambda *row: _reciprocal_root(widened[row], seed), name="inverse")

    def standard(row: Sequence[Expr], value: Expr) -> Expr:
        shift = 35 - op.fraction // 2 - _half_shift(widened[tuple(row)])
        scaled = (value * _wide(count) - mean(row)) * root[tuple(row)]
        return (scaled + (_wide(1) << (shift - 1))) >> shift

    return standard


def _half_shift(value: Expr) -> Expr:
    return (norm.VARIANCE_BITS - _bits(value)) >> 1


def _reciprocal_root(value: Expr, seed: te.Tensor) -> Expr:
    """`numerics.norm.reciprocal_root`, without its shift."""
    top = (value << (_half_shift(value) * 2)) >> 32
    first = seed[((top >> 22) - 64).astype("int32")]
    better = (first * (_wide(3 << 30) - ((top * (first * first)) >> 30)) + (1 << 21)) >> 22
    square = (better * better + (1 << 19)) >> 20
    return (better * (_wide(3 << 30) - ((top * square) >> 28)) + (1 << 30)) >> 31


def _bits(value: Expr) -> Expr:
    """The bits of a positive value of 64 bits."""
    return 64 - tirx.clz(value).astype("int64")


def _wide(value: int) -> Expr:
    return tirx.const(value, "int64")
