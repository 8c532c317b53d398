"""Requantisation constants that round every one of few reachable accumulators exactly."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.numerics.border import Floats, Ints, round_half_up
from intaglio.compiler.numerics.requantisation import (
    MULTIPLIER,
    SUM_LIMIT,
    Requantiser,
    choose_multiplier,
)
from intaglio.errors import UnsupportedError

FEW = 1000
"""Up to this many reachable accumulators, every one of them is rounded exactly."""


def exact_constants(
    accumulators: Ints, targets: Ints, scale: float, lo: int, hi: int
) -> tuple[int, int, int] | None:
    """(m, s, b) with clamp((acc*m + b) >> s) == target for every pair, or None.

    `accumulators` and `targets` are (A,); targets are already clamped to lo..hi.  For a given m
    and s each pair bounds b from both sides; any b inside all bounds will do.
    """
    _, top = choose_multiplier(scale)
    for shift in range(int(top), max(int(top) - 2, 0), -1):
        exact = float(np.ldexp(scale, shift))
        for multiplier in sorted({int(np.floor(exact)), int(np.ceil(exact))}):
            bias = _bias_between(accumulators, targets, multiplier, shift, lo, hi)
            if multiplier <= MULTIPLIER.hi and bias is not None:
                return multiplier, shift, bias
    return None


def _bias_between(
    accumulators: Ints, targets: Ints, multiplier: int, shift: int, lo: int, hi: int
) -> int | None:
    """The middle of the interval of b that maps every accumulator to its target."""
    offset = (targets << shift) - accumulators * multiplier
    above = offset[targets > lo]
    below = offset[targets < hi] + (1 << shift) - 1
    widest = SUM_LIMIT >> 1
    least = int(above.max()) if above.size else min(-widest, int(below.min(initial=0)))
    most = int(below.min()) if below.size else max(widest, least)
    return (least + most) // 2 if least <= most else None


def exact_reciprocal(name: str, count: int, lo: int, hi: int) -> tuple[int, int, int]:
    """(m, s, b) that divide every sum of `count` values in lo..hi by `count`, half up, exactly.

    Raises UnsupportedError when no 16-bit multiplier does.
    """
    sums = np.arange(lo * count, hi * count + 1, dtype=np.int64)
    targets = (2 * sums + count) // (2 * count)
    found = exact_constants(sums, targets, 1.0 / count, lo, hi)
    if found is None:
        raise UnsupportedError(
            f"{name}: an average over {count} values has no exact 16-bit reciprocal; pool in two "
            "steps of smaller windows"
        )
    return found


def exact_for_few(
    chosen: Requantiser, scale: Floats, bias: Floats, accumulator_max: Ints, lo: int, hi: int
) -> Requantiser:
    """`chosen`, with every channel of few reachable accumulators rounded exactly.

    The rule to meet is clamp(floor(acc * scale + bias + 1/2)) in float64, `bias` in units of the
    output and `scale` snapped (a float64 product of any other scale may round a tie either way).
    Channels that reach more than `FEW` accumulators, or for which no constants exist, keep theirs.
    """
    multiplier, shift, constant = chosen.multiplier.copy(), chosen.shift.copy(), chosen.bias.copy()
    for channel in np.flatnonzero(2 * accumulator_max + 1 <= FEW):
        reach = int(accumulator_max[channel])
        accumulators = np.arange(-reach, reach + 1, dtype=np.int64)
        ideal = round_half_up(accumulators * scale[channel] + bias[channel])
        targets = np.clip(ideal, lo, hi).astype(np.int64)
        now = (accumulators * multiplier[channel] + constant[channel]) >> shift[channel]
        if np.array_equal(np.clip(now, lo, hi), targets):
            continue
        found = exact_constants(accumulators, targets, float(scale[channel]), lo, hi)
        if found is not None:
            multiplier[channel], shift[channel], constant[channel] = found
    return Requantiser(multiplier, shift, constant, chosen.residual_multiplier)
