"""Batch normalisation folds into the layer before it, or becomes a depthwise layer."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn
from torch.nn import functional

from intaglio.compiler.graph import origins
from intaglio.compiler.passes.fold_batch_norm import FoldBatchNorm
from intaglio.compiler.pipeline import to_workload
from intaglio.errors import UnsupportedError
from tests.compiler.models import Calls, Residual, calls, graph_of, images, seeded, settled


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution_takes_gain_and_offset(bias: bool, affine: bool, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 8, 3, bias=bias, groups=groups)
    norm = nn.BatchNorm2d(8, eps=0.01, affine=affine)
    if affine:
        settled(norm)
    norm.running_mean, norm.running_var = torch.randn(8), torch.rand(8) + 0.1
    model = nn.Sequential(conv, norm).eval()
    x = images(1, 4, 6, 6)
    made = FoldBatchNorm()(graph_of(model, x))
    assert calls(made) == ["conv2d"]
    torch.testing.assert_close(made(x), model(x), atol=1e-5, rtol=1e-5)


def test_a_product_takes_gain_and_offset() -> None:
    model = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)))
    x = images(1, 6)
    made = FoldBatchNorm()(graph_of(model, x))
    assert calls(made) == ["linear"]
    torch.testing.assert_close(made(x), model(x), atol=1e-5, rtol=1e-5)


def test_without_a_layer_before_it_becomes_depthwise() -> None:
    model = seeded(lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    x = images(1, 4, 6, 6)
    made = FoldBatchNorm()(graph_of(model, x))
    assert calls(made) == ["conv2d", "relu"]
    torch.testing.assert_close(made(x), model(x), atol=1e-5, rtol=1e-5)


def test_a_layer_that_others_read_is_left_alone() -> None:
    conv, norm = nn.Conv2d(4, 4, 1), settled(nn.BatchNorm2d(4))

    def forward(m: nn.Module, x: torch.Tensor) -> torch.Tensor:
        y = conv(x)
        total: torch.Tensor = norm(y) + y
        return total

    x = images(1, 4, 5, 5)
    model = Calls(forward, conv=conv, norm=norm).eval()
    made = FoldBatchNorm()(graph_of(model, x))
    assert calls(made) == ["conv2d", "conv2d", "add"]
    torch.testing.assert_close(made(x), model(x), atol=1e-5, rtol=1e-5)


def test_features_without_a_layer_keep_their_normalisation() -> None:
    model = seeded(lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4)))
    made = FoldBatchNorm()(graph_of(model, images(1, 4)))
    assert calls(made) == ["relu", "_native_batch_norm_legit_no_training", "getitem"]


def test_a_whole_model_keeps_its_values_and_its_weights() -> None:
    model, x = seeded(Residual), images(1, 3, 8, 8)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    made = FoldBatchNorm()(graph_of(model, x))
    assert "_native_batch_norm_legit_no_training" not in calls(made)
    torch.testing.assert_close(made(x), model(x), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_layer_stands_for_what_it_took() -> None:
    made = FoldBatchNorm()(graph_of(seeded(Residual), images(1, 3, 8, 8)))
    first = made.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default)[0]
    assert origins(first) == ("conv2d", "_native_batch_norm_legit_no_training", "getitem")


class Given(nn.Module):
    """A layer whose weights are given as integers -128 to 127, and a norm of gains 1 and -1."""

    def __init__(self, lowest: int) -> None:
        super().__init__()
        self.fc, self.norm = nn.Linear(3, 2, bias=False), nn.BatchNorm1d(2, eps=0.0)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[-128, 5, 127], [lowest, -7, 127]]) / 64)
            self.norm.weight.copy_(torch.tensor([1.0, -1.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scales, zeros = torch.full((2,), 1 / 64), torch.zeros(2, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(self.fc.weight, scales, zeros, 0, -128, 127)
        scores: torch.Tensor = self.norm(functional.linear(x, weight))
        return scores


def test_a_negative_gain_turns_given_integers_that_have_a_negative() -> None:
    workload = to_workload(Given(-127).eval(), (images(1, 3),))
    (name,) = (name for name in workload.constants if name.endswith(".weight"))
    assert workload.constants[name].tolist() == [[-128, 5, 127], [127, 7, -127]]


def test_a_negative_gain_and_the_lowest_of_eight_bits_are_refused() -> None:
    lines, first = inspect.getsourcelines(Given.forward)
    offset = next(index for index, line in enumerate(lines) if "functional.linear" in line)
    with pytest.raises(UnsupportedError) as caught:
        to_workload(Given(-128).eval(), (images(1, 3),))
    assert str(caught.value) == (
        f"linear (test_fold_batch_norm.py:{first + offset}: {lines[offset].strip()}): a weight of "
        "-128 becomes 128 by the negative gain of a batch norm, or factor, behind it, and 8 signed "
        "bits hold -128 to 127; quantise its weights to a narrow range, -127 to 127"
    )
