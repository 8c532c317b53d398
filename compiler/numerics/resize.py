"""Resizing: nearest as an index map, linear as two taps an axis, with PyTorch's source positions.

**Nearest** is a gather: y[..., i, j] = x[..., rows[i], columns[j]], and `nearest_indices` repeats
PyTorch's float32 arithmetic.  PyTorch's own CPU kernels differ among themselves in two corners,
where this is one of them: for small or channels-last feature maps they ignore a scale factor that
gives an output exactly as large as its input or twice as large; and in "nearest-exact", where the
position is an integer in exact numbers, float32 falls to either side of it, with or without fused
multiply-add.

**Linear** (bilinear over two axes).  Output i of an axis lies at the source position p, exactly:

    p = i * (in - 1) / (out - 1)         align_corners (0 when out = 1)
    p = i                                if in = out
    p = max(0, (i + 1/2) * f - 1/2)      otherwise, with f = in / out, or 1 / scale_factor if given
    lower = min(floor(p), in - 1),  upper = min(lower + 1, in - 1)
    weight = floor((p - lower) * 2^B + 1/2)                           0 .. 2^B

and one axis after another, with a single rounding at the end of k <= 3 axes:

    acc = x[lower] * (2^B - weight) + x[upper] * weight               B more bits an axis
    y = (acc + 2^(k*B-1)) >> (k * B)                                  half up

y is a convex combination of integers of x's type, so it has x's type and scale and needs no clamp;
16 bits and three axes of B = 15 need 61 bits.

**Error** of linear against the exact weights, in steps: rounding a weight moves one axis by at
most |x[upper] - x[lower]| * 2^-(B+1), later axes average that, and the end rounds once:

    1/2 + k * (hi - lo) * 2^-(B+1)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from intaglio.compiler.numerics.border import Ints
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

MAX_WEIGHT_BITS = 15
WEIGHT_BITS = 11
"""The default B: 8-bit bilinear is then within 0.625 steps."""


@dataclass(frozen=True, slots=True)
class LinearTaps:
    """The two sources of every output of one axis, and the weight of `upper`, each (out,)."""

    lower: Ints
    upper: Ints
    weight: Ints


def nearest_indices(
    size_in: int, size_out: int, scale_factor: float | None = None, exact: bool = False
) -> Ints:
    """The source of each output of one axis, (size_out,): min(floor((i + offset) * f), in - 1).

    f is in / out, or 1 / `scale_factor`, the one given to PyTorch if any, and offset is 0, or 1/2
    when `exact` (mode "nearest-exact"), all in float32.
    """
    ratio = np.float32(1.0 / scale_factor if scale_factor else size_in / np.float32(size_out))
    outputs = np.arange(size_out, dtype=np.float32) + np.float32(0.5 if exact else 0)
    sources = np.floor(outputs * ratio).astype(np.int64)
    result: Ints = np.minimum(sources, size_in - 1)
    return result


def resize_nearest(values: Ints, indices: Sequence[Ints]) -> Ints:
    """`values` at `indices`, one array for each of the last axes."""
    for axis, chosen in enumerate(reversed(indices), 1):
        values = np.take(values, chosen, axis=-axis)
    return values


def linear_taps(
    size_in: int,
    size_out: int,
    scale_factor: float | None = None,
    align_corners: bool = False,
    fraction_bits: int = WEIGHT_BITS,
) -> LinearTaps:
    """The taps of one axis, their weights in 2^-`fraction_bits`.

    `scale_factor` is the one given to PyTorch, or None when the output's size was; it counts for
    nothing when `align_corners`.  Raises UnsupportedError when `fraction_bits` is not 1 to 15.
    """
    if not 1 <= fraction_bits <= MAX_WEIGHT_BITS:
        raise UnsupportedError(
            f"resize weights of {fraction_bits} bits, its sums hold 1 to {MAX_WEIGHT_BITS}; choose "
            "fewer bits"
        )
    positions = _positions(size_in, size_out, scale_factor, align_corners)
    lower = [min(int(position), size_in - 1) for position in positions]
    upper = [min(first + 1, size_in - 1) for first in lower]
    parts = [min(p - first, Fraction(1)) for p, first in zip(positions, lower, strict=True)]
    weight = [int(part * (1 << fraction_bits) + Fraction(1, 2)) for part in parts]
    return LinearTaps(*(np.array(a, np.int64) for a in (lower, upper, weight)))


def _positions(
    size_in: int, size_out: int, scale_factor: float | None, align_corners: bool
) -> list[Fraction]:
    """Where each output lies among the inputs, exactly, at least 0."""
    if align_corners:
        return [Fraction(i * (size_in - 1), max(size_out - 1, 1)) for i in range(size_out)]
    if size_in == size_out:
        return [Fraction(i) for i in range(size_out)]
    ratio = 1 / Fraction(scale_factor) if scale_factor else Fraction(size_in, size_out)
    half = Fraction(1, 2)
    return [max((i + half) * ratio - half, Fraction(0)) for i in range(size_out)]


def resize_linear(
    values: Ints, taps: Sequence[LinearTaps], fraction_bits: int = WEIGHT_BITS
) -> Ints:
    """`values` interpolated over its last axes, one `LinearTaps` for each, rounded once."""
    for axis, tap in enumerate(reversed(taps), 1):
        along = (-1,) + (1,) * (axis - 1)
        weight = tap.weight.reshape(along)
        first = np.take(values, tap.lower, axis=-axis)
        second = np.take(values, tap.upper, axis=-axis)
        values = first * ((1 << fraction_bits) - weight) + second * weight
    shift = fraction_bits * len(taps)
    return (values + (1 << (shift - 1))) >> shift


def resize_error_bound(element: ElementType, axes: int, fraction_bits: int = WEIGHT_BITS) -> float:
    """The largest |y - exact| of linear resizing over `axes` axes, in steps, as proven above."""
    return 0.5 + axes * float(np.ldexp(element.hi - element.lo, -fraction_bits - 1))
