"""What keeping tensors on the chip brings on the default npu: writes docs/fusion.md.

Cycles and bytes are simulated, seconds of mapping are measured on this machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Workload
from intaglio.examples.efficientnet import efficientnet_lite0
from intaglio.examples.networks import resnet18
from intaglio.examples.vision import mobilenet_v2
from intaglio.progress import bars
from intaglio.sim.npu import simulate
from intaglio.sim.trace import Trace
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.schedule import mappings, schedule

PAGE = Path(__file__).parents[1] / "docs" / "fusion.md"
DESIGN = NpuDesign()
NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "EfficientNet-Lite0": efficientnet_lite0,
    "MobileNetV2": mobilenet_v2,
    "ResNet-18": resnet18,
}


@dataclass(frozen=True, slots=True)
class Figures:
    """One network: its traces with and without fusion, and the seconds and layers of mapping."""

    name: str
    fused: Trace
    apart: Trace
    seconds: float
    layers: int


def measure(name: str, workload: Workload) -> Figures:
    """Map `workload`, timed, and simulate it both ways."""
    start = time.process_time()
    layers = len(mappings(workload, DESIGN))
    seconds = time.process_time() - start
    fused, apart = (simulate(schedule(workload, DESIGN, fuse=fuse)) for fuse in (True, False))
    return Figures(name, fused, apart, seconds, layers)


def totals(all_figures: Sequence[Figures]) -> list[str]:
    """One row a network."""
    lines = [
        "| network | cycles apart | cycles fused | bytes apart | bytes fused | use of the array, "
        "fused | mapping, ms a layer |",
        "|---|---|---|---|---|---|---|",
    ]
    for figures in all_figures:
        fused, apart = figures.fused, figures.apart
        milliseconds = 1000 * figures.seconds / figures.layers
        lines.append(
            f"| {figures.name} | {apart.cycles} | {fused.cycles} | {moved(apart)} | {moved(fused)} "
            f"| {fused.utilisation:.1%} | {milliseconds:.0f} |"
        )
    return lines


def moved(trace: Trace) -> int:
    """Bytes read and written."""
    return trace.bytes_read + trace.bytes_written


def layers(trace: Trace) -> list[str]:
    """One row a layer: its cycles, its two bounds, and what makes up the rest."""
    lines = [
        "| layer | cycles | bound of the array | bound of memory | longest of the rest |",
        "|---|---|---|---|---|",
    ]
    for layer in trace.layers:
        cause, cycles = layer.limits.cause
        lines.append(
            f"| {layer.name} | {layer.cycles} | {layer.limits.array} | {layer.limits.memory} | "
            f"{cause} {cycles} |"
        )
    return lines


def page(all_figures: Sequence[Figures]) -> str:
    """The text of docs/fusion.md."""
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    design = ", ".join(f"{key} {value}" for key, value in DESIGN.to_dict().items())
    first = all_figures[0]
    return "\n".join(
        (
            "# Tensors that stay on the chip",
            "",
            "Made by `python -m benchmarks.fusion`: one image; cycles and bytes simulated,",
            f"times of mapping measured ({machine}).",
            f"Design: {design}.",
            "",
            *totals(all_figures),
            "",
            "Apart, every operator is a layer and every tensor goes to memory.  Fused, a window",
            "(depthwise convolution or pool) that alone reads what the array makes finds it in the",
            "activation buffer, and what reads the window's results may run beside it; see",
            '[npu.md](npu.md), "Layers".  Mapping is timed by its own use of the processor.',
            "",
            f"## {first.name}, layer by layer, simulated",
            "",
            *layers(first.fused),
            "",
            "The bound of the array is the layer's multiply-accumulates over its multipliers, that",
            "of memory the bytes over those memory moves in a cycle.  The rest: `tiles` are cycles",
            "of the array beyond its bound (tiles that do not fill it, rows made twice), `vector`",
            "those in which the array is idle and the vector or window unit is not, `moves` those",
            "in which only load or store work, `idle` those in which no unit does.",
            "",
        )
    )


def main() -> int:
    """Measure, print and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = []
    with bars() as progress:
        for name, make in NETWORKS.items():
            module, inputs = make()
            found.append(measure(name, to_workload(module, inputs, name=name, progress=progress)))
    text = page(found)
    PAGE.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
