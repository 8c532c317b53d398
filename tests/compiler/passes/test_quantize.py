"""Quantisation: agreement with the float model, snapped scales, rounding, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from intaglio.compiler.capture import Captured
from intaglio.compiler.numerics import choose_multiplier
from intaglio.compiler.passes.quantize import QUANTISE, Quantize, quantise_half_up
from intaglio.compiler.pipeline import fuse, to_workload
from intaglio.compiler.precision import Precision
from intaglio.errors import CalibrationError, UnsupportedError
from tests.compiler.fake_quantised import quantised
from tests.compiler.models import Calls, Residual, graph_of, images, line_of, seeded


def decibels(signal: torch.Tensor, made: torch.Tensor) -> float:
    signal = signal.detach()
    noise = (signal - made.detach()).square().sum()
    return float(10 * torch.log10(signal.square().sum() / noise))


@pytest.mark.parametrize(("bits", "least"), [((8, 8), 28.0), ((4, 8), 10.0), ((8, 4), 6.0)])
def test_the_quantised_graph_tracks_the_float_model(bits: tuple[int, int], least: float) -> None:
    model, x = seeded(Residual), images(1, 3, 16, 16)
    module, _ = quantised(model, x, precision=Precision(*bits))
    assert decibels(model(x), module(x)[0]) > least


def test_more_bits_are_closer() -> None:
    model, x = seeded(Residual), images(1, 3, 16, 16)
    ratios = []
    for bits in (3, 5, 8):
        module, _ = quantised(model, x, precision=Precision(bits, bits))
        ratios.append(decibels(model(x), module(x)[0]))
    assert ratios == sorted(ratios)


def test_every_value_rounds_half_up() -> None:
    module, _ = quantised(seeded(Residual), images(1, 3, 16, 16))
    assert not module.graph.find_nodes(op="call_function", target=QUANTISE)
    assert len(module.graph.find_nodes(op="call_function", target=quantise_half_up)) == 8
    values = torch.tensor([-1.5, -0.5, 0.5, 1.5, 200.0])
    assert quantise_half_up(values, 1.0, 0, -128, 127, torch.int8).tolist() == [-1, 0, 1, 2, 127]


def test_scales_are_what_the_requantiser_holds() -> None:
    x = images(1, 3, 16, 16)
    workload = to_workload(seeded(Residual), (x,), calibration={"x": x.numpy()})
    scales = {t.name: t.scale for t in workload.activations()}
    for layer, source, output in (("stem.0", "x", "stem.0"), ("head", "reshape", "head")):
        weights = np.array(workload.tensor(f"{layer}.weight").channel_scales)
        ratio = weights * scales[source] / scales[output]
        m, s = choose_multiplier(ratio)
        np.testing.assert_allclose(np.ldexp(m.astype(float), -s), ratio, rtol=2e-7)
    m, s = choose_multiplier(scales["shortcut"] / scales["conv2"])
    assert scales["shortcut"] / scales["conv2"] == pytest.approx(float(m) / 2 ** int(s), rel=1e-12)


def test_every_image_is_seen_and_told() -> None:
    seen: list[int] = []
    module = graph_of(seeded(Residual), images(1, 3, 8, 8))
    plan = fuse(Captured(module, {}))
    batches = [(images(1, 3, 8, 8, seed=seed),) for seed in range(3)]
    made = Quantize(plan)(module, batches, seen.append)
    assert seen == [1, 2, 3]
    first = made.graph.find_nodes(op="call_function", target=quantise_half_up)[0]
    largest = max(max(float(b.max()) / 127, float(-b.min()) / 128) for (b,) in batches)
    assert first.args[1] == pytest.approx(largest)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    conv = nn.Conv2d(3, 4, 1)
    conv.weight.data[2, 0] = value
    with pytest.raises(CalibrationError) as caught:
        quantised(Calls(lambda m, x: conv(x).relu(), conv=conv), images(1, 3, 5, 5))
    line = line_of(Calls.forward, "self.function")
    assert str(caught.value) == (
        f"conv ({line}): its values are NaN or infinite on the calibration data; check the model's "
        "weights and the range of the data"
    )


def test_a_scale_that_no_multiplier_holds_is_refused() -> None:
    conv = nn.Conv2d(1, 2, 1)
    conv.weight.data[0] = 1e9
    conv.weight.data[1] = 1e-9
    conv.bias = None
    model = Calls(lambda m, x: conv(x).clamp(-1e-3, 1e-3), conv=conv)
    with pytest.raises(UnsupportedError) as caught:
        quantised(model, images(1, 1, 5, 5))
    line = line_of(Calls.forward, "self.function")
    assert str(caught.value).startswith(f"conv ({line}): requantisation scale ")
    assert str(caught.value).endswith(
        "is not below 32767.5, the largest a 16-bit multiplier holds; rescale the model's weights "
        "or inputs"
    )
