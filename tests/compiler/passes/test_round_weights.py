"""Rounding weights on real inputs: smaller errors, unbiased channels, the model untouched."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.calibration import Method
from intaglio.compiler.passes.round_weights import compensated
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from tests.compiler.models import Calls, InvertedResidual, Residual, images, seeded


def correlated(inputs: int, seed: int = 0) -> Tensor:
    """(1, inputs, 500) samples whose neighbours are alike."""
    noise = torch.randn(inputs, 500, generator=torch.Generator().manual_seed(seed)).double()
    samples: Tensor = noise.cumsum(0)[None] / inputs**0.5
    return samples


def error(steps: Tensor, integers: Tensor, covariance: Tensor) -> float:
    """The mean squared error of an output, up to its mean."""
    off = integers - steps
    return float((off @ covariance * off).sum())


def within(highest: int) -> Callable[[Tensor], Tensor]:
    """Rounding to the nearest integer of a symmetric type."""
    return lambda steps: steps.round().clamp(-highest, highest)


def test_compensation_beats_rounding_to_the_nearest() -> None:
    data = correlated(40)
    covariance = torch.cov(data[0])[None]
    steps = 5 * torch.randn(1, 16, 40, generator=torch.Generator().manual_seed(1)).double()
    made = compensated(steps, covariance, within(127))
    assert torch.equal(made, made.round())
    assert error(steps, made, covariance) < 0.5 * error(steps, steps.round(), covariance)


def test_few_inputs_come_near_the_best_of_all_roundings() -> None:
    covariance = torch.cov(correlated(4)[0])[None]
    steps = 2 * torch.randn(1, 1, 4, generator=torch.Generator().manual_seed(2)).double()
    choices = itertools.product(*((float(v.floor()), float(v.ceil())) for v in steps.flatten()))
    best = min(error(steps, torch.tensor([[c]]).double(), covariance) for c in choices)
    made = error(steps, compensated(steps, covariance, within(127)), covariance)
    assert made <= 1.5 * best < error(steps, steps.round(), covariance)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    covariance = torch.cov(correlated(30)[0])[None]
    steps = 3 * torch.randn(1, 5, 30, generator=torch.Generator().manual_seed(3)).double()
    whole = compensated(steps, covariance, within(127))
    monkeypatch.setattr("intaglio.compiler.passes.round_weights.BLOCK", 7)
    assert torch.equal(compensated(steps, covariance, within(127)), whole)


def test_integers_stay_in_their_type_and_dead_inputs_round_to_the_nearest() -> None:
    steps = torch.tensor([[[9.4, -9.6, 2.6]]]).double()
    covariance = torch.zeros(1, 3, 3).double()
    assert compensated(steps, covariance, within(7)).tolist() == [[[7.0, -7.0, 3.0]]]


METHODS = (
    Method(),
    Method(correct_bias=True),
    Method(rounding="compensated", correct_bias=True),
)


def photographs(count: int) -> Tensor:
    """Images whose neighbouring pixels are alike, and whose mean is not zero."""
    return functional.interpolate(images(count, 3, 5, 5) + 1, (16, 16), mode="bilinear")


def snr(model: nn.Module, data: Tensor, method: Method, precision: Precision) -> float:
    """Decibels of the float outputs over what the integer network makes of the same images."""
    forward = Calls(lambda m, x: model(x), model=model).eval()
    given = {"x": data.numpy()}
    workload = to_workload(
        forward, (data[:1],), calibration=given, method=method, precision=precision
    )
    values = reference.run(workload, reference.quantise_inputs(workload, given))
    made = reference.dequantise_outputs(workload, values)[workload.outputs[0]]
    with torch.no_grad():
        wanted = model(data).numpy()
    return float(10 * np.log10((wanted**2).sum() / ((made - wanted) ** 2).sum()))


@pytest.mark.parametrize("network", [Residual, InvertedResidual])
def test_each_step_brings_the_integer_network_closer(network: type[nn.Module]) -> None:
    model, data = seeded(network).eval(), photographs(12)
    found = [snr(model, data, method, Precision(3, 8)) for method in METHODS]
    assert found[0] + 1 < found[1] < found[2]


def test_the_users_model_keeps_its_weights() -> None:
    model, data = seeded(Residual).eval(), photographs(4)
    before = copy.deepcopy(model.state_dict())
    snr(model, data, METHODS[2], Precision())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_layer_without_a_bias_gets_one() -> None:
    conv = seeded(lambda: nn.Conv2d(3, 4, 3, bias=False))
    data = photographs(8)
    found = [snr(conv.eval(), data, method, Precision(2, 8)) for method in METHODS[:2]]
    assert found[1] > found[0] + 3


def test_progress_counts_the_layers() -> None:
    told: list[tuple[str, int, int]] = []
    data = photographs(2)
    to_workload(
        seeded(Residual).eval(),
        (data[:1],),
        calibration={"x": data.numpy()},
        method=METHODS[1],
        progress=lambda *step: told.append(step),
    )
    rounds = [step[1:] for step in told if step[0] == "round weights"]
    assert rounds == [(done, 5) for done in range(1, 6)]
