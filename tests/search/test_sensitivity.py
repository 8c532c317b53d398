"""Bits of layers chosen by what they do to the outputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from intaglio.compiler.calibration import Method
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.precision_file import to_toml
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from intaglio.examples.mnist import Recipe, load_digits, train
from intaglio.examples.networks import LeNet5
from intaglio.progress import silent
from intaglio.search.codesign import packed_bits
from intaglio.search.knapsack import Budget
from intaglio.search.sensitivity import (
    Cycles,
    Mixed,
    Sensitivity,
    kl,
    mse,
    outputs_of,
    owners,
    survey,
)
from intaglio.sim import deployment
from intaglio.templates.deployment import deploy
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.template import find_template


def test_divergences() -> None:
    target = np.log(np.array([[0.5, 0.5], [0.5, 0.5]]))
    made = np.log(np.array([[0.5, 0.5], [0.25, 0.75]])) + 3.0
    assert kl(target, made) == pytest.approx(0.25 * np.log(4 / 3))
    assert kl(target, target) == 0.0
    assert mse(np.array([[3.0, 4.0]]), np.array([[3.0, 5.0]])) == pytest.approx(1 / 25)


class Digits(NamedTuple):
    """LeNet-5 trained for a moment: how to build it, images, and the float outputs on them."""

    build: Callable[[Precision], Workload]
    inputs: dict[str, NDArray[np.floating]]
    wanted: NDArray[np.floating]


@pytest.fixture(scope="module")
def digits() -> Digits:
    data = load_digits()
    model = train(Recipe(LeNet5, 1, 8e-3, 64), data, silent)
    calibration = {"images": data.train_images[:16].numpy()}
    known: dict[str, Workload] = {}

    def build(precision: Precision) -> Workload:
        key = to_toml(precision)
        if key not in known:
            method = Method(observer="mse", weights="mse")
            given = (data.train_images[:1],)
            known[key] = to_workload(
                model, given, calibration=calibration, method=method, precision=precision
            )
        return known[key]

    images = data.train_images[1000:1064]
    with torch.no_grad():
        wanted = model(images).double().numpy()
    return Digits(build, {"images": images.numpy()}, wanted)


@pytest.fixture(scope="module")
def mixed(digits: Digits) -> Mixed:
    """The choice within the size of uniform 4 bits."""
    uniform = packed_bits(digits.build(Precision(4, 8)))
    found = survey(
        digits.build,
        digits.inputs,
        wanted=digits.wanted,
        weights=(2, 4, 8),
        cycles=Cycles(find_template("npu"), NpuDesign()),
    )
    return found.within(Budget(uniform))


def test_mixed_bits_beat_uniform_ones_of_the_same_size(digits: Digits, mixed: Mixed) -> None:
    uniform = digits.build(Precision(4, 8))
    assert len(mixed.options) == 5 * 3
    assert mixed.size_bits <= packed_bits(uniform)
    assert mixed.size_bits == packed_bits(digits.build(mixed.precision))
    assert mixed.measured <= kl(digits.wanted, outputs_of(uniform, digits.inputs))
    assert mixed.measured == pytest.approx(mixed.predicted, rel=1.0)
    coarse = {o.layer: o.divergence for o in mixed.options if o.bits.weights == 2}
    fine = {o.layer: o.divergence for o in mixed.options if o.bits.weights == 8}
    assert sum(coarse.values()) > sum(fine.values())
    assert [option.layer for option in mixed.chosen] == list(mixed.precision.layers)


def test_bits_below_a_byte_save_cycles_of_the_npu(digits: Digits, mixed: Mixed) -> None:
    simulated = deployment.simulate(
        deploy(digits.build(mixed.precision), find_template("npu"), NpuDesign())
    )
    assert mixed.cycles == simulated.cycles < mixed.start.cycles
    assert mixed.predicted_cycles < mixed.start.cycles
    assert mixed.bits_change_cycles


def test_a_budget_of_cycles_holds_for_the_whole_network(digits: Digits) -> None:
    """Cycles that do not add up: a network of any layer at 2 bits saves less than its layers."""

    def cycles(workload: Workload) -> int:
        kept = [workload.tensor(f"{name}.weight").element.bits > 2 for name in owners(workload)]
        return 100 + 10 * sum(kept) + 5 * (len(kept) - sum(kept) > 1)

    found = survey(digits.build, digits.inputs, weights=(2, 8), cycles=cycles)
    made = found.within(Budget(cycles=130))
    assert made.cycles == 125
    assert made.predicted_cycles == 120
    assert made.bits_change_cycles
    with pytest.raises(UsageError) as caught:
        found.within(Budget(cycles=102))
    assert str(caught.value) == (
        "no choice keeps a budget of 102 cycles: the nearest takes 105; raise it, or allow fewer "
        "bits"
    )


def test_a_divergence_of_classes_needs_some() -> None:
    with pytest.raises(UsageError) as caught:
        Sensitivity(lambda precision: Workload("x", (), (), (), {}, {}), {}, np.zeros((4, 1)))
    assert str(caught.value) == (
        "divergence 'kl' compares classes along the last axis, of which the outputs have 1; "
        "choose 'mse'"
    )
