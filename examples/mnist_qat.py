"""LeNet-5 and ResNet-8 with weights of 4, 2 and 1 bits: train, round, train on, verify.

`python -m intaglio.examples.mnist_qat` trains both networks in float, as `examples.mnist` does,
rounds them to integers, trains on with `intaglio.qat`, and verifies the RTL on real digits.
"""

from __future__ import annotations

import copy
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from intaglio import api
from intaglio.compiler import reference
from intaglio.compiler.precision import Precision
from intaglio.compiler.training import Trainable
from intaglio.examples.mnist import (
    CALIBRATION_IMAGES,
    RECIPES,
    Digits,
    float_accuracy,
    integer_accuracy,
    load_digits,
    one_thread,
    train,
)
from intaglio.progress import Callback, bars


@dataclass(frozen=True, slots=True)
class Tuning:
    """A precision, how long to train with it, and how much accuracy it may cost, as a share."""

    name: str
    precision: Precision
    epochs: int
    peak_rate: float
    allowed: float
    batch: int = 64


TUNINGS = (
    Tuning("weights and activations of 4 bits", Precision(4, 4), 3, 2e-3, 0.01),
    Tuning("weights -1, 0, 1, activations of 8 bits", Precision(2, 8), 3, 4e-3, 0.02),
    Tuning("weights -1 and 1, activations of 8 bits", Precision(1, 8), 6, 4e-3, 0.02),
)


@dataclass(frozen=True, slots=True)
class Row:
    """Shares of the held-out digits named correctly, and what the RTL's words said.

    rounded  the integer network before training with its rounding
    trained  the integer network after it
    agreed   digits on which the integer network and the trained module name the same class
    """

    network: str
    tuning: Tuning
    real: float
    rounded: float
    trained: float
    agreed: float
    words_compared: int
    mismatches: int

    @property
    def lost(self) -> float:
        """Accuracy given up against the float network, as a share."""
        return self.real - self.trained


def tune(network: Trainable, tuning: Tuning, digits: Digits, progress: Callback) -> None:
    """Train on, with the rounding of the integers; AdamW under a one-cycle learning rate."""
    with torch.random.fork_rng(devices=()), one_thread():
        torch.manual_seed(0)
        steps = -(-len(digits.train_labels) // tuning.batch) * tuning.epochs
        optimiser = torch.optim.AdamW(network.parameters(), lr=tuning.peak_rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, tuning.peak_rate, total_steps=steps
        )
        for epoch in range(tuning.epochs):
            progress(f"train with {tuning.name}", epoch, tuning.epochs)
            for batch in torch.randperm(len(digits.train_labels)).split(tuning.batch):
                logits = network(digits.train_images[batch])
                loss = nn.functional.cross_entropy(logits, digits.train_labels[batch])
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
        progress(f"train with {tuning.name}", tuning.epochs, tuning.epochs)


def agreement(network: Trainable, digits: Digits) -> float:
    """The share of held-out digits that the module, in float64, and its integers name alike."""
    workload = network.workload()
    floats = {workload.inputs[0]: digits.test_images.numpy()}
    values = reference.run(workload, reference.quantise_inputs(workload, floats))
    with torch.no_grad():
        named = copy.deepcopy(network).double()(digits.test_images.double()).argmax(1).numpy()
    return float((values[workload.outputs[0]].argmax(1) == named).mean())


def run(
    network: str, module: nn.Module, tuning: Tuning, digits: Digits, images: int, progress: Callback
) -> Row:
    """Tune a trained float `module`, compile it, and verify its RTL on `images` real digits."""
    trainable = api.qat(
        module,
        (digits.train_images[:1],),
        calibration={"images": digits.train_images[:CALIBRATION_IMAGES].numpy()},
        precision=tuning.precision,
        name=network,
    )
    rounded = integer_accuracy(trainable.workload(), digits)
    tune(trainable, tuning, digits, progress)
    with tempfile.TemporaryDirectory() as folder:
        artifact = api.compile(trainable, output=Path(folder) / network, progress=progress)
        data = {"images": digits.test_images[:images].numpy()}
        proof = api.verify(artifact, images=images, data=data, progress=progress)
    return Row(
        network=network,
        tuning=tuning,
        real=float_accuracy(module, digits),
        rounded=rounded,
        trained=integer_accuracy(artifact.workload, digits),
        agreed=agreement(trainable, digits),
        words_compared=proof.words_compared,
        mismatches=proof.mismatches,
    )


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| network | integers | float | rounded | trained | lost, points | same class as the "
        "trained module | words of the RTL, different |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.network} | {row.tuning.name} | {row.real:.3f} | {row.rounded:.3f} | "
        f"{row.trained:.3f} | {round(100 * row.lost, 1) + 0.0:.1f} | {row.agreed:.3f} | "
        f"{row.words_compared}, {row.mismatches} |"
        for row in rows
    ]
    return "\n".join(lines)


def measure(progress: Callback, images: int = 4) -> list[Row]:
    """Both networks at every precision."""
    digits, rows = load_digits(), []
    for network, recipe in RECIPES.items():
        module = train(recipe, digits, progress)
        rows += [run(network, module, tuning, digits, images, progress) for tuning in TUNINGS]
    return rows


def main() -> int:
    """Print the table; returns 1 when a word differs or more is lost than allowed."""
    with bars() as progress:
        rows = measure(progress)
    print(table(rows))
    return int(any(row.mismatches or row.lost > row.tuning.allowed for row in rows))


if __name__ == "__main__":
    sys.exit(main())
