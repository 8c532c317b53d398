"""Quantisers of a model behind what moves elements: where their integers are made."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from tests.compiler.models import images, seeded


class Bordered(nn.Module):
    """A quantiser behind a border of one number around a layer."""

    def __init__(self, number: float) -> None:
        super().__init__()
        self.conv, self.number = nn.Conv2d(2, 3, 3), number

    def forward(self, x: Tensor) -> Tensor:
        y = functional.pad(functional.relu(self.conv(x)), (1, 1, 2, 0), value=self.number)
        return torch.fake_quantize_per_tensor_affine(y, 0.125, 0, 0, 15)


@pytest.mark.parametrize(("number", "made"), [(0.0, "u4"), (0.3, "u8"), (9.0, "u8")])
def test_a_border_of_zeros_is_quantised_already(number: float, made: str) -> None:
    """Zeros are zeros at any scale, so the layer makes the integers; other numbers are added."""
    model, x = seeded(lambda: Bordered(number)), images(4, 2, 8, 8)
    workload = to_workload(model, (x[:1],), calibration={"x": x.numpy()})
    assert str(workload.tensor("conv").element) == made
    (output,) = workload.outputs
    assert (str(workload.tensor(output).element), workload.tensor(output).scale) == ("u4", 0.125)
    values = reference.run(workload, reference.quantise_inputs(workload, {"x": x.numpy()}))
    with torch.no_grad():
        wanted = np.round(model(x).numpy() / 0.125)
    assert np.abs(values[output] - wanted).max() <= 1
    border = values[output][:, :, :2]
    assert (border == min(round(number / 0.125), 15)).all()
