"""Awkward models and data: each works as PyTorch does, or is refused in one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import MatMul, Workload
from intaglio.errors import CaptureError, IntaglioError
from tests.compiler.models import Calls, images, line_of, seeded


def made_of(model: nn.Module, x: Tensor) -> tuple[Workload, list[np.ndarray]]:
    """The workload calibrated on `x`, and its real outputs for it."""
    workload = to_workload(model, (x,), calibration={"x": x.numpy()})
    entries = reference.quantise_inputs(workload, {"x": x.numpy()})
    made = reference.dequantise_outputs(workload, reference.run(workload, entries))
    return workload, [made[name] for name in workload.outputs]


def close(model: nn.Module, x: Tensor) -> Workload:
    """The workload of a model, whose outputs are close to the model's own."""
    workload, found = made_of(model, x)
    with torch.no_grad():
        results = model(x.clone())
    wanted = results if isinstance(results, tuple) else (results,)
    for a, b in zip(found, wanted, strict=True):
        assert np.square(a - b.numpy()).sum() <= 10**-2.8 * max(float(b.square().sum()), 1e-9)
    return workload


def refusal(model: nn.Module, *inputs: Tensor) -> str:
    with pytest.raises(IntaglioError) as caught:
        to_workload(model, inputs)
    return str(caught.value)


def test_a_module_under_two_names_is_one_layer() -> None:
    shared = nn.Linear(6, 6)
    model = seeded(lambda: Calls(lambda m, x: m.b(torch.tanh(m.a(x))), a=shared, b=shared))
    workload = close(model, images(1, 6))
    assert len({op.weight for op in workload if isinstance(op, MatMul)}) == 1


def test_parameters_tied_across_modules_are_one_weight() -> None:
    def build() -> nn.Module:
        first, second = nn.Linear(6, 6), nn.Linear(6, 6)
        second.weight = first.weight
        return Calls(lambda m, x: m.b(torch.tanh(m.a(x))), a=first, b=second)

    workload = close(seeded(build), images(1, 6))
    assert len({op.weight for op in workload if isinstance(op, MatMul)}) == 1


def in_place(model: nn.Module, x: Tensor) -> Tensor:
    y = torch.relu(model.get_submodule("fc")(x))
    y += 1.0
    y.mul_(x)
    return y.clamp_(max=3.0)


def test_operations_in_place_compute_what_pytorch_does() -> None:
    close(seeded(lambda: Calls(in_place, fc=nn.Linear(6, 6))), images(1, 6))


class Assigned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        y = x * 2.0
        y[:, :2] = 0.5
        return y


def test_an_assignment_to_a_part_is_refused() -> None:
    line = line_of(Assigned.forward, "y[:, :2]")
    assert refusal(Assigned().eval(), images(1, 6)) == (
        f"copy ({line}): copy has no integer form; join the parts with torch.cat instead of "
        "assigning to them, or add allow_host=True to run it on the host (1 more: run `intaglio "
        "check`)"
    )


def test_two_outputs_and_one_of_them_twice() -> None:
    workload = close(Calls(lambda m, x: (x.relu(), x * 2.0, x.relu())).eval(), images(1, 6))
    assert len(workload.outputs) == 3


def test_weights_that_are_no_numbers_are_refused() -> None:
    model = seeded(lambda: Calls(lambda m, x: m.fc(x), fc=nn.Linear(6, 6)))
    with torch.no_grad():
        next(model.parameters())[0, 0] = float("nan")
    line = line_of(Calls.forward, "self.function")
    assert refusal(model, images(1, 6)) == (
        f"fc ({line}): its values are NaN or infinite on the calibration data; check the model's "
        "weights and the range of the data"
    )


def test_a_channel_without_variance_is_folded() -> None:
    conv, norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
    model = seeded(lambda: Calls(lambda m, x: m.norm(m.conv(x)), conv=conv, norm=norm))
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert conv.bias is not None
    with torch.no_grad():
        norm.running_var[1] = 0.0
        conv.weight[1] = 0.0
        conv.bias[1] = norm.running_mean[1]
    close(model, images(1, 3, 5, 5))


def test_calibration_of_zeros_alone_gives_finite_numbers() -> None:
    model = seeded(lambda: Calls(lambda m, x: m.fc(x), fc=nn.Linear(6, 6, bias=False)))
    workload, found = made_of(model, torch.zeros(1, 6))
    assert np.array_equal(found[0], np.zeros((1, 6)))
    assert all(np.isfinite(tensor.scale) and tensor.scale > 0 for tensor in workload.activations())


def test_an_input_of_truth_values_is_refused() -> None:
    model = Calls(lambda m, x: x.float()).eval()
    assert refusal(model, torch.ones(1, 4, dtype=torch.bool)) == (
        "input 'x' holds torch.bool; give float32, or int64 for indices such as token ids"
    )


def test_a_batch_of_several_images_is_refused() -> None:
    with pytest.raises(CaptureError) as caught:
        to_workload(Calls(lambda m, x: x.relu()).eval(), (images(2, 4),))
    assert str(caught.value) == (
        "input 'x' has shape (2, 4); give example inputs of batch 1, as in (1, channels, height, "
        "width) (calibration data may hold many images)"
    )
