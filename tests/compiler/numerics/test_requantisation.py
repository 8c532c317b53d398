"""Requantisation, its constants and its proofs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler import numerics
from intaglio.errors import UnsupportedError

scales = st.floats(2.0**-30, 30000.0)


def half_up(value: Fraction) -> int:
    return (value + Fraction(1, 2)).__floor__()


def ints(*values: int) -> numerics.Ints:
    return np.array(values, np.int64)


@given(
    st.integers(-(2**31), 2**31 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(1, 36),
    st.integers(-(2**46), 2**46),
)
def test_requantise_is_floor_division_then_clamp(acc: int, m: int, s: int, b: int) -> None:
    made = numerics.requantise(ints(acc).reshape(1, 1), ints(m), ints(s), ints(b), -128, 127)
    assert made.item() == max(-128, min(127, (acc * m + b) // 2**s))


def test_requantise_adds_the_residual_before_its_only_rounding() -> None:
    acc = ints(1, 3).reshape(1, 2, 1, 1)
    residual = ints(1, -1).reshape(1, 2, 1, 1)
    made = numerics.requantise(
        acc, ints(1, 1), ints(1, 2), ints(1, 2), -8, 7, residual, ints(1, -2)
    )
    assert made.ravel().tolist() == [1, 1]


def test_requantise_ends_with_the_table() -> None:
    table = np.arange(256)[::-1].copy()
    made = numerics.requantise(
        ints(-1, 5).reshape(1, 2), ints(2, 2), ints(1, 1), ints(1, 1), -128, 127, table=table
    )
    assert made.tolist() == [[0, 250]]


@given(scales)
def test_the_multiplier_is_the_nearest_at_the_largest_shift(scale: float) -> None:
    m, s = (int(v) for v in numerics.choose_multiplier(scale))
    assert 0 <= m < 2**16
    assert 1 <= s <= 36
    assert m == half_up(Fraction(scale) * 2**s)
    assert s == 36 or half_up(Fraction(scale) * 2 ** (s + 1)) >= 2**16


def test_a_zero_scale_has_a_zero_multiplier() -> None:
    m, s = numerics.choose_multiplier([0.0])
    assert (m.item(), s.item()) == (0, 36)


@given(scales, scales)
def test_the_larger_of_two_scales_is_normalised(first: float, second: float) -> None:
    m, mr, s = (int(v) for v in numerics.choose_shared_shift(first, second))
    assert max(m, mr) < 2**16
    assert s == 36 or max(m, mr) >= 2**15
    assert m == half_up(Fraction(first) * 2**s)
    assert mr == half_up(Fraction(second) * 2**s)


@given(scales)
def test_a_snapped_scale_is_held_exactly(scale: float) -> None:
    snapped = float(numerics.snap_scale(scale))
    m, s = numerics.choose_multiplier(snapped)
    assert float(np.ldexp(float(m), -int(s))) == snapped
    assert scale * (1 - 1e-11) <= snapped <= scale * (1 + 2.0**-15) + 2.0**-36


@given(st.floats(2.0**-20, 1.0), st.floats(2.0**-6, 4.0))
def test_a_scale_snapped_beside_a_residual_is_held_exactly(scale: float, other: float) -> None:
    snapped = float(numerics.snap_scale(scale, other))
    m, _, s = numerics.choose_shared_shift(snapped, other)
    assert float(np.ldexp(float(m), -int(s))) == snapped


@pytest.mark.parametrize("scale", [-1.0, np.nan, np.inf])
def test_an_impossible_scale_is_refused(scale: float) -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.choose_multiplier([scale])
    assert str(caught.value) == (
        "requantisation scale is negative or not finite; check the model's weights for NaN"
    )


def test_too_large_a_scale_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.choose_multiplier([40000.0])
    assert str(caught.value) == (
        "requantisation scale 40000 is not below 32767.5, the largest a 16-bit multiplier holds; "
        "rescale the model's weights or inputs"
    )


@given(
    st.lists(scales, min_size=1, max_size=4),
    st.floats(-1e6, 1e6),
    st.integers(0, 2**31 - 1),
    st.floats(2.0**-8, 8.0),
)
def test_chosen_constants_fit_48_bits(
    scale: list[float], bias: float, reach: int, residual: float
) -> None:
    count = len(scale)
    made = numerics.choose_requantiser(
        "op", np.array(scale), np.full(count, bias), np.full(count, reach), residual, 255, True
    )
    assert made.residual_multiplier is not None
    assert np.all(made.residual_multiplier <= 0)
    for m, s, b, mr in zip(
        made.multiplier, made.shift, made.bias, made.residual_multiplier, strict=True
    ):
        assert 1 <= s <= 36
        assert reach * int(m) + 255 * -int(mr) + abs(int(b)) < 2**47


@given(st.floats(2.0**-12, 1.0), st.floats(-100, 100), st.integers(-50000, 50000))
def test_requantisation_tracks_the_float_rule(scale: float, bias: float, acc: int) -> None:
    scale = float(numerics.snap_scale(scale))
    made = numerics.choose_requantiser("op", np.array([scale]), np.array([bias]), ints(50000))
    got = numerics.requantise(
        ints(acc).reshape(1, 1), made.multiplier, made.shift, made.bias, -(2**20), 2**20
    ).item()
    ideal = Fraction(acc) * Fraction(scale) + Fraction(bias)
    assert abs(got - ideal) <= Fraction(1, 2) + Fraction(1, 2**14)


def test_a_sum_beyond_48_bits_is_refused() -> None:
    chosen = numerics.Requantiser(ints(1, 2), ints(1, 1), ints(0, 2**47))
    with pytest.raises(UnsupportedError) as caught:
        numerics.prove_requantiser("conv1", chosen, ints(1, 1))
    assert str(caught.value) == (
        "conv1: channel 1 can reach 1.40737e+14 before its shift, the limit is 1.40737e+14 "
        "(48 bits); check this channel's bias and weights, or calibrate with data of the real range"
    )


def test_an_enormous_bias_is_refused_and_not_wrapped() -> None:
    with pytest.raises(UnsupportedError, match="^fc: channel 0 can reach"):
        numerics.choose_requantiser("fc", np.array([1.0]), np.array([1e300]), ints(1))


@pytest.mark.parametrize("bias", [np.nan, np.inf, -np.inf])
def test_a_bias_that_is_not_finite_is_refused(bias: float) -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.choose_requantiser("fc", np.ones(2), np.array([0.0, bias]), ints(1, 1))
    assert str(caught.value) == (
        f"fc: the bias of channel 1 is {bias:g}; check the model's weights for NaN"
    )


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=6), st.sampled_from([(-8, 7), (0, 3)]))
def test_the_accumulator_bound_is_reached(weights: list[int], span: tuple[int, int]) -> None:
    lo, hi = span
    bound = numerics.accumulator_bound(np.array([weights], np.int8), lo, hi).item()
    highest = sum(max(w * lo, w * hi) for w in weights)
    lowest = sum(min(w * lo, w * hi) for w in weights)
    assert bound == max(highest, -lowest)


def test_an_accumulator_beyond_32_bits_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.prove_accumulator("fc", ints(5, 2**31))
    assert str(caught.value) == (
        "fc: channel 1 can accumulate 2147483648, 32 bits hold 2147483647; use fewer weight or "
        "activation bits, or split the layer"
    )
    numerics.prove_accumulator("fc", ints(5, 2**31 - 1))
