"""How fast the simulator is, beside the RTL it stands for: writes docs/simulation.md.

Every way of running it is timed in processes of its own, on the same artifacts; the RTL of the same
artifacts is run in Verilator, in the same run of this script.  Times are the processor's, as the
machine may have other work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from unittest import mock

from torch import Tensor, nn

from intaglio import api
from intaglio.examples.decoders import gpt2_step
from intaglio.examples.efficientnet import efficientnet_lite0
from intaglio.examples.networks import resnet18
from intaglio.examples.vision import mobilenet_v2
from intaglio.hw.npu_model import Job, NpuModel
from intaglio.progress import bars
from intaglio.sim.npu import simulate
from intaglio.templates.artifact import Artifact
from intaglio.templates.npu.design import NpuDesign

PAGE = Path(__file__).parents[1] / "docs" / "simulation.md"
DESIGN = NpuDesign(rows=16, cols=16, memory_bytes_per_cycle=16)
NETWORKS: dict[str, Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]] = {
    "ResNet-18": resnet18,
    "GPT-2 style, one step after 32": gpt2_step,
    "MobileNetV2": mobilenet_v2,
    "EfficientNet-Lite0": efficientnet_lite0,
}
REPETITIONS = 5
"""Of each measurement with machine code, of which the fastest counts; as Python there is one."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of a process' first simulation of a network, and of its fastest later one."""

    first: float
    later: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One network: its size, the simulator three times, and cycles a second of the RTL.

    `empty` has nothing in the user's cache, `kept` has the machine code, `python` does without.
    """

    name: str
    cycles: int
    rtl_cycles: int
    instructions: int
    empty: Timing
    kept: Timing
    python: Timing
    rtl_rate: float

    @property
    def rate(self) -> float:
        """Cycles simulated a second, program loaded and machine code kept."""
        return self.cycles / self.kept.later

    @property
    def ratio(self) -> float:
        """How many times as fast as the RTL that is."""
        return self.rate / self.rtl_rate


def rtl_rate(artifact: Artifact, cache: Path) -> tuple[int, float]:
    """Cycles of the RTL, every word compared, and how many of them a second Verilator runs."""
    run, jobs = NpuModel.run, []

    def timed(npu: NpuModel, *arguments: int, **options: int) -> Job:
        start = time.process_time()
        job = run(npu, *arguments, **options)  # type: ignore[arg-type]
        jobs.append((job.cycles, time.process_time() - start))
        return job

    with mock.patch.object(NpuModel, "run", timed):
        proof = api.verify(artifact, cache=cache)
    assert proof.passed, proof.first
    cycles, seconds = map(sum, zip(*jobs, strict=True))
    return proof.cycles_rtl, cycles / seconds


def simulated(
    folder: Path, environment: Mapping[str, str], repetitions: int = REPETITIONS
) -> Timing:
    """Simulate an artifact in a new process, whose environment has `environment` too."""
    os.environ.update(environment)
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            return pool.submit(_timed, folder, repetitions).result()
    finally:
        for name in environment:
            del os.environ[name]


def _timed(folder: Path, repetitions: int) -> Timing:
    """Seconds of simulating what is loaded already."""
    programs = Artifact.open(folder).deployment.programs
    seconds = []
    for _ in range(1 + repetitions):
        start = time.process_time()
        for program in programs:
            simulate(program)
        seconds.append(time.process_time() - start)
    return Timing(seconds[0], min(seconds[1:]))


def measure(name: str, folder: Path, caches: Path) -> Figures:
    """Time the artifact in `folder`; hardware and machine code are kept under `caches`."""
    artifact = Artifact.open(folder)
    programs = artifact.deployment.programs
    rtl_cycles, rate = rtl_rate(artifact, caches / "models")
    cold = {"XDG_CACHE_HOME": tempfile.mkdtemp(dir=caches)}
    return Figures(
        name=name,
        cycles=sum(simulate(program).cycles for program in programs),
        rtl_cycles=rtl_cycles,
        instructions=sum(program.count for program in programs),
        empty=simulated(folder, cold),
        kept=simulated(folder, cold),
        python=simulated(folder, {"NUMBA_DISABLE_JIT": "1"}, 1),
        rtl_rate=rate,
    )


def table(found: Sequence[Figures]) -> list[str]:
    """The figures of every network."""
    head = (
        "network",
        "instructions",
        "cycles, simulated",
        "cycles, RTL measured",
        "simulation",
        "cycles a second",
        "RTL in Verilator, cycles a second",
        "ratio",
        "as Python",
        "first, from the cache",
        "first ever, compiled",
    )
    rows = (
        (
            each.name,
            str(each.instructions),
            str(each.cycles),
            str(each.rtl_cycles),
            f"{1e3 * each.kept.later:.1f} ms",
            f"{each.rate / 1e6:.0f} M",
            f"{each.rtl_rate / 1e6:.3f} M",
            f"{each.ratio:.0f}",
            f"{1e3 * each.python.later:.0f} ms",
            f"{each.kept.first:.2f} s",
            f"{each.empty.first:.1f} s",
        )
        for each in found
    )
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def page(found: Sequence[Figures]) -> str:
    """The text of docs/simulation.md."""
    load = os.getloadavg()[1]
    machine = f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}"
    packages = ", ".join(f"{name} {version(name)}" for name in ("numba", "numpy", "verilator"))
    design = ", ".join(f"{key} {value}" for key, value in DESIGN.to_dict().items())
    return "\n".join(
        (
            "# The speed of the simulator",
            "",
            "Made by `python -m benchmarks.simulation`: seeded weights, int8, one image.  Times",
            "are processor's time of one thread, measured in one run, with the program loaded; the",
            "RTL's words are all compared.",
            f"Design: {design}.",
            f"Machine: {machine}; {packages}; {load:.1f} processes at work at the end.",
            "",
            *table(found),
            "",
            "`simulation` is the fastest of five in a process that has simulated the network once.",
            "`as Python` is the same without numba (the extra `fast`): one text, one result, which",
            "`tests/sim/test_machine_code.py` compares.  The first simulation of a process reads",
            "the machine code; the first one ever makes it and keeps it in the user's cache",
            "(`XDG_CACHE_HOME`), 1 MB for each version of the sources.",
            "",
            "The cycles are those of the RTL, and so is what each unit counts: busy, waiting for",
            "a token, stalled, retired.  `tests/sim/test_npu_rtl.py` and",
            "`tests/sim/test_verify_networks.py` compare them, on random programs and networks,",
            "with memory as hw/driver/axi_memory.h has it and without its random stalls.",
            "",
            "Array and vector unit go by closed forms, from event to event, and the window unit",
            "is stepped by itself.  Memory, load and store are stepped cycle by cycle where they",
            "move.  A steady stream, or two that memory serves in turn, is taken in one leap; it",
            "ends where a word meets the vector or the window unit at a port.  So the time goes",
            "with transfers, and a network bound by the array has the most cycles a second.  Of a",
            "decoder's step, in many short programs, reading the programs takes most of the time.",
            "",
        )
    )


def main() -> int:
    """Measure, print and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    found = []
    with tempfile.TemporaryDirectory() as place, bars() as progress:
        for number, (name, make) in enumerate(NETWORKS.items()):
            module, inputs = make()
            folder = Path(place) / str(number)
            api.compile(
                module, inputs, design=DESIGN, output=folder, allow_host=True, progress=progress
            )
            found.append(measure(name, folder, Path(place)))
    text = page(found)
    PAGE.write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
