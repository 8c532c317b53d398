"""Unary functions as tables."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from intaglio.compiler import numerics
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError


def ints(*values: int) -> numerics.Ints:
    return np.array(values, np.int64)


@pytest.mark.parametrize("kind", [ElementType(8), ElementType(8, "unsigned"), ElementType(4)])
def test_a_table_holds_the_function_of_every_input(kind: ElementType) -> None:
    table = numerics.unary_table(np.tanh, 0.05, kind, 1 / 127, ElementType(8))
    for value in range(kind.lo, kind.hi + 1):
        ideal = np.floor(np.tanh(value * 0.05) * 127 + 0.5)
        assert table[value & 255] == ideal
    assert numerics.look_up(table, ints(kind.lo)).item() == table[kind.lo & 255]


def test_a_table_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught, np.errstate(invalid="ignore"):
        numerics.unary_table(np.sqrt, 0.5, ElementType(4), 0.1, ElementType(8), "root")
    assert str(caught.value) == (
        "root: its function is not a number at -4, which its input's type holds; keep the input "
        "inside the function's domain, or clamp it first"
    )


def gelu(x: numerics.Floats) -> numerics.Floats:
    return np.asarray(functional.gelu(torch.from_numpy(x)).numpy(), np.float64)


SMOOTH = [
    ("tanh", np.tanh, 4.0 / 32768, 1 / 32767, 0.7699),
    ("gelu", gelu, 8.0 / 32768, 8 / 32767, 0.7979),
    ("exp", np.exp, 3.0 / 32768, 21 / 32767, 20.1),
]
"""Function, input scale, output scale, and the largest second derivative over 16 bits."""


@pytest.mark.parametrize("case", SMOOTH, ids=lambda case: case[0])
@pytest.mark.parametrize("tolerance", [0.6, 1.0, 5.0])
def test_sixteen_bits_err_no_more_than_asked_and_proven(
    case: tuple[str, numerics.tables.Function, float, float, float], tolerance: float
) -> None:
    name, function, scale, step, curvature = case
    kind = ElementType(16)
    made = numerics.interpolated_table(name, function, scale, kind, step, kind, tolerance)
    values = np.arange(kind.lo, kind.hi + 1)
    got = numerics.interpolate(made.knots, values, made.shift, kind.lo, kind.lo, kind.hi)
    ideal = np.clip(function(numerics.dequantise(values, scale)) / step, kind.lo, kind.hi)
    assert np.abs(got - ideal).max() == made.error <= tolerance
    chord = (scale * 2**made.shift) ** 2 / 8 * curvature / step
    assert made.error <= 0.5 + 2.0**-9 + chord * 1.001


def test_fewer_segments_would_err_more_than_asked() -> None:
    kind = ElementType(16)
    made = numerics.interpolated_table("gelu", gelu, 8 / 32768, kind, 8 / 32767, kind, 1.0)
    other = numerics.interpolated_table("gelu", gelu, 8 / 32768, kind, 8 / 32767, kind, 8.0)
    assert (len(made.knots), made.shift) == (513, 7)
    assert len(other.knots) < len(made.knots)
    assert 1.0 < other.error <= 8.0


def by_definition(knots: list[int], x: int, k: int, kind: ElementType) -> int:
    v = x - kind.lo
    j, r = v >> k, v & ((1 << k) - 1)
    total = knots[j] * 2**k + (knots[j + 1] - knots[j]) * r + 2 ** (k + 7)
    assert abs(total) < 2**46
    return int(max(-128, min(127, total >> (k + 8))))


@given(
    st.sampled_from([ElementType(16), ElementType(10, "unsigned"), ElementType(4)]),
    st.sampled_from([16, 64, 4096]),
    st.data(),
)
def test_interpolation_is_its_definition_in_unbounded_integers(
    kind: ElementType, segments: int, data: st.DataObject
) -> None:
    shift = max(kind.bits - segments.bit_length() + 1, 0)
    seed = data.draw(st.integers(0, 2**32 - 1))
    count = 1 + (1 << (kind.bits - shift))
    knots = np.random.default_rng(seed).choice([-(2**31), 2**31 - 1, -9000, 70, 8001], count)
    values = data.draw(st.lists(st.integers(kind.lo, kind.hi), min_size=1, max_size=20))
    got = numerics.interpolate(knots, np.array(values), shift, kind.lo, -128, 127)
    assert got.tolist() == [by_definition(knots.tolist(), x, shift, kind) for x in values]


def test_few_bits_have_a_knot_for_every_input() -> None:
    kind = ElementType(4)
    made = numerics.interpolated_table("tanh", np.tanh, 0.3, kind, 1 / 127, ElementType(8), 0.51)
    assert (made.shift, len(made.knots)) == (0, 17)


def test_a_steep_function_is_refused() -> None:
    kind = ElementType(16)
    with pytest.raises(UnsupportedError) as caught:
        numerics.interpolated_table("step", np.sign, 1.0, kind, 1 / 32767, kind)
    assert str(caught.value) == (
        "step: a table of 4096 segments errs by 3.07e+04 output steps, the limit is 1; use fewer "
        "output bits or calibrate with data of a narrower range"
    )


def test_an_infinite_value_saturates() -> None:
    kind = ElementType(9, "unsigned")
    with np.errstate(divide="ignore"):
        made = numerics.interpolated_table("log", np.log, 0.5, kind, 1.0, ElementType(4))
    got = numerics.interpolate(made.knots, np.array([0, 2]), made.shift, 0, -8, 7)
    assert got.tolist() == [-8, 0]
