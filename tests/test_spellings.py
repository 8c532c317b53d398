"""Models as people write them, from PyTorch to words in RTL."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import intaglio
from tests.compiler.models import images, seeded


class FlattenFirst(nn.Module):
    """Functions of single elements behind a flatten, where a residual and a pool precede it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.fc1 = nn.Linear(8 * 4 * 4, 12)
        self.fc2 = nn.Linear(8 * 8 * 8, 12)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)
        pooled = functional.relu(torch.flatten(functional.max_pool2d(y, 2), 1))
        summed = torch.tanh(functional.relu6((self.conv2(y) + y).flatten(1)))
        scores: Tensor = self.fc1(pooled) + self.fc2(summed)
        return scores


@pytest.mark.rtl
def test_functions_behind_a_flatten(tmp_path: Path, model_cache: Path) -> None:
    model, example = seeded(FlattenFirst), (images(1, 3, 8, 8),)
    assert intaglio.check(model, example).ok
    artifact = intaglio.compile(model, example, output=tmp_path / "out")
    names = [op.name for op in artifact.workload.ops]
    assert names == ["conv1", "relu", "max_pool2d", "reshape", "conv2", "reshape_2", "fc2", "fc1"]
    report = intaglio.verify(artifact, images=3, cache=model_cache)
    assert report.passed, str(report)


class Twice(nn.Module):
    """Returns one tensor under three names and another in between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        y = self.conv(x)
        return {"features": y, "rectified": torch.relu(y), "kept": self.drop(y), "again": y}


@pytest.mark.rtl
def test_a_tensor_that_is_returned_more_than_once(tmp_path: Path, model_cache: Path) -> None:
    model, example = seeded(Twice), (images(1, 3, 8, 8),)
    artifact = intaglio.compile(model, example, output=tmp_path / "out")
    assert artifact.workload.outputs == ("conv", "relu", "conv", "conv")
    opened = intaglio.Artifact.open(tmp_path / "out")
    assert opened.workload.outputs == artifact.workload.outputs
    report = intaglio.verify(opened, cache=model_cache)
    assert report.passed, str(report)
