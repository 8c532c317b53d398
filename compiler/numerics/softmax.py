"""Integer softmax: a power of two by table and shift, one reciprocal a row, one rounding.

A row has N <= 65536 entries x of up to 16 bits; p = softmax(scale * x) comes out as unsigned y of
`bits` <= 16 bits with L = 2^bits - 1 and p = y / L, so probability 1 is the code L.  Steps:

    d = max - x                              0 .. 2^16 - 1; masked entries take no part in max
    t = (d * m + 2^(s-1)) >> s               d * scale * log2(e) in units of 2^-17
    t = min(t, 32 * 2^17)                    from exponent 32 on, e is 0
    q = t >> 17,  j = t >> 9 & 255,  r = t & 511
    v = T[j] * 512 - (T[j] - T[j+1]) * r     2^29 .. 2^30: 2^30 * 2^-fraction; T of 22 bits
    e = (v + (2^q >> 1)) >> q                31 bits: 2^30 * 2^-t, half up; masked entries are 0
    S = sum of e                             at most 2^46
    n = bits of S,  u = S >> (n - 31)        31 <= n <= 47; u in 2^30 .. 2^31 - 1
    M = (L * 2^39 + u) // (2 * u)            at most L * 2^8: `bits` + 8 bits, half up
    y = (e * M + 2^(n+6)) >> (n + 7)         e * M <= 2^54; half up

In a row that is masked whole every e is 0 and so is every y; S is taken as 2^30 there.  The entry
of the maximum has t = 0 and e = 2^30, so S >= 2^30 and 31 <= n in every other row.

**Error.**  Each e is 2^30 * p_i/p_max * (1 + eps_i) + alpha_i, where eps_i collects

    the constant m (24 bits, exponent at most 32) and the rounding of t:
        2^(2^-19 + 2^-18) - 1                                       < 3.97e-6
    the rounding of T (half of a unit, T >= 2^20): 2^-21             < 0.48e-6
    the chord of 2^-f: (ln 2 / 256)^2 / 8 * 2^(1/256)                < 0.92e-6

so |eps| < 5.4e-6, and alpha is the rounding of e, at most 1/2 (a clamped entry is below 1/4).
The factors change a probability by p_i * sum over j of p_j * (eps_i - eps_j), over 1 + a mean of
eps: at most 2 * eps * p_i * (1 - p_i) / (1 - eps) <= eps / (2 * (1 - eps)) < 2.701e-6.  The
roundings alpha change it by at most N/2 / S <= N * 2^-31.  Truncating u raises it by less than
2^-30 of itself.  The rounding of M moves y by at most e * M-error / 2^(n+7) <= 2^-8, the last
rounding by 1/2.  Together

    |y - L * p| <= 1/2 + 2^-8 + L * (2.702e-6 + N * 2^-31)

that is 0.505 at 8 bits and 0.81 at 16 bits for N = 4096 (seen in random rows: 0.502 and 0.56).
At p = 1 that path gives y < L + 1 before the floor: y never exceeds L and needs no clamp.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intaglio.compiler.numerics.bits import bit_length
from intaglio.compiler.numerics.border import Ints, round_half_up
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

SOFTMAX_MULTIPLIER = ElementType(24, "unsigned")
SOFTMAX_SHIFT = ElementType(6, "unsigned")
MAX_SOFTMAX_SHIFT = 40
MAX_SOFTMAX_ENTRIES = 1 << 16
MAX_SOFTMAX_BITS = 16

EXPONENT_FRACTION = 17
"""Bits of t below the binary point: 8 choose the table's entry, 9 interpolate."""
INTERPOLATION = 9
SEGMENTS = 1 << (EXPONENT_FRACTION - INTERPOLATION)
LARGEST_EXPONENT = 32
ONE = 30
"""e^0 is 2^ONE."""

EXPONENTIAL: Ints = round_half_up(
    np.ldexp(np.exp2(-np.arange(SEGMENTS + 1) / SEGMENTS), ONE - INTERPOLATION)
).astype(np.int64)
"""T[j] = 2^21 * 2^(-j/256), half up, of shape (257,): 22 bits, a part of the definition."""


@dataclass(frozen=True, slots=True)
class SoftmaxConstants:
    """One softmax's constants: m of 24 bits and s, with m / 2^s = scale * log2(e) * 2^17."""

    multiplier: int
    shift: int


def softmax_scale(bits: int) -> float:
    """The scale of the output: 1 / (2^bits - 1), so that probability 1 is the largest code."""
    return 1.0 / ((1 << bits) - 1)


def choose_softmax(name: str, scale: float, entries: int, bits: int = 8) -> SoftmaxConstants:
    """Constants for rows of `entries` integers whose real value is `scale` times them.

    Takes the largest s <= 40 with m < 2^24.  A scale so large that m does not fit even at s = 1
    takes the largest m: one step is then more than exponent 32 either way.  Raises
    UnsupportedError, naming `name`, when the scale is not positive and finite, or when rows or
    output are too long for the widths above.
    """
    _prove_widths(name, scale, entries, bits)
    factor = float(np.ldexp(scale * np.log2(np.e), EXPONENT_FRACTION))
    for shift in range(MAX_SOFTMAX_SHIFT, 0, -1):
        multiplier = int(round_half_up(np.ldexp(min(factor, 1 << 30), shift)))
        if multiplier <= SOFTMAX_MULTIPLIER.hi:
            return SoftmaxConstants(multiplier, shift)
    return SoftmaxConstants(SOFTMAX_MULTIPLIER.hi, 1)


def _prove_widths(name: str, scale: float, entries: int, bits: int) -> None:
    if not (np.isfinite(scale) and scale > 0):
        raise UnsupportedError(
            f"{name}: the scale {scale:g} of softmax's input is not positive and finite; calibrate "
            "with data that reach it"
        )
    if not 1 <= entries <= MAX_SOFTMAX_ENTRIES:
        raise UnsupportedError(
            f"{name}: softmax over {entries} entries, its sum holds 1 to {MAX_SOFTMAX_ENTRIES}; "
            "shorten the axis"
        )
    if not 1 <= bits <= MAX_SOFTMAX_BITS:
        raise UnsupportedError(
            f"{name}: softmax to {bits} bits, it gives 1 to {MAX_SOFTMAX_BITS}; choose fewer bits"
        )


def softmax(
    values: Ints,
    multiplier: int,
    shift: int,
    bits: int = 8,
    axis: int = -1,
    mask: Ints | None = None,
) -> Ints:
    """Softmax of `values` along `axis`, unsigned `bits` bits of scale 1 / (2^bits - 1).

    `mask` (0 or 1) has a shape that broadcasts to that of `values`; entries of mask 0 are exactly
    0 and count neither in the maximum nor in the sum, and a row masked whole is all 0.
    """
    values = values.astype(np.int64, copy=False)
    kept = np.ones(values.shape, bool) if mask is None else np.broadcast_to(mask != 0, values.shape)
    lowest = values.min(initial=0)
    highest = np.where(kept, values, lowest).max(axis=axis, keepdims=True)
    distance = np.where(kept, highest - values, 0)
    powers = np.where(kept, exponential(distance, multiplier, shift), 0)
    total = np.maximum(powers.sum(axis=axis, keepdims=True), 1 << ONE)
    length = bit_length(total)
    reciprocal = _reciprocal(total >> (length - ONE - 1), bits)
    result: Ints = (powers * reciprocal + (np.int64(1) << (length + 6))) >> (length + 7)
    return result


def exponential(distance: Ints, multiplier: int, shift: int) -> Ints:
    """The powers e = 2^30 * exp(-scale * distance), half up, for distances 0 .. 2^16 - 1."""
    exponent = (distance * multiplier + (1 << (shift - 1))) >> shift
    exponent = np.minimum(exponent, LARGEST_EXPONENT << EXPONENT_FRACTION)
    whole = exponent >> EXPONENT_FRACTION
    entry = (exponent >> INTERPOLATION) & (SEGMENTS - 1)
    rest = exponent & ((1 << INTERPOLATION) - 1)
    step = EXPONENTIAL[entry] - EXPONENTIAL[entry + 1]
    mantissa = (EXPONENTIAL[entry] << INTERPOLATION) - step * rest
    half = (np.int64(1) << whole) >> 1
    power: Ints = (mantissa + half) >> whole
    return power


def _reciprocal(normalised: Ints, bits: int) -> Ints:
    """M = (2^bits - 1) * 2^38 / u, half up, for u in 2^30 .. 2^31 - 1."""
    largest = (1 << bits) - 1
    quotient: Ints = ((largest << (ONE + 9)) + normalised) // (2 * normalised)
    return quotient


def softmax_error_bound(entries: int, bits: int = 8) -> float:
    """The largest |y - L * p| of rows of `entries`, in steps of the output, as proven above."""
    largest = (1 << bits) - 1
    return 0.5 + 2.0**-8 + largest * (2.702e-6 + entries * 2.0**-31)
