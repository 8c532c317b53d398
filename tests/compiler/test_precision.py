"""Precisions outside 1 to 8 bits are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import nn

from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.workload import Conv2d, MatMul
from intaglio.errors import UsageError
from intaglio.examples.networks import lenet5
from tests.compiler.fake_quantised import compare
from tests.compiler.models import Calls, Residual, images, seeded


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        ((0, 8), "weight precision of 0 bits is outside 1 to 8; choose 1 to 8"),
        ((8, 16), "activation precision of 16 bits is outside 1 to 8; choose 1 to 8"),
        ((8, 4.0), "activation precision is 4.0, expected a whole number of bits, as in 8"),
        ((8, 8, True), "wide precision is True, expected a whole number of bits, as in 8"),
    ],
)
def test_bits_out_of_range(bits: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Precision(*bits)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (
            ("bottleneck",),
            "precision has no wide values called 'bottleneck'; did you mean 'bottlenecks'?",
        ),
        (
            ("sums", 3),
            "precision has no wide values called 3; choose from sums, outputs, bottlenecks, norms, "
            "stem",
        ),
        ("stem", "precision takes wide values as 'stem'; list their names, as in ('sums',)"),
    ],
)
def test_what_is_no_name_of_wide_values(values: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Precision(wide_values=values)
    assert str(caught.value) == sentence


def test_eight_bits_are_the_default() -> None:
    assert Precision() == Precision(8, 8)


def test_layers_have_their_own_bits() -> None:
    model, x = lenet5()
    own = {"conv1": Bits(weights=8), "fc2": Bits(2, 4), "images": Bits(activations=6)}
    workload = to_workload(model, x, precision=Precision(4, 8, layers=own))
    made = {op.name: op for op in workload.ops if isinstance(op, Conv2d | MatMul)}
    weights = {name: workload.tensor(op.weight).element.bits for name, op in made.items()}
    assert weights == {"conv1": 8, "conv2": 4, "fc1": 4, "fc2": 2, "fc3": 4}
    outputs = {name: workload.tensor(op.output).element.bits for name, op in made.items()}
    assert outputs == {"conv1": 8, "conv2": 8, "fc1": 8, "fc2": 4, "fc3": 8}
    assert workload.tensor("images").element.bits == 6
    assert set(np.unique(workload.constants["fc2.weight"])) == {-1, 0, 1}


@pytest.mark.parametrize("precision", [Precision(4, 8), Precision(8, 4)])
def test_mixed_networks_are_their_fake_quantised_form(precision: Precision) -> None:
    own = {"conv1": Bits(2, 8), "conv2": Bits(8, 4)}
    mixed = replace(precision, layers=own)
    made = compare(seeded(Residual), images(1, 3, 16, 16), precision=mixed)
    assert max(made.excess.values()) < 1e-3


@pytest.mark.parametrize(
    ("name", "bits", "sentence"),
    [
        (
            "conv3",
            Bits(weights=4),
            "precision names 'conv3', which the network does not have; did you mean 'conv2'?",
        ),
        (
            "pool",
            Bits(weights=4),
            "precision gives weights of 4 bits to 'pool', which has none; leave them out",
        ),
        (
            "pool",
            Bits(activations=4),
            "precision gives activations of 4 bits to 'pool', which keeps the type of its input; "
            "give them to the layer that makes the input",
        ),
    ],
)
def test_what_a_layer_cannot_have_is_refused(name: str, bits: Bits, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        to_workload(*lenet5(), precision=Precision(layers={name: bits}))
    assert str(caught.value) == sentence


def test_layers_that_share_a_weight_have_its_bits() -> None:
    linear = nn.Linear(4, 4)
    model = Calls(lambda m, x: linear(linear(x).relu()), linear=linear).eval()
    with pytest.raises(UsageError) as caught:
        to_workload(model, (images(1, 4),), precision=Precision(layers={"linear_2": Bits(4)}))
    assert str(caught.value) == (
        "precision gives weights of 4 bits to 'linear_2', which shares those of 'linear'; give "
        "them to 'linear'"
    )


@pytest.mark.parametrize(
    ("layers", "sentence"),
    [
        (
            {"fc": Bits(activations=0)},
            "fc: activation precision of 0 bits is outside 1 to 16; choose 1 to 16",
        ),
        ({"fc": 8}, "fc: precision is 8; give Bits, as in Bits(weights=4)"),
        (
            [("fc", Bits(4))],
            "precision takes layers as list; give names and their bits, as in "
            "{'fc': Bits(weights=4)}",
        ),
    ],
)
def test_what_is_no_bits_of_a_layer(layers: Any, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Precision(layers=layers)
    assert str(caught.value) == sentence
