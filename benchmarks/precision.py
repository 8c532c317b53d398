"""What bits for each layer bring on real digits, and how well layers alone predict the whole.

`python -m benchmarks.precision` measures, and rewrites the table of docs/precision.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from intaglio.compiler.calibration import Method
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.precision_file import to_toml
from intaglio.compiler.workload import Workload
from intaglio.examples.mnist import RECIPES, Digits, integer_accuracy, load_digits, train
from intaglio.progress import Callback, bars
from intaglio.search.codesign import packed_bits
from intaglio.search.knapsack import Budget, Option
from intaglio.search.sensitivity import Cycles, Mixed, Survey, survey, together
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.template import find_template

PAGE = Path(__file__).resolve().parents[1] / "docs" / "precision.md"
BEGIN, END = "<!-- precision: made by benchmarks/precision.py -->", "<!-- end of precision -->"
CALIBRATION, JUDGED, DRAWN = 64, 128, 24
"""Images of calibration, images that divergences are measured on, and precisions drawn."""
KIB = 8 * 1024
UNIFORM = (2, 3, 4)
"""Bits of all weights, whose sizes are the budgets."""


@dataclass(frozen=True, slots=True)
class Row:
    """Mixed bits beside the same bits everywhere, of the same size.

    Divergences from float are measured on images of training, accuracies on held-out ones.
    """

    bits: int
    size_bits: int
    uniform: float
    uniform_accuracy: float
    mixed: Mixed
    mixed_accuracy: float


@dataclass(frozen=True, slots=True)
class Measured:
    """One network: its rows, and for each precision drawn what was predicted and measured."""

    network: str
    rows: tuple[Row, ...]
    drawn: tuple[tuple[float, float], ...]


def measure(network: str, digits: Digits, progress: Callback) -> Measured:
    """Train, survey every layer, and compare with bits that are the same everywhere."""
    module = train(RECIPES[network], digits, progress)
    images = digits.train_images[CALIBRATION : CALIBRATION + JUDGED]
    with torch.no_grad():
        wanted = module(images).double().numpy()
    build = _builder(module, digits)
    found = survey(
        build,
        {"images": images.numpy()},
        wanted=wanted,
        cycles=Cycles(find_template("npu"), NpuDesign()),
        progress=progress,
    )
    rows = tuple(_row(bits, found, build, digits) for bits in UNIFORM)
    return Measured(network, rows, _drawn(found, progress))


def _builder(module: torch.nn.Module, digits: Digits) -> Callable[[Precision], Workload]:
    """The integer network at a precision, each built once."""
    known: dict[str, Workload] = {}

    def build(precision: Precision) -> Workload:
        key = to_toml(precision)
        if key not in known:
            known[key] = to_workload(
                module,
                (digits.train_images[:1],),
                calibration={"images": digits.train_images[:CALIBRATION].numpy()},
                method=Method(observer="mse", weights="mse"),
                precision=precision,
            )
        return known[key]

    return build


def _row(bits: int, found: Survey, build: Callable[[Precision], Workload], digits: Digits) -> Row:
    uniform = build(Precision(bits, 8))
    mixed = found.within(Budget(packed_bits(uniform)))
    return Row(
        bits,
        packed_bits(uniform),
        found.measure.network(Precision(bits, 8)).divergence,
        integer_accuracy(uniform, digits),
        mixed,
        integer_accuracy(build(mixed.precision), digits),
    )


def _drawn(found: Survey, progress: Callback) -> tuple[tuple[float, float], ...]:
    """Predicted and measured divergence of precisions drawn evenly from a fixed seed."""
    random, pairs = np.random.default_rng(0), []
    for done in range(DRAWN):
        progress("measure drawn precisions", done, DRAWN)
        taken: list[Option] = [layer[random.integers(len(layer))] for layer in found.layers]
        whole = found.measure.network(together(taken))
        pairs.append((found.predicted(taken), whole.divergence))
    return tuple(pairs)


def ranks_agree(pairs: tuple[tuple[float, float], ...]) -> float:
    """Spearman's rank correlation of what was predicted and what was measured."""
    predicted, measured = (np.argsort(np.argsort(column)) for column in zip(*pairs, strict=True))
    return float(np.corrcoef(predicted, measured)[0, 1])


def table(found: list[Measured]) -> str:
    """The rows and the predictions, in Markdown."""
    lines = [
        "| network | size, packed | all weights at | KL measured | accuracy measured | bits of the "
        "layers | KL predicted | KL measured | accuracy measured | cycles, simulated |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for each in found:
        for row in each.rows:
            chosen = " ".join(str(option.bits.weights) for option in row.mixed.chosen)
            lines.append(
                f"| {each.network} | {row.size_bits / KIB:.1f} KiB | {row.bits} | "
                f"{row.uniform:.2e} | {row.uniform_accuracy:.3f} | {chosen} | "
                f"{row.mixed.predicted:.2e} | {row.mixed.measured:.2e} | "
                f"{row.mixed_accuracy:.3f} | {row.mixed.cycles} |"
            )
    return "\n".join([*lines, "", *map(_prediction, found)])


def _prediction(each: Measured) -> str:
    ratios = [measured / predicted for predicted, measured in each.drawn]
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
    return (
        f"{each.network}: of {len(each.drawn)} precisions drawn evenly, measured over predicted "
        f"divergence has the median {middle:.2f} (80 % lie between {low:.2f} and {high:.2f}); "
        f"their ranks correlate by {ranks_agree(each.drawn):.2f} (Spearman).\n"
    )


def main() -> int:
    """Measure both networks, or those that are asked for, and rewrite the table of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", action="append", choices=[*RECIPES], help="measure this one")
    given = parser.parse_args().network
    networks = given or [*RECIPES]
    began, digits = time.monotonic(), load_digits()
    with bars(wanted=True) as progress:
        found = [measure(network, digits, progress) for network in networks]
    asked = "".join(f" --network {name}" for name in networks) if given else ""
    seconds = time.monotonic() - began
    made = f"Made by `python -m benchmarks.precision{asked}` in {seconds:.0f} s."
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    text = f"{before}{BEGIN}\n\n{made}\n\n{table(found)}\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
