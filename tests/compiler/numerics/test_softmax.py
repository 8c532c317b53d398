"""Integer softmax: its constants, its definition in unbounded integers, its error bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler import numerics
from intaglio.errors import UnsupportedError

SCALES = (1e-6, 2e-4, 3e-3, 0.05, 0.7, 4.0, 500.0)
scales = st.floats(-20, 6).map(lambda e: 2.0**e)
outputs = st.integers(1, 16)


def ints(*values: int) -> numerics.Ints:
    return np.array(values, np.int64)


def run(
    rows: numerics.Ints, scale: float, bits: int = 8, mask: numerics.Ints | None = None
) -> numerics.Ints:
    made = numerics.choose_softmax("attention", scale, rows.shape[-1], bits)
    return numerics.softmax(rows, made.multiplier, made.shift, bits, mask=mask)


def exact(rows: numerics.Ints, scale: float) -> numerics.Floats:
    powers = np.exp((rows - rows.max(axis=-1, keepdims=True)) * np.longdouble(scale))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float64)


def error(rows: numerics.Ints, scale: float, bits: int) -> float:
    """The largest distance to the float softmax, in steps of the output."""
    ideal = exact(rows, scale) * ((1 << bits) - 1)
    return float(np.abs(run(rows, scale, bits) - ideal).max())


def power_by_definition(distance: int, m: int, s: int) -> int:
    """One entry's e, by the docstring's steps in Python's unbounded integers."""
    t = min((distance * m + (1 << (s - 1))) >> s, 32 << 17)
    q, j, r = t >> 17, t >> 9 & 255, t & 511
    first, second = (int(numerics.EXPONENTIAL[k]) for k in (j, j + 1))
    v = first * 512 - (first - second) * r
    assert 2**29 <= v <= 2**30
    return (v + ((1 << q) >> 1)) >> q


def by_definition(row: list[int], m: int, s: int, bits: int) -> list[int]:
    """A row's y, by the docstring's steps in Python's unbounded integers."""
    powers = [power_by_definition(max(row) - x, m, s) for x in row]
    total = sum(powers)
    n = total.bit_length()
    assert 31 <= n <= 47
    u = total >> (n - 31)
    reciprocal = ((2**bits - 1) * 2**39 + u) // (2 * u)
    assert reciprocal < 2 ** (bits + 8)
    assert max(powers) * reciprocal <= 2**54
    return [(e * reciprocal + 2 ** (n + 6)) >> (n + 7) for e in powers]


def test_the_table_holds_powers_of_two_rounded_half_up() -> None:
    assert numerics.EXPONENTIAL.shape == (257,)
    for j, entry in enumerate(numerics.EXPONENTIAL.tolist()):
        assert (2 * entry - 1) ** 256 <= 2 ** (22 * 256 - j) < (2 * entry + 1) ** 256


@given(st.floats(2.0**-40, 2.0**10))
def test_the_multiplier_is_the_nearest_at_the_largest_shift(scale: float) -> None:
    made = numerics.choose_softmax("attention", scale, 8)
    assert 0 <= made.multiplier < 2**24
    assert 1 <= made.shift <= 40
    ideal = scale * np.log2(np.e) * 2.0 ** (17 + made.shift)
    assert abs(made.multiplier - ideal) <= 0.5 + 1e-8 or made.multiplier == 2**24 - 1
    assert made.shift == 40 or made.multiplier >= 2**23


@given(st.lists(st.integers(0, 2**16 - 1), min_size=1), scales)
def test_the_exponential_is_its_definition_in_unbounded_integers(
    distances: list[int], scale: float
) -> None:
    made = numerics.choose_softmax("attention", scale, 8)
    got = numerics.exponential(np.array(distances), made.multiplier, made.shift)
    ideal = [power_by_definition(d, made.multiplier, made.shift) for d in distances]
    assert got.tolist() == ideal


@pytest.mark.parametrize("scale", SCALES)
def test_the_exponential_is_within_its_part_of_the_bound(scale: float) -> None:
    distances = np.arange(65536)
    made = numerics.choose_softmax("attention", scale, 8)
    got = numerics.exponential(distances, made.multiplier, made.shift)
    ideal = np.exp(-distances * np.longdouble(scale)) * 2**30
    assert np.all(np.abs(got - ideal) <= 5.4e-6 * ideal + 0.5)
    assert np.all(np.diff(got) <= 0)


@given(
    st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=40),
    scales,
    outputs,
)
def test_softmax_is_its_definition_in_unbounded_integers(
    row: list[int], scale: float, bits: int
) -> None:
    made = numerics.choose_softmax("attention", scale, len(row), bits)
    got = numerics.softmax(np.array(row), made.multiplier, made.shift, bits)
    assert got.tolist() == by_definition(row, made.multiplier, made.shift, bits)


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_pairs_at_every_distance_are_their_definition(bits: int) -> None:
    made = numerics.choose_softmax("attention", 12 / 8192, 2, bits)
    rows = np.stack([np.zeros(8192, np.int64), -np.arange(8192)], axis=1)
    got = numerics.softmax(rows, made.multiplier, made.shift, bits)
    ideal = [by_definition(row, made.multiplier, made.shift, bits) for row in rows.tolist()]
    assert got.tolist() == ideal


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 3, 17, 128, 1000]),
    st.integers(1, 16),
    scales,
    outputs,
)
def test_random_rows_stay_within_the_proven_bound(
    seed: int, entries: int, width: int, scale: float, bits: int
) -> None:
    draw = np.random.default_rng(seed)
    rows = draw.integers(-(1 << width >> 1), 1 << width >> 1, (4, entries))
    assert error(rows, scale, bits) <= numerics.softmax_error_bound(entries, bits)


def extremes(entries: int) -> numerics.Ints:
    """Rows at the edges: equal, one hot, two hot, the ramp, one low, and all but one just below."""
    lo, hi = -(2**15), 2**15 - 1
    rows = np.full((8, entries), lo)
    rows[1] = hi
    rows[2, 0] = hi
    rows[3, -1] = lo + 1
    rows[4, ::2] = hi
    rows[5] = np.linspace(lo, hi, entries).astype(np.int64)
    rows[6] = hi
    rows[6, entries // 2] = lo
    rows[7] = hi - 1
    rows[7, 0] = hi
    return rows


@pytest.mark.parametrize("entries", [1, 2, 3, 255, 256, 4096])
@pytest.mark.parametrize("bits", [1, 8, 16])
@pytest.mark.parametrize("scale", SCALES)
def test_extreme_rows_stay_within_the_proven_bound(entries: int, bits: int, scale: float) -> None:
    assert error(extremes(entries), scale, bits) <= numerics.softmax_error_bound(entries, bits)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize(("entries", "step"), [(2, 1), (64, 1), (4096, 97)])
def test_every_distance_stays_within_the_proven_bound(entries: int, step: int, bits: int) -> None:
    """A row of one maximum and equal entries below it, at distances over all that 16 bits allow."""
    scale = 18.0 / 65535
    worst = 0.0
    distances = np.arange(0, 65536, step)
    for part in np.array_split(distances, 1 + distances.size * entries // 2**18):
        rows = np.repeat(-part[:, None], entries, axis=1)
        rows[:, 0] = 0
        worst = max(worst, error(rows, scale, bits))
    bound = numerics.softmax_error_bound(entries, bits)
    assert 0.45 < worst <= bound
    if bits == 8:
        assert bound < 0.51


def test_the_largest_sum_is_held() -> None:
    row = np.zeros((1, 65536), np.int64)
    got = run(row, 1e-4, 16)
    assert got.min() == got.max() == 1
    assert numerics.softmax_error_bound(65536, 16) < 2.7


@given(st.lists(st.integers(-500, 500), min_size=2, max_size=20), st.integers(-99, 99), scales)
def test_only_differences_count_and_order_is_kept(row: list[int], by: int, scale: float) -> None:
    values = np.array(row)
    got = run(values, scale, 16)
    np.testing.assert_array_equal(run(values + by, scale, 16), got)
    order = np.argsort(values)
    assert np.all(np.diff(got[order]) >= 0)


@given(st.lists(st.tuples(st.integers(-128, 127), st.booleans()), min_size=1, max_size=30), scales)
def test_masked_entries_count_nowhere(row: list[tuple[int, bool]], scale: float) -> None:
    values = np.array([value for value, _ in row])
    mask = np.array([kept for _, kept in row]).astype(np.int64)
    got = run(values, scale, 8, mask)
    assert np.all(got[mask == 0] == 0)
    if mask.any():
        np.testing.assert_array_equal(got[mask == 1], run(values[mask == 1], scale))


def test_a_mask_broadcasts_and_a_row_masked_whole_is_zero() -> None:
    rows = np.broadcast_to(ints(3, 3, 90, -90), (2, 3, 4))
    mask = np.array([[0, 0, 0, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    got = run(rows, 0.1, 8, mask)
    assert got.tolist() == [[[0, 0, 0, 0], [128, 128, 0, 0], [255, 0, 0, 0]]] * 2


def test_any_axis_may_be_the_row() -> None:
    rows = np.random.default_rng(3).integers(-128, 128, (2, 5, 3))
    made = numerics.choose_softmax("attention", 0.05, 5)
    got = numerics.softmax(rows, made.multiplier, made.shift, axis=1)
    np.testing.assert_array_equal(np.moveaxis(got, 1, -1), run(np.moveaxis(rows, 1, -1), 0.05))


def test_a_narrow_array_does_not_overflow() -> None:
    narrow = np.array([-128, 127], np.int8)
    assert run(narrow.astype(np.int64), 0.001).tolist() == run(narrow, 0.001).tolist()  # type: ignore[arg-type]


def test_an_unsigned_input_is_as_good() -> None:
    assert run(ints(65535, 0, 65535), 0.5).tolist() == [128, 0, 128]


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_probability_one_is_the_largest_code(bits: int) -> None:
    assert run(ints(0, -32768), 1.0, bits).tolist() == [2**bits - 1, 0]
    assert numerics.softmax_scale(bits) * (2**bits - 1) == 1.0


@pytest.mark.parametrize("scale", [0.0, -1.0, np.inf, np.nan])
def test_an_impossible_scale_is_refused(scale: float) -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.choose_softmax("attention", scale, 8)
    assert str(caught.value) == (
        f"attention: the scale {scale:g} of softmax's input is not positive and finite; calibrate "
        "with data that reach it"
    )


def test_too_long_a_row_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.choose_softmax("attention", 0.1, 65537)
    assert str(caught.value) == (
        "attention: softmax over 65537 entries, its sum holds 1 to 65536; shorten the axis"
    )


def test_too_wide_an_output_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.choose_softmax("attention", 0.1, 8, 17)
    assert str(caught.value) == (
        "attention: softmax to 17 bits, it gives 1 to 16; choose fewer bits"
    )
