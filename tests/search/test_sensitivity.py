"""Bits of layers chosen by what they do to the outputs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from intaglio.compiler.calibration import Method
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from intaglio.examples.mnist import Recipe, load_digits, train
from intaglio.examples.networks import LeNet5
from intaglio.progress import silent
from intaglio.search import sensitivity
from intaglio.search.codesign import packed_bits
from intaglio.search.sensitivity import Option, choose, kl, mixed_precision, mse

START = Option("", Bits(8, 8), 1000, 0.25)


def test_the_choice_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        layers = [
            [
                Option(str(layer), Bits(bits), 1000 - int(random.integers(200)), value)
                for bits, value in zip((2, 4, 8), random.random(3).tolist(), strict=True)
            ]
            for layer in range(5)
        ]
        every = [
            (sum(o.divergence for o in taken), sum(o.size_bits - 1000 for o in taken) + 1000)
            for taken in product(*layers)
        ]
        budget = int(np.median([size for _, size in every]))
        best = min(cost for cost, size in every if size <= budget)
        made = choose(START, layers, budget)
        assert [option.layer for option in made] == list("01234")
        assert sum(option.divergence for option in made) == pytest.approx(best)
        assert sum(option.size_bits - 1000 for option in made) + 1000 <= budget


def test_a_budget_that_nothing_fits_is_refused() -> None:
    layers = [[Option("fc", Bits(2), 700, 1.0), Option("fc", Bits(4), 800, 0.5)]]
    with pytest.raises(UsageError) as caught:
        choose(START, layers, 699)
    assert str(caught.value) == (
        "a budget of 699 bits is below 700, the least that these bits take; raise it, or allow "
        "fewer bits"
    )


def test_divergences() -> None:
    target = np.log(np.array([[0.5, 0.5], [0.5, 0.5]]))
    made = np.log(np.array([[0.5, 0.5], [0.25, 0.75]])) + 3.0
    assert kl(target, made) == pytest.approx(0.25 * np.log(4 / 3))
    assert kl(target, target) == 0.0
    assert mse(np.array([[3.0, 4.0]]), np.array([[3.0, 5.0]])) == pytest.approx(1 / 25)


def test_mixed_bits_beat_uniform_ones_of_the_same_size() -> None:
    digits = load_digits()
    model = train(Recipe(LeNet5, 1, 8e-3, 64), digits, silent)
    data = {"images": digits.train_images[:32].numpy()}

    def build(precision: Precision) -> Workload:
        method = Method(observer="mse", weights="mse")
        inputs = (digits.train_images[:1],)
        return to_workload(model, inputs, calibration=data, method=method, precision=precision)

    images = digits.train_images[1000:1128]
    with torch.no_grad():
        wanted = model(images).double().numpy()
    uniform = build(Precision(4, 8))
    inputs = {"images": images.numpy()}
    made = mixed_precision(
        build, inputs, budget_bits=packed_bits(uniform), wanted=wanted, weights=(2, 4, 8)
    )
    assert len(made.options) == 5 * 3
    assert made.size_bits <= packed_bits(uniform)
    assert made.size_bits == packed_bits(build(made.precision))
    assert made.measured <= kl(wanted, sensitivity._outputs(uniform, inputs))
    assert made.measured == pytest.approx(made.predicted, rel=1.0)
    coarse = {o.layer: o.divergence for o in made.options if o.bits.weights == 2}
    fine = {o.layer: o.divergence for o in made.options if o.bits.weights == 8}
    assert sum(coarse.values()) > sum(fine.values())
