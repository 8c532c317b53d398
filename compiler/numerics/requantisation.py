"""Requantisation of an accumulator, its constants and the proofs that nothing overflows.

    y = clamp((acc * m + r * mr + b) >> s, lo, hi)

per output channel: m unsigned 16 bits, 1 <= s <= 36, b signed 48 bits (the bias and the rounding
half), mr signed 17 bits, arithmetic shift.  Channels lie on axis 1 of activations and axis 0 of
weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.compiler.numerics.border import Floats, Ints, round_half_up
from intaglio.compiler.numerics.tables import look_up
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

MULTIPLIER = ElementType(16, "unsigned")
SHIFT = ElementType(6, "unsigned")
BIAS = ElementType(48)
RESIDUAL_MULTIPLIER = ElementType(17)
MIN_SHIFT = 1
MAX_SHIFT = 36
ACCUMULATOR = ElementType(32)
SUM_LIMIT = 1 << 47
"""|acc * m| + |r * mr| + |b| stays below this, so the sum fits 48 bits in any order."""


@dataclass(frozen=True, slots=True)
class Requantiser:
    """The constants of one requantisation, each int64 of shape (K,)."""

    multiplier: Ints
    shift: Ints
    bias: Ints
    residual_multiplier: Ints | None = None


def requantise(
    acc: Ints,
    multiplier: Ints,
    shift: Ints,
    bias: Ints,
    lo: int,
    hi: int,
    residual: Ints | None = None,
    residual_multiplier: Ints | None = None,
    table: Ints | None = None,
    axis: int = 1,
) -> Ints:
    """`clamp((acc*m + r*mr + b) >> s, lo, hi)`, then `table[y mod 256]`, channels on `axis`.

    `acc` and `residual` have K channels along `axis`; the other arrays are (K,) or (1,), `table`
    is (256,).
    """
    along = tuple(-1 if index == axis else 1 for index in range(acc.ndim))
    total = acc.astype(np.int64) * np.reshape(multiplier, along).astype(np.int64)
    if residual is not None and residual_multiplier is not None:
        factor = np.reshape(residual_multiplier, along).astype(np.int64)
        total += residual.astype(np.int64) * factor
    total += np.reshape(bias, along).astype(np.int64)
    total >>= np.reshape(shift, along).astype(np.int64)
    clamped: Ints = np.clip(total, lo, hi)
    return clamped if table is None else look_up(table, clamped)


def choose_multiplier(scale: ArrayLike) -> tuple[Ints, Ints]:
    """(m, s) with m = round(scale * 2^s) < 2^16 and s the largest in 1..36 that allows it.

    `scale` is non-negative, of any shape.  Raises UnsupportedError when a scale is 2^15 or more,
    negative or not finite.
    """
    scales = np.asarray(scale, np.float64)
    shift = _largest_shift(scales)
    return round_half_up(np.ldexp(scales, shift)).astype(np.int64), shift


def choose_shared_shift(scale: ArrayLike, other: ArrayLike) -> tuple[Ints, Ints, Ints]:
    """(m, mr, s): two non-negative scales over one shift, the larger of them normalised.

    Raises UnsupportedError as `choose_multiplier` does.
    """
    first, second = np.broadcast_arrays(
        np.asarray(scale, np.float64), np.asarray(other, np.float64)
    )
    shift = np.minimum(_largest_shift(first), _largest_shift(second))
    multiplier = round_half_up(np.ldexp(first, shift)).astype(np.int64)
    return multiplier, round_half_up(np.ldexp(second, shift)).astype(np.int64), shift


def snap_scale(scale: ArrayLike, other: float | None = None) -> Floats:
    """`scale` raised to the nearest m / 2^s that the requantiser can hold.

    With `other`, the scale of a residual, the shift is the one both share.  A layer whose weights
    are quantised after snapping has no mismatch with its own fake-quantised form.
    """
    scales = np.asarray(scale, np.float64)
    shift = _largest_shift(scales)
    if other is not None:
        shift = np.minimum(shift, _largest_shift(np.asarray(other, np.float64)))
    raised = np.ceil(np.ldexp(scales, shift) * (1 - 1e-12))
    over = raised > MULTIPLIER.hi
    return np.asarray(np.ldexp(np.where(over, raised + raised % 2, raised), -shift), np.float64)


def _largest_shift(scales: Floats) -> Ints:
    """The largest s in 1..36 with round(scale * 2^s) < 2^16."""
    if not np.all(np.isfinite(scales)) or np.any(scales < 0):
        raise UnsupportedError(
            "requantisation scale is negative or not finite; check the model's weights for NaN"
        )
    _, exponent = np.frexp(scales)
    shift = np.where(scales == 0, MAX_SHIFT, np.minimum(16 - exponent.astype(np.int64), MAX_SHIFT))
    over = round_half_up(np.ldexp(scales, shift)) > MULTIPLIER.hi
    shift = shift - over
    if np.any(shift < MIN_SHIFT):
        raise UnsupportedError(
            f"requantisation scale {float(scales.max()):g} is not below 32767.5, the largest a "
            "16-bit multiplier holds; rescale the model's weights or inputs"
        )
    return np.asarray(shift, np.int64)


def bias_constant(bias_over_scale: ArrayLike, shift: Ints) -> Ints:
    """The bias and the rounding half: b = round(bias / output scale * 2^s) + 2^(s-1)."""
    grid = round_half_up(np.ldexp(np.asarray(bias_over_scale, np.float64), shift))
    limit = float(1 << 62)
    return np.clip(grid, -limit, limit).astype(np.int64) + (np.int64(1) << (shift - 1))


def choose_requantiser(
    name: str,
    scale: Floats,
    bias: Floats,
    accumulator_max: Ints,
    residual_scale: float | None = None,
    residual_max: int = 0,
    subtract: bool = False,
) -> Requantiser:
    """Constants for y = acc * scale + bias +- r * residual_scale, in units of y, proven to fit.

    `scale`, `bias` and `accumulator_max` (the largest |acc|) are (K,).  Takes the largest shift
    for which the sum fits 48 bits.  Raises UnsupportedError, naming `name` and the channel.
    """
    _check_bias(name, bias)
    other = np.full_like(scale, residual_scale if residual_scale is not None else 0.0)
    try:
        _, _, shift = choose_shared_shift(scale, other)
    except UnsupportedError as error:
        raise UnsupportedError(f"{name}: {error}") from error
    while True:
        chosen = _at_shift(scale, bias, other, shift)
        reach = _largest_sum(chosen, accumulator_max, residual_max)
        excess = (reach >= SUM_LIMIT) & (shift > MIN_SHIFT)
        if not np.any(excess):
            break
        shift = shift - excess
    prove_requantiser(name, chosen, accumulator_max, residual_max)
    if residual_scale is None:
        return Requantiser(chosen.multiplier, chosen.shift, chosen.bias)
    factor = chosen.residual_multiplier
    assert factor is not None
    return Requantiser(
        chosen.multiplier, chosen.shift, chosen.bias, -factor if subtract else factor
    )


def choose_threshold(name: str, scale: Floats, bias: Floats, accumulator_max: Ints) -> Requantiser:
    """Constants for u = clamp((acc + b) >> 1, 0, 1): 1 exactly where acc * scale + bias >= 0.

    With T the least such accumulator, b = 2 - T.  `scale` (positive), `bias` and `accumulator_max`
    (the largest |acc|) are (K,); thresholds beyond every accumulator are brought next to them.
    Raises UnsupportedError, naming `name` and the channel, for a bias that is not finite.
    """
    _check_bias(name, bias)
    farthest = accumulator_max.astype(np.float64) + 1
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nan_to_num(-bias / scale, nan=0.0)
    least = np.ceil(np.clip(ratio, -farthest, farthest))
    # The quotient is rounded: the rule itself decides between neighbours.
    least = np.where((least - 1) * scale + bias >= 0, least - 1, least)
    least = np.where(least * scale + bias < 0, least + 1, least)
    threshold = np.clip(least, -farthest, farthest).astype(np.int64)
    one = np.ones_like(threshold)
    return Requantiser(one, one, 2 - threshold)


def _check_bias(name: str, bias: Floats) -> None:
    wrong = np.flatnonzero(~np.isfinite(bias))
    if wrong.size:
        raise UnsupportedError(
            f"{name}: the bias of channel {wrong[0]} is {bias[wrong[0]]:g}; check the model's "
            "weights for NaN"
        )


def _at_shift(scale: Floats, bias: Floats, other: Floats, shift: Ints) -> Requantiser:
    return Requantiser(
        round_half_up(np.ldexp(scale, shift)).astype(np.int64),
        shift,
        bias_constant(bias, shift),
        round_half_up(np.ldexp(other, shift)).astype(np.int64),
    )


def _largest_sum(chosen: Requantiser, accumulator_max: Ints, residual_max: int) -> Floats:
    """|acc|max * m + |r|max * |mr| + |b| in float64: it may exceed 64 bits."""
    total = accumulator_max.astype(np.float64) * chosen.multiplier
    total = total + np.abs(chosen.bias.astype(np.float64))
    if chosen.residual_multiplier is not None:
        total = total + float(residual_max) * np.abs(chosen.residual_multiplier)
    return np.asarray(total, np.float64)


def prove_requantiser(
    name: str, chosen: Requantiser, accumulator_max: Ints, residual_max: int = 0
) -> None:
    """Raise UnsupportedError unless |acc|max*m + |r|max*|mr| + |b| < 2^47 on every channel."""
    reach = _largest_sum(chosen, accumulator_max, residual_max)
    worst = int(np.argmax(reach))
    if reach[worst] >= SUM_LIMIT:
        raise UnsupportedError(
            f"{name}: channel {worst} can reach {reach[worst]:.6g} before its shift, the limit is "
            f"{SUM_LIMIT:.6g} (48 bits); check this channel's bias and weights, or calibrate with "
            "data of the real range"
        )


def accumulator_bound(weight: NDArray[np.generic], lo: int, hi: int) -> Ints:
    """Exact largest |sum of x * w| per output channel, for inputs x in lo..hi (0 among them).

    `weight` is (K, ...) of integers; the result is (K,).
    """
    rows = np.asarray(weight, np.int64).reshape(weight.shape[0], -1)
    positive = np.maximum(rows, 0).sum(axis=1)
    negative = np.minimum(rows, 0).sum(axis=1)
    highest = positive * hi + negative * lo
    lowest = positive * lo + negative * hi
    return np.asarray(np.maximum(highest, -lowest), np.int64)


def prove_accumulator(name: str, bound: Ints) -> None:
    """Raise UnsupportedError unless every |acc| is at most 2^31 - 1; `bound` is (K,)."""
    worst = int(np.argmax(bound))
    if bound[worst] > ACCUMULATOR.hi:
        raise UnsupportedError(
            f"{name}: channel {worst} can accumulate {int(bound[worst])}, 32 bits hold "
            f"{ACCUMULATOR.hi}; use fewer weight or activation bits, or split the layer"
        )
