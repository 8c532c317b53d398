"""Weights and activations of one bit: -1 and +1, from PyTorch to packed integers."""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import numerics, reference
from intaglio.compiler.calibration import Method
from intaglio.compiler.passes.observers import SignObserver
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.serialise import describe, load_workload, save_workload
from intaglio.compiler.tensor import BIPOLAR
from intaglio.compiler.training import FakeQuantised, prepare_training
from intaglio.compiler.workload import MatMul
from intaglio.errors import UnsupportedError, UsageError
from tests.compiler.fake_quantised import compare, judge
from tests.compiler.models import Signs, images, seeded

BINARY = Precision(1, 1)


@pytest.mark.parametrize(
    "precision",
    [BINARY, Precision(1, 3), Precision(2, 1), Precision(8, 1)],
)
def test_every_value_is_its_fake_quantised_form(precision: Precision) -> None:
    made = compare(seeded(Signs), images(1, 2, 12, 12), precision=precision)
    assert made.compared > 500
    assert max(made.excess.values()) < 1e-3


def test_signs_are_between_layers_and_the_borders_keep_eight_bits() -> None:
    workload = to_workload(seeded(Signs), (images(1, 2, 12, 12),), precision=BINARY)
    kinds = {tensor.name: str(tensor.element) for tensor in workload.activations()}
    assert kinds == {
        "x": "i8",
        "mul": "i8",
        "conv1": "b1",
        "pool": "b1",
        "conv2": "b1",
        "conv3": "b1",
        "cat": "b1",
        "relu": "u1",
        "reshape": "u1",
        "sigmoid": "u8",
    }
    weights = [name for name in workload.constants if name.endswith(".weight")]
    for name in weights:
        assert workload.tensor(name).element == BIPOLAR
        assert set(np.unique(workload.constants[name])) == {-1, 1}
    thresholds = workload.constants["conv2.multiplier"], workload.constants["conv2.shift"]
    assert [set(array) for array in thresholds] == [{1}, {1}]


@settings(max_examples=60)
@given(st.data())
def test_a_threshold_is_the_rule_for_every_accumulator(data: st.DataObject) -> None:
    reach = data.draw(st.integers(1, 3000))
    scale = data.draw(st.floats(1e-6, 1e3))
    wanted = data.draw(st.one_of(st.just(0.0), st.floats(-1.5 * reach, 1.5 * reach)))
    bias = wanted * scale
    made = numerics.choose_threshold("fc", np.array([scale]), np.array([bias]), np.array([reach]))
    acc = np.arange(-reach, reach + 1)
    got = numerics.requantise(acc[None], made.multiplier, made.shift, made.bias, 0, 1, axis=0)
    np.testing.assert_array_equal(got[0], acc * scale + bias >= 0)


class Normed(nn.Module):
    """A batch norm ahead of a bound, with gains of both signs."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(9, 6), nn.BatchNorm1d(6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc2(functional.hardtanh(self.norm(self.fc1(x))))
        return scores


def test_a_batch_norm_of_negative_gain_turns_its_signs() -> None:
    model, x = seeded(Normed), images(64, 9)
    assert isinstance(model, Normed)
    with torch.no_grad():
        model.norm.weight.copy_(torch.tensor([-2.0, -0.5, -1e-3, 1e-3, 0.5, 2.0]))
        model.norm.bias.uniform_(-0.01, 0.01)
    whole = Precision(8, 8, layers={"fc1": Bits(1, 1)})
    workload = to_workload(model, (x[:1],), calibration={"x": x.numpy()}, precision=whole)
    entered = reference.quantise_inputs(workload, {"x": x.numpy()})
    made = reference.run(workload, entered)["fc1"]
    with torch.no_grad():
        signs = torch.where(model.fc1.weight >= 0, 1.0, -1.0).double()
        scales = model.fc1.weight.double().abs().mean(1)
        read = torch.from_numpy(entered["x"]).double() * workload.tensor("x").scale
        sums = read @ (signs * scales[:, None]).T + model.fc1.bias.double()
        real = copy.deepcopy(model.norm).double()(sums)
    # Where a sum is clear of its threshold; the scales are raised to what a multiplier holds.
    clear = (real.abs() > 1e-3 * real.abs().amax(0)).numpy()
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(made[clear], np.where(real.numpy() >= 0, 1, -1)[clear])


def test_what_is_trained_is_what_the_integers_compute(tmp_path: Path) -> None:
    batch = images(48, 2, 12, 12)
    network = prepare_training(
        seeded(Signs), (batch[:1],), calibration={"x": batch[:8].numpy()}, precision=BINARY
    )
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    before = network.workload().constants
    for _ in range(4):
        loss = (network(batch) - 0.7).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    made = judge(network.quantised(), network.plan, batch[:1])
    assert max(made.excess.values()) < 1e-3
    workload = network.workload()
    assert any((before[n] != workload.constants[n]).any() for n in before if n.endswith("weight"))
    values = reference.run(workload, reference.quantise_inputs(workload, {"x": batch.numpy()}))
    with torch.no_grad():
        fake = copy.deepcopy(network).double()(batch.double()).numpy()
    (integer,) = reference.dequantise_outputs(workload, values).values()
    np.testing.assert_allclose(integer, fake, atol=1e-9)
    save_workload(workload, tmp_path)
    assert describe(load_workload(tmp_path)) == describe(workload)


def test_signs_lose_their_gradient_beyond_two_steps() -> None:
    observer = SignObserver(torch.int8, -1, 1)
    observer(torch.tensor([0.25, -0.75]))
    x = torch.tensor([-1.01, -0.99, -1e-4, 0.0, 0.99, 1.01], requires_grad=True)
    made = FakeQuantised(observer)(x)
    assert made.tolist() == [-0.5, -0.5, -0.5, 0.5, 0.5, 0.5]
    made.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


@pytest.mark.parametrize("method", [Method(correct_bias=True), Method(rounding="compensated")])
def test_weights_rounded_on_data_are_signs_too(method: Method) -> None:
    batch = images(8, 2, 12, 12)
    workload = to_workload(
        seeded(Signs),
        (batch[:1],),
        calibration={"x": batch.numpy()},
        precision=BINARY,
        method=method,
    )
    for op in workload.ops:
        if isinstance(op, MatMul):
            assert set(np.unique(workload.constants[op.weight])) == {-1, 1}


class Padded(nn.Module):
    """A convolution that pads, behind one whose values are signs."""

    def __init__(self, second: int = 1) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 2, 3, padding=second)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(self.first(x)))


class Framed(Padded):
    """Zeros as channels of their own."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(functional.pad(self.first(x), (0, 0, 0, 0, 1, 0))[:, 1:]))


class Averaged(Padded):
    """Averages that count the padding."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.second(functional.avg_pool2d(self.first(x), 3, 1, padding=1)))


class Enlarged(Padded):
    """Pixels between pixels."""

    def forward(self, x: Tensor) -> Tensor:
        y = functional.interpolate(self.first(x), (9, 9), mode="bilinear")
        return cast(Tensor, self.second(y))


@pytest.mark.parametrize(
    ("model", "name", "what"),
    [
        (Padded(), "second", "pads it with 0"),
        (Framed(), "constant_pad_nd", "pads it with 0"),
        (Averaged(), "avg_pool2d", "averages it with 0 around it"),
        (Enlarged(), "upsample_bilinear2d", "interpolates, which makes 0 between them"),
    ],
)
def test_zeros_among_signs_are_refused(model: nn.Module, name: str, what: str) -> None:
    lines, first = inspect.getsourcelines(model.forward)
    with pytest.raises(UnsupportedError) as caught:
        to_workload(model.eval(), (images(1, 2, 6, 6),), precision=BINARY)
    assert str(caught.value) == (
        f"{name} (test_one_bit.py:{first + 1}: {lines[1].strip()}): reads 'first', which holds -1 "
        f"and +1 alone, and {what}, which is neither; leave the padding out, or give that value 2 "
        "bits of activations or more"
    )


def test_padding_an_input_of_eight_bits_is_exact() -> None:
    made = compare(Padded(0).eval(), images(1, 2, 6, 6), precision=BINARY)
    assert max(made.excess.values()) < 1e-3


def test_an_input_of_one_bit_is_refused() -> None:
    bits = Precision(1, 1, layers={"x": Bits(activations=1)})
    with pytest.raises(UsageError) as caught:
        to_workload(seeded(Signs), (images(1, 2, 12, 12),), precision=bits)
    assert str(caught.value) == (
        "precision gives activations of 1 bit to 'x', which no layer makes; give it 2 bits or more"
    )


class Written(nn.Module):
    """Signs as a model writes them out, after a layer, a pool, padding and an input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3, padding=1)
        self.second = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.max_pool2d(self.first(x), 2)
        y = self.second(torch.where(y >= 0, 0.75, -0.75))
        return torch.where(functional.pad(y, (1, 0)) >= 0, 2.0, -2.0), torch.where(
            x >= 0, 3.0, -3.0
        )


def test_signs_that_a_model_writes_out_keep_their_scale() -> None:
    model, x = Written().eval(), images(1, 2, 8, 8)
    made = compare(model, x, precision=Precision(8, 6))
    assert max(made.excess.values()) < 1e-3
    workload = to_workload(model, (x,), precision=Precision(8, 6))
    kinds = {tensor.name: (str(tensor.element), tensor.scale) for tensor in workload.activations()}
    assert kinds["first"] == kinds["max_pool2d"] == ("b1", 0.75)
    assert kinds["second"][0] == "i6"
    returned = [kinds[name] for name in workload.outputs]
    assert returned == [("b1", 2.0), ("b1", 3.0)]
    values = reference.run(workload, reference.quantise_inputs(workload, {"x": x.numpy()}))
    wanted = model(x)[1].numpy() / 3
    near = np.abs(x.numpy()) < workload.tensor("x").scale
    np.testing.assert_array_equal(values[workload.outputs[1]][~near], wanted[~near])


def test_without_values_the_types_are_the_same() -> None:
    model, x = seeded(Signs), images(1, 2, 12, 12)
    known = to_workload(model, (x,), precision=BINARY)
    shapes = to_workload(model.to("meta"), (x.to("meta"),), precision=BINARY)
    kinds = ({name: t.element for name, t in made.tensors.items()} for made in (known, shapes))
    wanted, found = kinds
    assert found == {name: wanted[name] for name in found}
    assert shapes.tensor("conv2.weight").element == BIPOLAR
