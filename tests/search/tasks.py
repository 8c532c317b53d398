"""A task small enough to search in a moment: seeded networks, labels by a float network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.search.codesign import Labelled
from intaglio.search.space import Scalar

CLASSES = 4


class Small(nn.Module):
    """A convolution, a pool and a product on 6 x 6 images of two channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, width, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(width * 9, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.conv(images)))
        logits: Tensor = self.fc(torch.flatten(x, 1))
        return logits


def seeded(width: int) -> Small:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(width)
        return Small(width).eval()


@dataclass(frozen=True, slots=True)
class SmallTask:
    """Nothing is learnt: the labels are what the widest float network says."""

    name: str = "small"
    choices: tuple[str, ...] = ("width",)

    def train(self, choices: Mapping[str, Scalar]) -> bytes:
        weights: bytes = safetensors.torch.save(seeded(int(choices["width"])).state_dict())
        return weights

    def workload(
        self, choices: Mapping[str, Scalar], weights: bytes, precision: Precision
    ) -> Workload:
        module = Small(int(choices["width"]))
        module.load_state_dict(safetensors.torch.load(weights))
        images = self.searched().inputs["images"][:4]
        example = (torch.zeros(1, 2, 6, 6),)
        return to_workload(
            module.eval(), example, calibration={"images": images}, precision=precision, name="s"
        )

    def searched(self) -> Labelled:
        return labelled(1, 60)

    def held_back(self) -> Labelled:
        return labelled(2, 40)


def labelled(seed: int, count: int) -> Labelled:
    images = np.random.default_rng(seed).standard_normal((count, 2, 6, 6)).astype(np.float32)
    with torch.no_grad():
        labels = seeded(8)(torch.from_numpy(images)).argmax(1).numpy()
    return Labelled({"images": images}, labels)


def small() -> SmallTask:
    return SmallTask()


def no_task() -> int:
    return 5
