"""Observers: which scale follows from the values seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from intaglio.compiler.passes.observers import (
    SAMPLES,
    MseObserver,
    PercentileObserver,
    PerChannelWeightObserver,
    RangeObserver,
)


def observed(values: Tensor, lo: int, hi: int) -> RangeObserver:
    observer = RangeObserver(torch.int8, lo, hi)
    assert observer(values) is values
    return observer


@pytest.mark.parametrize(
    ("values", "lo", "hi", "scale"),
    [
        ([-1.0, 2.0], -128, 127, 2 / 127),
        ([-3.0, 2.0], -128, 127, 3 / 128),
        ([0.0, 2.0], 0, 255, 2 / 255),
        ([0.0, 0.0], -8, 7, 1 / 7),
    ],
)
def test_the_range_is_spread_over_the_type(
    values: list[float], lo: int, hi: int, scale: float
) -> None:
    observer = observed(torch.tensor(values), lo, hi)
    made, zero_point = observer.calculate_qparams()
    assert float(made) == observer.scale == pytest.approx(scale)
    assert int(zero_point) == 0


def test_the_range_widens_and_a_chosen_scale_wins() -> None:
    observer = observed(torch.tensor([0.0, 1.0]), 0, 255)
    observer(torch.tensor([0.5, 4.0]))
    assert observer.scale == 4 / 255
    observer.chosen = 0.5
    assert observer.scale == 0.5


def test_values_that_are_not_finite_are_noticed() -> None:
    assert observed(torch.tensor([1.0]), 0, 255).finite
    for value in (float("nan"), float("inf")):
        observer = RangeObserver(torch.int8, 0, 255)
        observer(torch.tensor([1.0, value]))
        assert not observer.finite


def test_zeros_pass_for_values_that_are_not_finite() -> None:
    observer = RangeObserver(torch.int8, -128, 127)
    values = torch.tensor([2.0, float("nan"), float("-inf")])
    assert observer(values).tolist() == [2.0, 0.0, 0.0]
    assert (observer.lowest, observer.highest) == (0.0, 2.0)


def test_weights_have_a_scale_a_channel_and_dead_channels_one_too() -> None:
    observer = PerChannelWeightObserver(torch.int8, -7, 7)
    observer(torch.tensor([[1.0, -14.0], [0.0, 0.0], [3.5, 0.0]]))
    scales, zero_points = observer.calculate_qparams()
    np.testing.assert_allclose(scales, [2.0, 2.0, 0.5])
    assert zero_points.tolist() == [0, 0, 0]


def normal(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(seed))


def test_a_percentile_clamps_the_rest_on_either_side() -> None:
    observer = PercentileObserver.at(99.0)(torch.int8, -128, 127)
    observer(torch.cat([torch.linspace(-64.0, 63.5, 4001), torch.tensor([1e4, -1e4])]))
    assert observer.scale == pytest.approx(63.5 * 0.98 / 127, rel=0.03)
    everything = PercentileObserver.at(100.0)(torch.int8, -128, 127)
    everything(torch.tensor([-3.0, 2.0]))
    assert everything.scale == 3 / 128


def test_a_percentile_of_mostly_zeros_falls_back_to_the_range() -> None:
    observer = PercentileObserver.at(50.0)(torch.uint8, 0, 255)
    observer(torch.tensor([0.0, 0.0, 0.0, 5.1]))
    assert observer.scale == pytest.approx(5.1 / 255)


def squared_error(values: Tensor, scale: float, lo: int, hi: int) -> float:
    made = torch.floor(values.double() / scale + 0.5).clamp(lo, hi) * scale
    return float((made - values.double()).square().sum())


@pytest.mark.parametrize(("bits", "gain"), [(3, 2.0), (4, 1.5), (8, 1.0)])
def test_no_other_scale_has_a_smaller_squared_error(bits: int, gain: float) -> None:
    lo, hi = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    values = torch.cat([normal(4000), torch.tensor([8.0])])
    observer = MseObserver(torch.int8, lo, hi)
    observer(values)
    least = squared_error(values, observer.scale, lo, hi)
    whole = observed(values, lo, hi).scale
    assert least <= min(
        squared_error(values, whole * n / 1000, lo, hi) for n in range(250, 1001, 50)
    )
    assert gain * least <= squared_error(values, whole, lo, hi)


def test_pixels_on_a_grid_of_a_power_of_two_stay_on_it() -> None:
    pixels = (torch.arange(256.0).repeat(9) - 127) / 128
    observer = MseObserver(torch.int8, -128, 127)
    observer(pixels)
    assert observer.scale == 1 / 128


def test_a_sample_is_bounded_seeded_and_spread_over_the_images() -> None:
    first, again = (MseObserver(torch.int8, -128, 127) for _ in range(2))
    for image in range(40):
        for observer in (first, again):
            observer(normal(20000, image) + image)
    assert SAMPLES // 2 <= len(first.sample) <= SAMPLES
    assert torch.equal(first.sample, again.sample)
    shares = torch.histc(first.sample, 4, -0.5, 39.5) / len(first.sample)
    assert shares.min() > 0.2
