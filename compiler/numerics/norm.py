"""Integer layer norm, RMS norm and group norm, with no division anywhere.

N integers x of up to 16 bits with |x| <= A and one real scale become
y = gamma * (x - mean) / sqrt(variance + epsilon) + beta, in two stages.

**Standardise**, to z with 20 bits below the binary point:

    s = sum of x (0 for RMS norm),  c = N * x - s            |c| <= 2 * N * A <= 2^32
    V = N * sum of x^2 - s^2                                 N^2 * variance <= N^2 * A^2
    W = max((V << F) + E, 2^F)                               below 2^62
    1 / sqrt(W) = r * 2^(h - 55)                             `reciprocal_root`: r of 26 bits
    k = 35 - F/2 - h                                         5 <= k <= 35
    z = (c * r + 2^(k-1)) >> k                               |c * r| <= 2^58; half up

E = N^2 * epsilon / scale^2 * 2^F, half up, and F is even and as large as W < 2^62 allows.
`choose_norm` refuses unless N^2 * (A^2 + epsilon / scale^2) < 2^62 (for 16 bits and N = 8192 the
first term is at most 2^58) and N <= 2^20.  The maximum with 2^F changes nothing but V = 0, where
every c is 0: a row of no variance gives z = 0, hence beta (also for epsilon = 0, where floats give
nan).  It makes F + 2h <= 60, hence k >= 5.

**Requantise**, per gamma: y = clamp((z * m + b) >> s, lo, hi) by the ordinary rule, with m signed
17 bits (gamma may be negative) and |z| <= sqrt(N) * 2^20 + 128 as the accumulator.

**Error of the root** (`reciprocal_root`), relative: the seed is off by less than 2^-8 (half an
interval at 1/4, and its rounding); a Newton step turns e into 3/2 e^2 + 1/2 |e|^3, so the first
leaves 2.30e-5 with its rounding of 2^-25, the second 8.0e-10; truncating a costs 2^-29, rounding
g and t 3 * 2^-31, the last rounding 2^-25.  Together below 3.4e-8 < 2^-24, and r < 2^26.

**Error of z**, in real units: |z| * (2^-24 + e) + 2^-21.  Here e is what rounding E does: W is off
by at most 1/2 and, unless V = 0, V >= N - 1, so e <= 2^-(F+1) / max(N - 1, 1).

**Error of y** in output steps, G = |gamma| / output scale, B = |beta| / output scale:

    1/2 + G * |z| * (2^-24 + e) + G * 2^-21 + (|z| * 2^20 + 2) / 2^(s+1)

the last term from rounding m and b.  |z| <= sqrt(N); and where G * |z| exceeds the largest code
+ 1 + B both sides are clamped alike as long as the bound is at most 2, so |z| is taken no larger.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

import numpy as np

from intaglio.compiler.numerics.bits import bit_length
from intaglio.compiler.numerics.border import Floats, Ints, round_half_up
from intaglio.compiler.numerics.requantisation import choose_requantiser, requantise
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

NORM_MULTIPLIER = ElementType(17)
NORM_FRACTION = 20
"""Bits of z below the binary point."""
VARIANCE_BITS = 62
MAX_NORM_COUNT = 1 << 20

SEED: Ints = round_half_up(np.ldexp(1 / np.sqrt((np.arange(64, 256) + 0.5) / 256), 15)).astype(
    np.int64
)
"""2^15 / sqrt((i + 1/2) / 256) for i = 64 .. 255, half up, of shape (192,): 16 bits."""


@dataclass(frozen=True, slots=True)
class NormConstants:
    """One normalisation's constants: E, F, and the requantiser, of gamma's shape."""

    epsilon: int
    fraction: int
    multiplier: Ints
    shift: Ints
    bias: Ints


def reciprocal_root(values: Ints) -> tuple[Ints, Ints]:
    """(r, h) with 1 / sqrt(w) = r * 2^(h - 55) within 2^-24 of itself, for w in 1 .. 2^62 - 1.

    n = bits of w,  h = (62 - n) >> 1,  a = (w << 2h) >> 32       a in 2^28 .. 2^30 - 1
    r0 = SEED[(a >> 22) - 64]                                     16 bits
    t = (a * r0^2) >> 30,  r1 = (r0 * (3 * 2^30 - t) + 2^21) >> 22
    g = (r1^2 + 2^19) >> 20,  t = (a * g) >> 28                   r1^2 < 2^52, a * g < 2^61
    r = (r1 * (3 * 2^30 - t) + 2^30) >> 31                        2^24 <= r <= 2^25 + 1
    """
    half_shift = (VARIANCE_BITS - bit_length(values)) >> 1
    top = (values << (2 * half_shift)) >> 32
    seed = SEED[(top >> 22) - 64]
    product = (top * (seed * seed)) >> 30
    better = (seed * ((3 << 30) - product) + (1 << 21)) >> 22
    square = (better * better + (1 << 19)) >> 20
    product = (top * square) >> 28
    return (better * ((3 << 30) - product) + (1 << 30)) >> 31, half_shift


def standardise(
    values: Ints, axes: tuple[int, ...], epsilon: int, fraction: int, centred: bool = True
) -> Ints:
    """The standardised z, of 20 fraction bits, over `axes`; no mean unless `centred`.

    `epsilon` and `fraction` are those of `choose_norm`.
    """
    values = values.astype(np.int64, copy=False)
    count = int(np.prod([values.shape[axis] for axis in axes], dtype=np.int64))
    total = values.sum(axis=axes, keepdims=True)
    if not centred:
        total = np.zeros_like(total)
    variance = count * (values * values).sum(axis=axes, keepdims=True) - total * total
    widened = np.maximum((variance << fraction) + epsilon, 1 << fraction)
    root, half_shift = reciprocal_root(widened)
    shift = 35 - fraction // 2 - half_shift
    scaled = (count * values - total) * root + (np.int64(1) << (shift - 1))
    result: Ints = scaled >> shift
    return result


def normalise(
    values: Ints,
    axes: tuple[int, ...],
    epsilon: int,
    fraction: int,
    multiplier: Ints,
    shift: Ints,
    bias: Ints,
    lo: int,
    hi: int,
    centred: bool = True,
) -> Ints:
    """Layer norm over `axes`, or RMS norm when not `centred`: `standardise`, then requantise.

    `multiplier`, `shift` and `bias` broadcast against `values` as numpy does: over the last axis
    they are (K,), for channels on axis 1 of a feature map (K, 1, 1).
    """
    standard = standardise(values, axes, epsilon, fraction, centred)
    result: Ints = np.clip((standard * multiplier + bias) >> shift, lo, hi)
    return result


def group_norm(
    values: Ints,
    groups: int,
    epsilon: int,
    fraction: int,
    multiplier: Ints,
    shift: Ints,
    bias: Ints,
    lo: int,
    hi: int,
) -> Ints:
    """Group norm of (N, C, ...): C in `groups` equal parts, each of its own mean and variance.

    `multiplier`, `shift` and `bias` are (C,).
    """
    grouped = values.reshape(values.shape[0], groups, -1)
    standard = standardise(grouped, (2,), epsilon, fraction).reshape(values.shape)
    return requantise(standard, multiplier, shift, bias, lo, hi)


def choose_norm(
    name: str,
    scale: float,
    element: ElementType,
    count: int,
    epsilon: float,
    gamma: Floats,
    beta: Floats,
    output_scale: float,
) -> NormConstants:
    """Constants for `count` inputs of `element` and `scale` under one mean, proven to fit.

    `gamma` and `beta` are of one shape, real; `epsilon` is PyTorch's.  Raises UnsupportedError,
    naming `name`, when epsilon or the scale is impossible, when the variance needs more than 62
    bits, or as `choose_requantiser` does.
    """
    _prove_norm_inputs(name, scale, count, epsilon)
    offset = Fraction(epsilon) / Fraction(scale) ** 2
    fraction = _largest_fraction(name, element, count, offset)
    widened = count**2 * offset * 2**fraction
    gain = np.ravel(gamma).astype(np.float64) / output_scale
    chosen = choose_requantiser(
        name,
        np.ldexp(np.abs(gain), -NORM_FRACTION),
        np.ravel(beta) / output_scale,
        np.full(gain.shape, _largest_standard(count)),
    )
    signed = np.where(gain < 0, -chosen.multiplier, chosen.multiplier)
    shaped = [np.reshape(a, np.shape(gamma)) for a in (signed, chosen.shift, chosen.bias)]
    return NormConstants(int(widened + Fraction(1, 2)), fraction, *shaped)


def _prove_norm_inputs(name: str, scale: float, count: int, epsilon: float) -> None:
    if not (np.isfinite(scale) and scale > 0):
        raise UnsupportedError(
            f"{name}: the scale {scale:g} of the normalised input is not positive and finite; "
            "calibrate with data that reach it"
        )
    if not (np.isfinite(epsilon) and epsilon >= 0):
        raise UnsupportedError(
            f"{name}: epsilon {epsilon:g} is negative or not finite; give the norm a small "
            "positive one"
        )
    if not 1 <= count <= MAX_NORM_COUNT:
        raise UnsupportedError(
            f"{name}: one mean over {count} values, it takes 1 to {MAX_NORM_COUNT}; normalise over "
            "fewer"
        )


def _largest_fraction(name: str, element: ElementType, count: int, offset: Fraction) -> int:
    """The largest even F <= 60 with N^2 * (A^2 + offset) * 2^F + 1 <= 2^62."""
    reach = count**2 * (max(-element.lo, element.hi) ** 2 + offset)
    for fraction in range(VARIANCE_BITS - 2, -1, -2):
        if reach * 2**fraction + 1 <= 1 << VARIANCE_BITS:
            return fraction
    raise UnsupportedError(
        f"{name}: the variance of {count} values of {element} with epsilon needs "
        f"{int(reach).bit_length()} bits, it holds {VARIANCE_BITS}; normalise over fewer values, "
        "use fewer bits, or calibrate with data of the real range"
    )


def _largest_standard(count: int) -> int:
    """The largest |z|: sqrt(N) * 2^20, and what the root's error and rounding can add."""
    return isqrt(count << (2 * NORM_FRACTION)) + 128


def norm_error_bound(
    constants: NormConstants,
    gamma: Floats,
    beta: Floats,
    output_scale: float,
    lo: int,
    hi: int,
    count: int,
) -> Floats:
    """The largest |y - float| in output steps, of gamma's shape, as proven above."""
    gain = np.abs(gamma) / output_scale
    offset = np.abs(beta) / output_scale
    root = np.full(gain.shape, np.sqrt(count))
    reach = max(-lo, hi) + 1 + offset
    inside = np.divide(reach, gain, out=root.copy(), where=gain * root > reach)
    bound = _bound_up_to(inside, constants, gain, count)
    return np.where(bound <= 2, bound, _bound_up_to(root, constants, gain, count))


def _bound_up_to(standard: Floats, constants: NormConstants, gain: Floats, count: int) -> Floats:
    """The bound for |z| up to `standard`."""
    relative = 2.0**-24 + 2.0 ** -(constants.fraction + 1) / max(count - 1, 1)
    constant = np.ldexp(np.ldexp(standard, NORM_FRACTION) + 2, -constants.shift - 1)
    moved = gain * (standard * relative + 2.0 ** -(NORM_FRACTION + 1))
    return np.asarray(0.5 + moved + constant, np.float64)
