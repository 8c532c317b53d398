"""Networks on the meta device: shapes, types and bounds, and no value anywhere."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intaglio import api
from intaglio.compiler.calibration import Method
from intaglio.compiler.capture import is_shapes_only
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.serialise import describe
from intaglio.compiler.workload import Workload
from intaglio.errors import CalibrationError, UnsupportedError
from intaglio.examples.decoders import Model, Sizes, gpt2, llama
from intaglio.examples.networks import lenet5, resnet8
from tests.compiler.models import line_of

SMALL = Sizes(layers=2, width=64, heads=4, hidden=160, vocabulary=100)


def without_values(model: Model) -> Model:
    module, inputs = model
    return copy.deepcopy(module).to("meta"), tuple(value.to("meta") for value in inputs)


def shapes(workload: Workload) -> list[tuple[str, tuple[int, ...], str]]:
    return [(t.name, t.shape, str(t.element)) for t in workload.tensors.values()]


NETWORKS = {
    "lenet": lenet5(),
    "resnet": resnet8(),
    "llama": llama(SMALL, past=16),
    "gpt2": gpt2(SMALL, past=6),
}


@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_operators_shapes_and_types_are_those_of_the_network_with_weights(model: Model) -> None:
    known, unknown = to_workload(*model), to_workload(*without_values(model))
    assert [(type(op), op.name, op.source) for op in unknown.ops] == [
        (type(op), op.name, op.source) for op in known.ops
    ]
    assert shapes(unknown) == shapes(known)
    assert (known.emittable, unknown.emittable) == (True, False)
    assert not unknown.constants
    assert describe(unknown).startswith(f"workload {type(model[0]).__name__} (shapes only)\n")


@pytest.mark.parametrize("model", [NETWORKS["llama"], NETWORKS["gpt2"]], ids=["llama", "gpt2"])
def test_every_node_has_the_verdict_that_it_has_with_weights(model: Model) -> None:
    known, unknown = (api.check(*made, allow_host=True) for made in (model, without_values(model)))
    assert unknown == known


def test_a_model_is_shapes_only_when_one_tensor_is() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert not is_shapes_only(module)
    module[1].to("meta")
    assert is_shapes_only(module)


class Long(nn.Module):
    """A product whose sums may not fit 32 bits."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Linear(1 << 18, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.long(x)
        return y


def test_an_accumulator_is_bounded_by_its_types_alone() -> None:
    with torch.device("meta"):
        model, x = Long().eval(), torch.zeros(1, 1 << 18)
    with pytest.raises(UnsupportedError) as caught:
        to_workload(model, (x,))
    assert str(caught.value) == (
        f"long ({line_of(Long, 'self.long(x)')}): channel 0 can accumulate {2**18 * 128 * 127}, "
        "32 bits hold 2147483647; use fewer weight or activation bits, or split the layer"
    )


@pytest.mark.parametrize(
    "given", [{"method": Method()}, {"calibration": {"images": np.zeros((1, 1, 28, 28))}}]
)
def test_there_is_nothing_to_calibrate(given: dict[str, object]) -> None:
    with pytest.raises(CalibrationError) as caught:
        to_workload(*without_values(lenet5()), **given)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "LeNet5 is on the meta device, so there is nothing to calibrate; load its weights, or "
        "leave out calibration data and method"
    )


class Masked(nn.Module):
    """A softmax under a mask that the model makes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = nn.Buffer(torch.ones(4, 4, dtype=torch.bool).tril())

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(torch.where(self.kept, x, float("-inf")), -1)


def test_a_mask_of_unknown_values_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        to_workload(*without_values((Masked().eval(), (torch.zeros(1, 4, 4),))))
    line = line_of(Masked, "torch.softmax")
    assert str(caught.value) == (
        f"where ({line}): where has no integer form; replace it by supported layers, or run this "
        "part outside the model, or add allow_host=True to run it on the host"
    )
