"""The integer rules: requantisation, its constants and its proofs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler import numerics
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

scales = st.floats(2.0**-30, 30000.0)
small_ints = st.integers(-(2**20), 2**20)


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


@given(st.floats(-300, 300), st.floats(0.01, 10), st.integers(2, 8), st.booleans())
def test_quantise_rounds_half_up_and_clamps(
    value: float, scale: float, bits: int, signed: bool
) -> None:
    element = ElementType(bits, "signed" if signed else "unsigned")
    made = numerics.quantise([value], scale, element).item()
    assert made == max(element.lo, min(element.hi, int(np.floor(value / scale + 0.5))))


def test_ties_go_up() -> None:
    made = numerics.quantise([-1.5, -0.5, 0.5, 1.5, 2.5], 1.0, ElementType(8))
    assert made.tolist() == [-1, 0, 1, 2, 3]
    assert numerics.dequantise(made, 0.5).tolist() == [-0.5, 0.0, 0.5, 1.0, 1.5]


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


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 9, 25, 49, 64, 144, 196, 256, 387, 388, 389])
@pytest.mark.parametrize("span", [(-128, 127), (0, 255), (0, 15)])
def test_every_average_is_exact(count: int, span: tuple[int, int]) -> None:
    m, s, b = numerics.exact_reciprocal("pool", count, *span)
    sums = np.arange(span[0] * count, span[1] * count + 1)
    assert 0 <= m < 2**16
    np.testing.assert_array_equal((sums * m + b) >> s, (2 * sums + count) // (2 * count))


def test_an_average_without_exact_reciprocal_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.exact_reciprocal("pool", 3001, -128, 127)
    assert str(caught.value) == (
        "pool: an average over 3001 values has no exact 16-bit reciprocal; pool in two steps of "
        "smaller windows"
    )


@given(st.floats(2.0**-8, 2.0), st.floats(-20, 20), st.integers(1, 400))
def test_few_accumulators_are_rounded_exactly(scale: float, bias: float, reach: int) -> None:
    scale = float(numerics.snap_scale(scale))
    scale_k, bias_k, reach_k = np.array([scale]), np.array([bias]), ints(reach)
    first = numerics.choose_requantiser("op", scale_k, bias_k, reach_k)
    made = numerics.exact_for_few(first, scale_k, bias_k, reach_k, -128, 127)
    acc = np.arange(-reach, reach + 1).reshape(-1, 1)
    got = numerics.requantise(acc, made.multiplier, made.shift, made.bias, -128, 127)
    ideal = np.clip(np.floor(acc * scale + bias + 0.5), -128, 127)
    np.testing.assert_array_equal(got, ideal)


def test_exact_constants_repair_a_rounded_bias() -> None:
    acc = np.arange(-2, 3)
    targets = ints(-2, -1, 0, 1, 3)
    found = numerics.exact_constants(acc, targets, 1.2, -128, 127)
    assert found is not None
    m, s, b = found
    assert ((acc * m + b) >> s).tolist() == targets.tolist()
    assert numerics.exact_constants(acc, ints(0, 9, 0, 9, 0), 1.2, -128, 127) is None


def test_many_accumulators_keep_their_constants() -> None:
    chosen = numerics.Requantiser(ints(40000), ints(16), ints(7))
    made = numerics.exact_for_few(chosen, np.array([0.6]), np.array([0.0]), ints(501), -128, 127)
    assert made.bias.tolist() == [7]


@pytest.mark.parametrize("kind", [ElementType(8), ElementType(8, "unsigned"), ElementType(4)])
def test_a_table_holds_the_function_of_every_input(kind: ElementType) -> None:
    table = numerics.unary_table(np.tanh, 0.05, kind, 1 / 127, ElementType(8))
    for value in range(kind.lo, kind.hi + 1):
        ideal = np.floor(np.tanh(value * 0.05) * 127 + 0.5)
        assert table[value & 255] == ideal
    assert numerics.look_up(table, ints(kind.lo)).item() == table[kind.lo & 255]
