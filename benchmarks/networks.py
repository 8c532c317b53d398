"""Whole networks on the default npu: writes the table in README.md.

For each network: what becomes of its nodes, its multiply-accumulates and how many of them the npu
does, how close the integer network stays to the float one on inputs that did not calibrate it, and
the simulated cycles of one inference (those of the npu; the host's time is not simulated).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from intaglio import api
from intaglio.compiler import execution, reference
from intaglio.compiler.capture import capture
from intaglio.compiler.execution import COMPUTED_BY, Engine
from intaglio.compiler.model import load_model
from intaglio.compiler.workload import Workload
from intaglio.errors import IntaglioError
from intaglio.progress import bars

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "README.md"
BEGIN, END = "<!-- networks: made by benchmarks/networks.py -->\n", "<!-- end of networks -->\n"
CALIBRATION_IMAGES = 8
IMAGES = 4
NETWORKS: tuple[tuple[str, str], ...] = (
    ("LeNet-5", "lenet5"),
    ("ResNet-8", "resnet8"),
    ("ResNet-18", "resnet18"),
)
"""What a row is called, and the MODEL callable of `intaglio.examples.networks` behind it."""
COLUMNS = (
    "network",
    "nodes mapped / host / refused",
    "MACs",
    "of them on the npu",
    "cosine of integer and float outputs, measured",
    "cycles, simulated",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One network.

    `mapped` counts the nodes that are operators of the npu or part of one, `cosine` is the mean
    over images, of integers that `engine` computes, `cycles` are those of the npu for one image.
    """

    name: str
    mapped: int
    hosted: int
    refused: int
    macs: int
    npu_macs: int
    cosine: float
    engine: Engine
    cycles: int

    def cells(self) -> tuple[str, ...]:
        """The row as it is printed."""
        return (
            self.name,
            f"{self.mapped} / {self.hosted} / {self.refused}",
            f"{self.macs / 1e6:.1f} M",
            f"{self.npu_macs / max(self.macs, 1):.1%}",
            f"{self.cosine:.4f}",
            f"{self.cycles:,}",
        )


def measure(name: str, model: str, folder: Path) -> Row:
    """Check, compile, simulate and run one network; its artifact goes to `folder`."""
    loaded = load_model(model)
    module = loaded.module
    assert isinstance(module, nn.Module)
    report = api.check(module, loaded.example_inputs, allow_host=True)
    if report.refused:
        raise IntaglioError(f"{name}: {report.refused[0]}")
    names = tuple(capture(module, loaded.example_inputs).shapes)
    calibration = _draw(loaded.example_inputs, CALIBRATION_IMAGES, 1)
    with bars() as progress:
        artifact = api.compile(
            module,
            loaded.example_inputs,
            calibration={key: value.numpy() for key, value in zip(names, calibration, strict=True)},
            output=folder,
            name=name,
            allow_host=True,
            progress=progress,
        )
    trace = api.simulate(artifact)
    hosted = sum(row.macs for row in trace.hosted)
    inputs = _draw(loaded.example_inputs, IMAGES, 2)
    workload = artifact.deployment.workload
    engine = execution.chosen(workload, IMAGES)
    return Row(
        name,
        sum(verdict.status in ("mapped", "folded") for verdict in report.verdicts),
        len(report.hosted),
        len(report.refused),
        trace.macs + hosted,
        trace.macs,
        _cosine(module, workload, inputs, engine),
        engine,
        trace.cycles,
    )


def _draw(examples: Sequence[Tensor], images: int, seed: int) -> list[Tensor]:
    """Seeded inputs like the examples: normal numbers, or indices up to the largest example."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for example in examples:
        size = (images, *example.shape[1:])
        if example.dtype.is_floating_point:
            drawn.append(torch.randn(size, generator=generator))
        else:
            drawn.append(torch.randint(int(example.max()) + 1, size, generator=generator))
    return drawn


def _cosine(
    module: nn.Module, workload: Workload, inputs: Sequence[Tensor], engine: Engine
) -> float:
    """The mean over images of the cosine between integer and float values of the first output."""
    named = dict(zip(workload.inputs, (value.numpy() for value in inputs), strict=True))
    run = execution.runner(workload, engine)
    values = run(reference.quantise_inputs(workload, named))
    made = reference.dequantise_outputs(workload, values)[workload.outputs[0]]
    with torch.no_grad():
        wanted = [
            module(*(value[image : image + 1] for value in inputs)) for image in range(IMAGES)
        ]
    first = [one[0] if isinstance(one, tuple) else one for one in wanted]
    pairs = zip(
        made.reshape(IMAGES, -1), (one.double().numpy().ravel() for one in first), strict=True
    )
    return float(np.mean([a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in pairs]))


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    cells = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in rows)]
    return "".join(f"| {' | '.join(row)} |\n" for row in cells)


def write(text: str, page: Path = PAGE) -> None:
    """Put `text` between the markers of `page`."""
    before, rest = page.read_text().split(BEGIN)
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.split(END)[1]}")


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [name for name, _ in NETWORKS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=names, help="print one row, and leave README.md alone")
    return parser.parse_args()


def main() -> int:
    """Measure the networks, print the table, and write it into the README when it is whole."""
    only = arguments().only
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(name, f"intaglio.examples.networks:{model}", Path(folder) / model)
            for name, model in NETWORKS
            if only in (None, name)
        ]
    print(table(rows))
    for row in rows:
        print(f"{row.name}: integers computed by: {COMPUTED_BY[row.engine]}")
    if only is None:
        write(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
