"""Compiled kernels beside the numpy reference on this host: writes docs/kernels.md.

Both compute the same drawn images in one run; a word that differs ends it.  Kernels are built with
an empty cache first and found in it afterwards.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.kernels import Network, compile_network
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Workload
from intaglio.examples.networks import Model, lenet5, resnet8, resnet18

PAGE = Path(__file__).parents[1] / "docs" / "kernels.md"
NETWORKS: tuple[tuple[str, Callable[[], Model], int, int], ...] = (
    ("LeNet-5", lenet5, 64, 1024),
    ("ResNet-8", resnet8, 16, 1024),
    ("ResNet-18 at 224 x 224", resnet18, 1, 16),
)
"""Each with the images that the reference computes, and those that the kernels do."""
REPETITIONS = 5
"""Of each measurement; the fastest counts."""

Inputs = dict[str, NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Figures:
    """Images a second of both, seconds of compilation, and the words that were compared."""

    name: str
    reference_rate: float
    kernel_rate: float
    cold_seconds: float
    warm_seconds: float
    words: int
    mismatches: int

    @property
    def ratio(self) -> float:
        """How many times as fast as the reference the kernels are."""
        return self.kernel_rate / self.reference_rate


def seconds(work: Callable[[], object], repetitions: int = REPETITIONS) -> float:
    """The seconds of `work` when it took least."""
    times = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def drawn(workload: Workload, images: int) -> Inputs:
    """Seeded integers over the whole range of every input."""
    random = np.random.default_rng(0)
    tensors = [workload.tensor(name) for name in workload.inputs]
    return {
        tensor.name: random.integers(
            tensor.element.lo, tensor.element.hi + 1, (images, *tensor.shape[1:])
        )
        for tensor in tensors
    }


def measure(name: str, workload: Workload, few: int, many: int, cache: Path) -> Figures:
    """Compile `workload`, compare `few` images and time both; `cache` is empty."""
    cold = seconds(lambda: compile_network(workload, cache=cache), 1)
    warm = seconds(lambda: compile_network(workload, cache=cache), 1)
    network = compile_network(workload, cache=cache)
    sample, batch = drawn(workload, few), drawn(workload, many)
    words, mismatches = compared(workload, network, sample)
    return Figures(
        name,
        few / seconds(lambda: reference.run(workload, sample), 2),
        many / seconds(lambda: network.run(batch)),
        cold,
        warm,
        words,
        mismatches,
    )


def compared(workload: Workload, network: Network, inputs: Inputs) -> tuple[int, int]:
    """How many words of activations were compared, and how many differ."""
    expected = reference.run(workload, inputs)
    found = network.run(inputs, activations=True)
    words = sum(array.size for array in expected.values())
    return words, sum(int((found[name] != array).sum()) for name, array in expected.items())


def measure_all() -> list[Figures]:
    """Every network, with an empty cache."""
    import tvm  # noqa: F401  (its import is no part of a compilation)

    with tempfile.TemporaryDirectory() as folder:
        return [
            measure(name, to_workload(*model()), few, many, Path(folder))
            for name, model, few, many in NETWORKS
        ]


def rate(images: float) -> str:
    """Images a second, to three digits."""
    return f"{images:,.0f}" if images >= 100 else f"{images:.3g}"


def table(figures: list[Figures]) -> list[str]:
    """The rows of the page."""
    lines = [
        "| network | images/s, reference, measured | images/s, kernels, measured | ratio | "
        "compile, measured | from the cache, measured | words that differ |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {f.name} | {rate(f.reference_rate)} | {rate(f.kernel_rate)} | {f.ratio:.0f} | "
        f"{f.cold_seconds:.1f} s | {f.warm_seconds:.2f} s | {f.mismatches} of {f.words} |"
        for f in figures
    ]


def page(figures: list[Figures], load: float) -> str:
    """The text of docs/kernels.md; `load` is the machine's average load of the last minute."""
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("apache-tvm", "numpy"))
    return "\n".join(
        (
            "# The integer network as machine code",
            "",
            "`compiler/kernels` compiles every operator of a workload with TVM and LLVM, to the",
            "same words as the numpy reference:",
            "",
            "```python",
            "from intaglio.compiler.kernels import compile_network",
            "",
            "network = compile_network(workload)  # built kernels are kept in the user's cache",
            "outputs = network.run(inputs)  # any number of images",
            "```",
            "",
            "Convolutions and products run on the processor's 8-bit or 16-bit dot products where",
            "it has them and the weights prove that no sum overflows; elsewhere on plain loops.",
            "It needs the extra `tvm` and a C++ compiler, which links the kernels.",
            "",
            "`intaglio accuracy`, search and the benchmarks run on kernels where the extra and the",
            "compiler are installed and the reference would take as long as compiling: half a",
            "second for each operator, estimated from multiply-accumulates, activations and images",
            "(`compiler/execution.py`).  Below that they run on the reference.  They print which.",
            "`verify` always compares with the reference.",
            "",
            "Made by `python benchmarks/kernels.py`: seeded weights, int8, drawn inputs; the",
            f"fastest of {REPETITIONS} runs.",
            f"Machine: {machine}; load {load:.1f} when the run began; {packages}.",
            "",
            *table(figures),
            "",
        )
    )


def main() -> int:
    """Measure, print and write the page; returns 1 when a word differs."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    load = os.getloadavg()[0]
    figures = measure_all()
    text = page(figures, load)
    PAGE.write_text(text)
    print(text)
    return int(any(f.mismatches for f in figures))


if __name__ == "__main__":
    sys.exit(main())
