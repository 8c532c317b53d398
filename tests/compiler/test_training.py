"""Training with the integer meaning: what is trained is what the integer network computes."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.training import LEAST_ERROR, Trainable, prepare_training
from intaglio.compiler.workload import Workload
from intaglio.errors import UnsupportedError, UsageError
from intaglio.examples.mnist import Recipe, float_accuracy, load_digits, one_thread, train
from intaglio.examples.networks import LeNet5
from intaglio.progress import silent
from tests.compiler.fake_quantised import judge
from tests.compiler.models import Residual, TwoInputs, images, seeded

INT4, TERNARY = Precision(4, 4), Precision(2, 8)


def trained(network: Trainable, inputs: Tensor, labels: Tensor, rate: float = 2e-3) -> list[float]:
    """Train for one epoch in batches of 64; the loss of every batch."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate)
    losses = []
    for batch, wanted in zip(inputs.split(64), labels.split(64), strict=True):
        logits = network(batch)
        assert isinstance(logits, Tensor)
        loss = functional.cross_entropy(logits, wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def integer_outputs(workload: Workload, batch: Tensor) -> NDArray[np.floating]:
    """What the integer network returns, in real numbers."""
    floats = {workload.inputs[0]: batch.numpy()}
    values = reference.run(workload, reference.quantise_inputs(workload, floats))
    (made,) = reference.dequantise_outputs(workload, values).values()
    return made


def real_outputs(network: nn.Module, batch: Tensor) -> NDArray[np.floating]:
    """What a network returns, without gradients and in float64."""
    with torch.no_grad():
        made: NDArray[np.floating] = copy.deepcopy(network).double()(batch.double()).numpy()
    return made


@pytest.mark.parametrize("precision", [INT4, TERNARY])
def test_trained_digits_are_named_alike_in_integers(precision: Precision) -> None:
    digits = load_digits()
    with torch.random.fork_rng(devices=()), one_thread():
        started = train(Recipe(LeNet5, 1, 8e-3, 64), digits, silent)
        network = prepare_training(
            started,
            (digits.train_images[:1],),
            calibration={"images": digits.train_images[:16].numpy()},
            precision=precision,
        )
        before = float_accuracy(network, digits)
        trained(network, digits.train_images[:2048], digits.train_labels[:2048])
        fake = real_outputs(network, digits.test_images)
    workload = network.workload()
    made = integer_outputs(workload, digits.test_images)
    assert float((made.argmax(1) == fake.argmax(1)).mean()) == 1.0
    np.testing.assert_allclose(made, fake, atol=1e-9)
    assert (made.argmax(1) == digits.test_labels.numpy()).mean() > before + 0.005


@pytest.mark.parametrize("precision", [Precision(), INT4, TERNARY])
def test_every_word_of_a_trained_residual_network_is_its_fake_quantised_form(
    precision: Precision,
) -> None:
    batch = images(64, 3, 16, 16)
    network = prepare_training(
        seeded(Residual),
        (batch[:1],),
        calibration={"x": batch[:4].numpy()},
        precision=precision,
    )
    outputs = network(batch)
    assert isinstance(outputs, Tensor)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    outputs.square().mean().backward()
    optimiser.step()
    made = judge(network.quantised(), network.plan, batch[:1])
    assert made.compared > 3000
    assert max(made.excess.values()) < 1e-3
    fake, integer = real_outputs(network, batch), integer_outputs(network.workload(), batch)
    np.testing.assert_allclose(integer, fake, atol=1e-9)


def test_untrained_it_is_the_workload_of_its_model() -> None:
    x = images(1, 3, 16, 16)
    network = prepare_training(seeded(Residual), (x,), precision=INT4, seed=3)
    wanted = to_workload(
        seeded(Residual), (x,), precision=INT4, seed=3, method=LEAST_ERROR, name="Residual"
    )
    made = network.workload()
    assert (made.name, made.ops, made.tensors) == (wanted.name, wanted.ops, wanted.tensors)
    for name, array in wanted.constants.items():
        np.testing.assert_array_equal(made.constants[name], array)


def test_training_leaves_the_model_and_goes_on_after_a_workload() -> None:
    x, model = images(1, 3, 16, 16), seeded(Residual)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = prepare_training(model, (x,), precision=INT4)
    names = [name for name, _ in network.named_parameters()]
    assert len(names) == len(set(names)) > 0
    first = network.workload()
    with torch.no_grad():
        for value in network.parameters():
            value.mul_(-1)
    second = network.workload()
    assert any(
        not np.array_equal(first.constants[name], second.constants[name])
        for name in first.constants
    )
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_gradients_pass_within_the_range_alone() -> None:
    linear = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(2))
    data = np.array([[1.0, -1.0]], np.float32)
    network = prepare_training(linear.eval(), (torch.zeros(1, 2),), calibration={"input": data})
    x = torch.tensor([[0.5, -3.0]], requires_grad=True)
    outputs = network(x)
    assert isinstance(outputs, Tensor)
    outputs.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.tensor([[1.0, 0.0]]), atol=0.01, rtol=0)


def test_several_inputs_and_what_does_not_fit() -> None:
    left, right = images(1, 3, 5, 5), images(1, 2, 5, 5)
    network = prepare_training(seeded(TwoInputs), (left, right))
    outputs = network(images(7, 3, 5, 5), images(7, 2, 5, 5))
    assert all(len(value) == 7 for value in ([outputs] if isinstance(outputs, Tensor) else outputs))
    with pytest.raises(UsageError) as caught:
        network(left)
    assert str(caught.value) == (
        "TwoInputs takes 2 inputs (left, right), 1 were given; give one tensor for each"
    )
    with pytest.raises(UsageError) as caught:
        network(images(7, 3, 5, 4), right)
    assert str(caught.value) == (
        "input 'left' of TwoInputs has shape (7, 3, 5, 4), the network takes (images, 3, 5, 5); "
        "reshape it"
    )


def test_a_model_without_weights_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        prepare_training(seeded(Residual).to("meta"), (images(1, 3, 8, 8).to("meta"),))
    assert str(caught.value) == (
        "Residual is on the meta device, so there is nothing to train; load its weights"
    )
