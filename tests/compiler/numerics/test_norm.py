"""Integer norms: the root, the definition in unbounded integers, the error bound."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler import numerics
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

I8, I16, U16 = ElementType(8), ElementType(16), ElementType(16, "unsigned")
elements = st.sampled_from([I8, I16, U16, ElementType(3), ElementType(8, "unsigned")])
scales = st.floats(-14, 2).map(lambda e: 2.0**e)
epsilons = st.sampled_from([0.0, 1e-12, 1e-6, 1e-5, 1e-2, 1.0])
gains = st.floats(-3, 3)


def choose(
    scale: float,
    element: ElementType,
    count: int,
    epsilon: float = 1e-5,
    gamma: float = 1.0,
    beta: float = 0.0,
    step: float = 1 / 32,
) -> numerics.NormConstants:
    return numerics.choose_norm(
        "norm1", scale, element, count, epsilon, np.array([gamma]), np.array([beta]), step
    )


def standard(rows: Any, scale: float, epsilon: float, centred: bool) -> numerics.Floats:
    """What a float norm computes of the dequantised rows, zero where it would be 0 / 0."""
    real = np.asarray(rows, np.longdouble) * scale
    centre = real - real.mean(axis=-1, keepdims=True) if centred else real
    variance = (centre * centre).mean(axis=-1, keepdims=True) + epsilon
    root = np.sqrt(np.where(variance == 0, 1, variance))
    return np.asarray(centre / root, np.float64)


def root_by_definition(w: int) -> tuple[int, int]:
    """(r, h) by the docstring's steps in Python's unbounded integers."""
    assert 0 < w < 2**62
    h = (62 - w.bit_length()) >> 1
    a = (w << 2 * h) >> 32
    assert 2**28 <= a < 2**30
    i = a >> 22
    r0 = int(np.floor(2**15 / np.sqrt((i + 0.5) / 256) + 0.5))
    t = (a * r0**2) >> 30
    r1 = (r0 * (3 * 2**30 - t) + 2**21) >> 22
    g = (r1**2 + 2**19) >> 20
    t = (a * g) >> 28
    assert r1**2 < 2**52
    assert a * g < 2**61
    return (r1 * (3 * 2**30 - t) + 2**30) >> 31, h


def by_definition(row: list[int], made: numerics.NormConstants, centred: bool) -> list[int]:
    """The standardised z by the module's steps in Python's unbounded integers."""
    count, total = len(row), sum(row) if centred else 0
    variance = count * sum(x * x for x in row) - total**2
    r, h = root_by_definition(max((variance << made.fraction) + made.epsilon, 2**made.fraction))
    k = 35 - made.fraction // 2 - h
    assert 5 <= k <= 35
    assert all(abs((count * x - total) * r) <= 2**58 for x in row)
    return [((count * x - total) * r + 2 ** (k - 1)) >> k for x in row]


def test_the_root_is_its_definition_in_unbounded_integers() -> None:
    widths = np.random.default_rng(8).integers(1, 63, 60000)
    values = np.random.default_rng(9).integers(1 << (widths - 1), 1 << widths)
    root, half_shift = numerics.reciprocal_root(values)
    got = list(zip(root.tolist(), half_shift.tolist(), strict=True))
    assert got == [root_by_definition(w) for w in values.tolist()]


def test_the_root_is_within_its_bound_over_its_whole_range() -> None:
    draw = np.random.default_rng(7)
    dense = np.arange(2**28, 2**30, 1009, dtype=np.int64) << 32
    powers = np.array([2**k - d for k in range(1, 63) for d in (0, 1) if k < 62 or d], np.int64)
    values = np.concatenate(
        [np.arange(1, 70000), dense, powers, draw.integers(1, 2**62, 200000, np.int64)]
    )
    root, half_shift = numerics.reciprocal_root(values)
    real = np.ldexp(root.astype(np.longdouble), half_shift - 55)
    error = np.abs(real * np.sqrt(values.astype(np.longdouble)) - 1).max()
    assert 3.0e-8 < error < 3.4e-8
    assert root.min() >= 2**24
    assert root.max() <= 2**25 + 1


def test_the_seed_is_rounded_half_up() -> None:
    for i, seed in enumerate(numerics.norm.SEED.tolist(), 64):
        below, above = Fraction(2 * seed - 1, 2), Fraction(2 * seed + 1, 2)
        assert below**2 <= Fraction(2**30 * 512, 2 * i + 1) < above**2


@given(st.data(), elements, scales, epsilons, st.booleans())
def test_standardise_is_its_definition_in_unbounded_integers(
    data: st.DataObject, element: ElementType, scale: float, epsilon: float, centred: bool
) -> None:
    entry = st.integers(element.lo, element.hi)
    row = data.draw(st.lists(entry, min_size=1, max_size=40))
    made = choose(scale, element, len(row), epsilon)
    got = numerics.standardise(np.array(row), (0,), made.epsilon, made.fraction, centred)
    assert got.tolist() == by_definition(row, made, centred)


@dataclass(frozen=True)
class Case:
    """One normalisation of one gamma and beta, to signed `bits` bits of scale `step`."""

    element: ElementType
    scale: float
    epsilon: float
    gamma: float
    beta: float
    step: float
    bits: int
    centred: bool

    def error_and_bound(self, rows: numerics.Ints) -> tuple[float, float]:
        """The largest distance to the float norm over `rows`, and the bound proven for it."""
        count, out = rows.shape[-1], ElementType(self.bits)
        made = choose(
            self.scale, self.element, count, self.epsilon, self.gamma, self.beta, self.step
        )
        arrays = (made.multiplier, made.shift, made.bias)
        got = numerics.normalise(
            rows, (-1,), made.epsilon, made.fraction, *arrays, out.lo, out.hi, self.centred
        )
        real = standard(rows, self.scale, self.epsilon, self.centred) * self.gamma + self.beta
        error = np.abs(got - np.clip(real / self.step, out.lo, out.hi)).max()
        bound = numerics.norm_error_bound(
            made, np.array([self.gamma]), np.array([self.beta]), self.step, out.lo, out.hi, count
        )
        return float(error), bound.item()


cases = st.builds(
    Case,
    elements,
    scales,
    epsilons,
    gains,
    gains,
    st.floats(2.0**-14, 1.0),
    st.sampled_from([2, 8, 16]),
    st.booleans(),
)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 3, 16, 100, 768]), cases)
def test_random_rows_stay_within_the_proven_bound(seed: int, count: int, case: Case) -> None:
    draw = np.random.default_rng(seed)
    span = case.element.lo, case.element.hi + 1
    error, bound = case.error_and_bound(draw.integers(*span, (4, count)) // draw.choice([1, 30]))
    assert error <= bound


def extremes(count: int, element: ElementType) -> numerics.Ints:
    rows = np.full((7, count), element.lo)
    rows[1] = element.hi
    rows[2, 0] = element.hi
    rows[3, -1] = element.lo + 1
    rows[4, ::2] = element.hi
    rows[5] = np.linspace(element.lo, element.hi, count).astype(np.int64)
    rows[6] = 0
    rows[6, 0] = 1
    return rows


@pytest.mark.parametrize(
    ("element", "count"),
    [(kind, n) for kind in (I8, I16, U16) for n in (1, 2, 255, 8192)] + [(I8, 50176)],
    ids=str,
)
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("gamma", "beta"), [(1.0, 0.0), (-0.7, 1.9), (1e-3, 0.5), (90.0, -3.0), (0.0, 1.0)]
)
def test_extreme_rows_stay_within_the_proven_bound(
    element: ElementType, count: int, centred: bool, gamma: float, beta: float
) -> None:
    for scale, epsilon in ((1.0, 0.0), (0.01, 1e-5), (1e-4, 1e-5)):
        case = Case(element, scale, epsilon, gamma, beta, 1 / 32, 8, centred)
        error, bound = case.error_and_bound(extremes(count, element))
        assert error <= bound


@pytest.mark.parametrize("element", [I8, I16], ids=str)
@pytest.mark.parametrize("count", [64, 768, 8192])
def test_the_bound_is_close_to_the_rounding_alone(element: ElementType, count: int) -> None:
    rows = np.random.default_rng(9).integers(element.lo, element.hi + 1, (8, count))
    error, bound = Case(element, 0.01, 1e-5, 1.3, 0.2, 1 / 32, 8, True).error_and_bound(rows)
    assert 0.49 < error <= bound < 0.503


@pytest.mark.parametrize("value", [-128, 0, 127])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_a_row_of_no_variance_gives_beta(value: int, epsilon: float) -> None:
    gamma, beta = np.array([1.0, -2.0, 0.0]), np.array([0.5, -1.0, 3.9])
    made = numerics.choose_norm("norm1", 0.1, I8, 3, epsilon, gamma, beta, 1 / 32)
    rows = np.full((2, 3), value)
    got = numerics.normalise(
        rows,
        (-1,),
        made.epsilon,
        made.fraction,
        made.multiplier,
        made.shift,
        made.bias,
        -128,
        127,
    )
    assert got.tolist() == [[16, -32, 125]] * 2


def test_a_narrow_array_does_not_overflow() -> None:
    narrow = np.array([[-128, 127, 5]], np.int8)
    made = choose(0.05, I8, 3)
    got = numerics.standardise(narrow, (1,), made.epsilon, made.fraction)  # type: ignore[arg-type]
    assert got.tolist() == [by_definition([-128, 127, 5], made, True)]


def test_layer_norm_runs_over_any_axes() -> None:
    values = np.random.default_rng(1).integers(-128, 128, (2, 3, 4, 5))
    made = choose(0.05, I8, 60)
    got = numerics.standardise(values, (1, 2, 3), made.epsilon, made.fraction)
    flat = numerics.standardise(values.reshape(2, 60), (1,), made.epsilon, made.fraction)
    np.testing.assert_array_equal(got.reshape(2, 60), flat)


def test_constants_broadcast_along_channels() -> None:
    values = np.random.default_rng(1).integers(-128, 128, (2, 3, 4, 5))
    gamma = np.array([1.0, -0.5, 2.0]).reshape(3, 1, 1)
    made = numerics.choose_norm("norm1", 0.05, I8, 3, 1e-5, gamma, gamma, 1 / 16)
    assert made.multiplier.shape == made.shift.shape == made.bias.shape == (3, 1, 1)
    arrays = (made.multiplier, made.shift, made.bias)
    got = numerics.normalise(values, (1,), made.epsilon, made.fraction, *arrays, -128, 127)
    rows = np.moveaxis(values, 1, -1)
    ideal = (np.moveaxis(standard(rows, 0.05, 1e-5, True), -1, 1) + 1) * gamma * 16
    assert np.abs(got - np.clip(ideal, -128, 127)).max() < 0.51


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_group_norm_normalises_each_group(groups: int) -> None:
    draw = np.random.default_rng(5)
    values = draw.integers(-128, 128, (2, 6, 4, 3))
    gamma, beta = draw.normal(size=6), draw.normal(size=6)
    made = numerics.choose_norm("norm1", 0.05, I8, 72 // groups, 1e-5, gamma, beta, 1 / 32)
    arrays = (made.multiplier, made.shift, made.bias)
    got = numerics.group_norm(values, groups, made.epsilon, made.fraction, *arrays, -128, 127)
    flat = standard(values.reshape(2, groups, -1), 0.05, 1e-5, True).reshape(values.shape)
    ideal = flat * gamma.reshape(-1, 1, 1) + beta.reshape(-1, 1, 1)
    assert np.abs(got - np.clip(ideal * 32, -128, 127)).max() < 0.51


@pytest.mark.parametrize("centred", [True, False])
def test_the_largest_value_and_a_large_beta_fit_48_bits(centred: bool) -> None:
    """One value far from all others reaches sqrt(N); its product alone tips the sum over 2^47."""
    gamma, beta = np.array([65535 / 65536]), np.array([0.98 * 2**11])
    made = numerics.choose_norm("norm1", 1.0, I8, 8192, 0.0, gamma, beta, 1.0)
    row = np.zeros(8192, np.int64)
    row[5] = 127
    reach = int(numerics.standardise(row, (0,), made.epsilon, made.fraction, centred).max())
    assert 2**26 < reach <= np.sqrt(8192) * 2**20 + 128
    assert reach * int(made.multiplier[0]) + int(made.bias[0]) < 2**47
    assert reach * 65535 + int(0.98 * 2**47) > 2**47


@given(elements, st.integers(1, 8192), scales, epsilons)
def test_the_widest_fraction_that_fits_is_taken(
    element: ElementType, count: int, scale: float, epsilon: float
) -> None:
    made = choose(scale, element, count, epsilon)
    largest = max(-element.lo, element.hi)
    real = count**2 * Fraction(epsilon) / Fraction(scale) ** 2
    reach = count**2 * largest**2 + real
    assert made.fraction % 2 == 0
    assert reach * 2**made.fraction < 2**62
    assert made.fraction == 60 or reach * 2 ** (made.fraction + 2) >= 2**62 - 1
    assert made.epsilon == (real * 2**made.fraction + Fraction(1, 2)).__floor__()


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_an_impossible_scale_is_refused(scale: float) -> None:
    with pytest.raises(UnsupportedError) as caught:
        choose(scale, I8, 8)
    assert str(caught.value) == (
        f"norm1: the scale {scale:g} of the normalised input is not positive and finite; "
        "calibrate with data that reach it"
    )


@pytest.mark.parametrize("epsilon", [-1e-5, np.inf, np.nan])
def test_an_impossible_epsilon_is_refused(epsilon: float) -> None:
    with pytest.raises(UnsupportedError) as caught:
        choose(0.1, I8, 8, epsilon)
    assert str(caught.value) == (
        f"norm1: epsilon {epsilon:g} is negative or not finite; give the norm a small positive one"
    )


def test_too_many_values_are_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        choose(0.1, I8, 2**20 + 1)
    assert str(caught.value) == (
        "norm1: one mean over 1048577 values, it takes 1 to 1048576; normalise over fewer"
    )


def test_a_variance_beyond_62_bits_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        choose(0.1, U16, 2**16)
    assert str(caught.value) == (
        "norm1: the variance of 65536 values of u16 with epsilon needs 64 bits, it holds 62; "
        "normalise over fewer values, use fewer bits, or calibrate with data of the real range"
    )
    assert choose(0.1, U16, 2**15).fraction == 0
