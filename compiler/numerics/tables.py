"""Unary functions as tables that are made once from the float function.

Inputs of at most 8 bits index 256 entries, each rounded exactly.  Inputs of 9 to 16 bits (lowest
value lo) interpolate between S + 1 knots, 2^k = 2^bits / S inputs apart:

    K[j] = f(scale * (lo + j * 2^k)) in 2^-8 output steps, half up      signed 32 bits, saturating
    v = x - lo,  j = v >> k,  r = v & (2^k - 1)
    y = clamp((K[j] * 2^k + (K[j+1] - K[j]) * r + 2^(k+7)) >> (k + 8))  below 2^46; half up

**Error** in output steps: the last rounding 1/2, the knots' 2^-9, and the chord's
(2^k * scale)^2 / 8 * max |f''| / output scale.  Sixteen bits can be tried one by one, so
`interpolated_table` does not estimate it: it measures every input and takes the fewest segments
that stay within the error asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from intaglio.compiler.numerics.border import (
    Floats,
    Ints,
    dequantise,
    quantise,
    round_half_up,
    values_of,
)
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

TABLE_ENTRIES = 256
KNOT = ElementType(32)
KNOT_FRACTION = 8
SEGMENTS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)

Function = Callable[[Floats], Floats]


@dataclass(frozen=True, slots=True)
class InterpolatedTable:
    """Knots (S + 1,), k as `shift`, and the largest error over every input in output steps."""

    knots: Ints
    shift: int
    error: float


def look_up(table: Ints, values: Ints) -> Ints:
    """`table[v mod 256]` for each value; `table` is (256,)."""
    entries: Ints = np.asarray(table, np.int64)
    return np.take(entries, values & (TABLE_ENTRIES - 1))


def unary_table(
    function: Function,
    input_scale: float,
    input_element: ElementType,
    output_scale: float,
    output_element: ElementType,
    name: str = "table",
) -> Ints:
    """The 256 entries of `function` at 8 bits or fewer, indexed by the input modulo 256.

    Entry v mod 256 is quantise(function(v * input_scale)); entries no input reaches are 0.
    Raises UnsupportedError, naming `name`, when the function is not a number at an input.
    """
    assert input_element.bits <= 8, f"{name}: a table of 256 entries for {input_element}"
    values = values_of(input_element)
    table = np.zeros(TABLE_ENTRIES, np.int64)
    outputs = _evaluate(name, function, values, input_scale)
    table[values & (TABLE_ENTRIES - 1)] = quantise(outputs, output_scale, output_element)
    return table


def interpolate(knots: Ints, values: Ints, shift: int, input_lo: int, lo: int, hi: int) -> Ints:
    """The table's function of `values`, which are at least `input_lo`, clamped to lo..hi."""
    offset = values - input_lo
    segment = offset >> shift
    rest = offset & ((1 << shift) - 1)
    first = knots[segment]
    total = (first << shift) + (knots[segment + 1] - first) * rest
    half = 1 << (shift + KNOT_FRACTION - 1)
    clamped: Ints = np.clip((total + half) >> (shift + KNOT_FRACTION), lo, hi)
    return clamped


def interpolated_table(
    name: str,
    function: Function,
    input_scale: float,
    input_element: ElementType,
    output_scale: float,
    output_element: ElementType,
    tolerance: float = 1.0,
) -> InterpolatedTable:
    """The table of fewest segments, 16 to 4096, that errs by at most `tolerance` output steps.

    The error is that against the float function, clamped to the output's range.  The input is
    signed or unsigned, of 4 to 16 bits.  Raises UnsupportedError, naming `name`, when the function
    is not a number at an input or 4096 segments do not suffice.
    """
    lo, hi = output_element.lo, output_element.hi
    values = values_of(input_element)
    ideal = np.clip(_evaluate(name, function, values, input_scale) / output_scale, lo, hi)
    for segments in SEGMENTS:
        shift = input_element.bits - segments.bit_length() + 1
        if shift < 0:
            break
        at = input_element.lo + (np.arange(segments + 1, dtype=np.int64) << shift)
        knots = _knots(_evaluate(name, function, at, input_scale) / output_scale)
        made = interpolate(knots, values, shift, input_element.lo, lo, hi)
        error = float(np.abs(made - ideal).max())
        if error <= tolerance:
            return InterpolatedTable(knots, shift, error)
    raise UnsupportedError(
        f"{name}: a table of {len(knots) - 1} segments errs by {error:.3g} output steps, the limit "
        f"is {tolerance:g}; use fewer output bits or calibrate with data of a narrower range"
    )


def _knots(steps: Floats) -> Ints:
    """Output steps to knots: 8 bits below the binary point, saturating at 32 bits."""
    scaled = round_half_up(np.ldexp(steps, KNOT_FRACTION))
    return np.clip(scaled, KNOT.lo, KNOT.hi).astype(np.int64)


def _evaluate(name: str, function: Function, values: Ints, scale: float) -> Floats:
    """The function at integers of `scale`; refuses where it is not a number."""
    outputs = function(dequantise(values, scale))
    wrong = np.flatnonzero(np.isnan(outputs))
    if wrong.size:
        raise UnsupportedError(
            f"{name}: its function is not a number at {float(values[wrong[0]] * scale):g}, which "
            "its input's type holds; keep the input inside the function's domain, or clamp it first"
        )
    return outputs
