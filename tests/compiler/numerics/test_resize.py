"""Resizing: PyTorch's nearest map bit for bit, linear within its bound."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from intaglio.compiler import numerics
from intaglio.compiler.workload import ElementType
from intaglio.errors import UnsupportedError

FACTORS = (0.34, 0.4, 0.5, 1.1, 1.5, 1.7, 1.9, 2.0, 2.05, 2.2, 2.5, 2.999, 3.0, 4.0)


def torch_sources(size_in: int, exact: bool, **size: Any) -> numerics.Ints:
    """Which input each output of PyTorch's nearest modes shows, on one axis."""
    ramp = torch.arange(size_in, dtype=torch.float32).reshape(1, 1, size_in)
    shown = functional.interpolate(ramp, mode="nearest-exact" if exact else "nearest", **size)
    return np.asarray(shown.numpy().reshape(-1), np.int64)


@pytest.mark.parametrize("size_in", [1, 2, 3, 5, 7, 10, 14, 31, 56])
def test_nearest_indices_of_a_size_are_those_of_pytorch(size_in: int) -> None:
    for size_out in range(1, 130):
        got = numerics.nearest_indices(size_in, size_out)
        np.testing.assert_array_equal(got, torch_sources(size_in, False, size=size_out))


@pytest.mark.parametrize("size_in", [1, 2, 3, 5, 7, 10, 14, 31, 56])
def test_nearest_exact_differs_from_pytorch_at_most_at_a_tie(size_in: int) -> None:
    for size_out in range(1, 130):
        got = numerics.nearest_indices(size_in, size_out, exact=True)
        middles = (2 * np.arange(size_out) + 1) * size_in
        differing = got != torch_sources(size_in, True, size=size_out)
        assert np.all(middles[differing] % (2 * size_out) == 0)
        assert np.all(np.abs(got - middles // (2 * size_out)) <= (middles % (2 * size_out) == 0))


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("factor", FACTORS)
def test_nearest_indices_of_a_factor_are_those_of_pytorch(exact: bool, factor: float) -> None:
    for size_in in range(3, 60):
        ideal = torch_sources(size_in, exact, scale_factor=factor)
        got = numerics.nearest_indices(size_in, len(ideal), factor, exact)
        np.testing.assert_array_equal(got, ideal)


def test_resize_nearest_gathers_over_the_last_axes() -> None:
    values = np.random.default_rng(2).integers(-128, 128, (2, 3, 5, 4))
    indices = (numerics.nearest_indices(5, 9), numerics.nearest_indices(4, 3))
    got = numerics.resize_nearest(values, indices)
    ideal = functional.interpolate(torch.from_numpy(values).float(), size=(9, 3))
    np.testing.assert_array_equal(got, ideal.numpy())


def linear(
    values: numerics.Ints, sizes: tuple[int, ...], align: bool, bits: int = 11
) -> tuple[numerics.Ints, numerics.Floats]:
    """(Ours, PyTorch's in float64) over the last axes."""
    spatial = values.shape[-len(sizes) :]
    taps = [
        numerics.linear_taps(i, o, None, align, bits) for i, o in zip(spatial, sizes, strict=True)
    ]
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(sizes)]
    real = torch.from_numpy(values).double()
    ideal = functional.interpolate(real, size=sizes, mode=mode, align_corners=align)
    return numerics.resize_linear(values, taps, bits), np.asarray(ideal.numpy(), np.float64)


@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 30)), min_size=1, max_size=3),
    st.sampled_from([(8, "signed", 11), (8, "unsigned", 3), (16, "signed", 15), (2, "signed", 1)]),
    st.booleans(),
)
def test_linear_stays_within_its_bound(
    seed: int, sizes: list[tuple[int, int]], kind: Any, align: bool
) -> None:
    element, bits = ElementType(kind[0], kind[1]), kind[2]
    draw = np.random.default_rng(seed)
    shape = (1, 2, *(size for size, _ in sizes))
    edges = draw.choice([element.lo, element.hi], shape)
    anything = draw.integers(element.lo, element.hi + 1, shape)
    for values in (edges, anything):
        got, ideal = linear(values, tuple(size for _, size in sizes), align, bits)
        bound = numerics.resize_error_bound(element, len(sizes), bits)
        assert np.abs(got - ideal).max() <= bound + 1e-9
        assert got.min() >= element.lo
        assert got.max() <= element.hi


def test_the_widest_sums_fit() -> None:
    for value in (-(2**15), 2**15 - 1):
        got, _ = linear(np.full((1, 1, 3, 3, 3), value), (5, 7, 4), False, 15)
        assert np.all(got == value)


@pytest.mark.parametrize("align", [False, True])
def test_the_bound_of_bilinear_is_nearly_reached(align: bool) -> None:
    draw = np.random.default_rng(4)
    element = ElementType(8)
    worst = 0.0
    for size in range(5, 60):
        values = draw.choice([-128, 127], (1, 1, 7, 7))
        got, ideal = linear(values, (size, size + 3), align)
        worst = max(worst, float(np.abs(got - ideal).max()))
    assert 0.56 < worst <= numerics.resize_error_bound(element, 2)
    assert numerics.resize_error_bound(element, 2) < 0.625


@pytest.mark.parametrize("factor", FACTORS)
def test_a_scale_factor_is_kept_as_pytorch_keeps_it(factor: float) -> None:
    values = np.random.default_rng(3).integers(-128, 128, (1, 2, 11, 9))
    ideal = functional.interpolate(
        torch.from_numpy(values).double(), scale_factor=factor, mode="bilinear"
    ).numpy()
    taps = [
        numerics.linear_taps(*pair, factor) for pair in ((11, ideal.shape[2]), (9, ideal.shape[3]))
    ]
    got = numerics.resize_linear(values, taps)
    assert np.abs(got - ideal).max() <= numerics.resize_error_bound(ElementType(8), 2)


def test_taps_are_exact_where_they_can_be() -> None:
    taps = numerics.linear_taps(2, 4)
    assert taps.lower.tolist() == [0, 0, 0, 1]
    assert taps.upper.tolist() == [1, 1, 1, 1]
    assert taps.weight.tolist() == [0, 512, 1536, 512]
    corners = numerics.linear_taps(3, 5, align_corners=True)
    assert corners.weight.tolist() == [0, 1024, 0, 1024, 0]


def test_ties_are_rounded_up() -> None:
    taps = numerics.linear_taps(2, 3, align_corners=True)
    rows = np.array([[-1, 0], [0, 1], [-2, -1]])
    assert numerics.resize_linear(rows, [taps]).tolist() == [[-1, 0, 0], [0, 1, 1], [-2, -1, -1]]


@pytest.mark.parametrize("bits", [0, 16])
def test_impossible_weights_are_refused(bits: int) -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.linear_taps(2, 4, fraction_bits=bits)
    assert str(caught.value) == (
        f"resize weights of {bits} bits, its sums hold 1 to 15; choose fewer bits"
    )
