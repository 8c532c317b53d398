"""One design of the sweep: networks drawn for it in RTL, and the smallest of those that fail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st

from benchmarks.sweep_features import features
from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError, UnsupportedError, VerificationError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim.deployment import simulate
from intaglio.sim.hazards import check_tokens
from intaglio.sim.verify import Bench, verify
from intaglio.sim.verify_report import VerifyReport
from intaglio.templates import artifact
from intaglio.templates.deployment import whole
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.schedule import schedule
from tests.properties.blocks import blocks
from tests.properties.workloads import networks
from tests.templates.npu.head_networks import attentions, products
from tests.templates.npu.row_networks import row_networks

_SIMPLER = {
    "row_lanes": (0, 1, 2),
    "weight_bits": (8, 4),
    "window_columns": (1, 2, 3, 4, 5, 6, 7),
    "memory_latency_cycles": (1,),
    "rows": (4, 8, 16, 32),
    "cols": (4, 8, 16, 32),
    "memory_bytes_per_cycle": (4, 8, 16, 32),
}
"""Values that a simpler design may have, the simplest first."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One network that agrees: words of a run without stalls and one with, and its cycles."""

    features: frozenset[str]
    words: int
    cycles_rtl: int
    cycles_simulated: int


@dataclass(frozen=True, slots=True)
class Case:
    """A network on a design, the seed of its inputs, how often memory stalls, images of a run."""

    workload: Workload
    design: NpuDesign
    seed: int
    stall_permille: int
    images: int = 1

    def bench(self) -> Bench:
        """Raises DesignError or UnsupportedError when the design cannot run the network."""
        program = schedule(self.workload, self.design, images=self.images)
        sizes = tuple(parameters(self.design).items())
        hardware = Model(rtl_sources("npu"), "npu_top", DRIVER, sizes, quick=True)
        return Bench(whole(self.workload, program), hardware)

    def compare(self, cache: Path | None) -> Compared:
        """Run it without stalls of memory and with them.

        Raises VerificationError when a word or a cycle differs, or tokens leave an order open,
        besides what `bench` does.
        """
        bench = self.bench()
        check_tokens(bench.deployment.programs[0])
        smooth = verify(bench, seed=self.seed, cache=cache)
        stalling = replace(bench, stall_permille=self.stall_permille)
        stalled = verify(stalling, seed=self.seed, cache=cache)
        for report in (smooth, stalled):
            if report.first is not None:
                raise VerificationError(f"{report.mismatches} words differ: {report.first}")
        self._check_cycles(smooth, bench)
        return Compared(
            features(self.workload, bench.deployment.programs[0]),
            smooth.words_compared + stalled.words_compared,
            smooth.cycles_rtl,
            smooth.cycles_simulated,
        )

    def _check_cycles(self, report: VerifyReport, bench: Bench) -> None:
        """Raises VerificationError unless layers, and what each unit counts, are as simulated."""
        for layer in report.layers:
            if layer.simulated != layer.rtl:
                raise VerificationError(
                    f"layer '{layer.name}': simulated are {layer.simulated} cycles, the RTL takes "
                    f"{layer.rtl}"
                )
        runs = report.images // report.images_at_once
        if report.simulated_by_image * runs != report.cycles_by_image:
            raise VerificationError(
                f"images are simulated to end after {report.simulated_by_image} cycles, in the RTL "
                f"after {report.cycles_by_image}"
            )
        units = tuple(unit.counters for unit in simulate(bench.deployment).units)
        if units != report.units:
            raise VerificationError(f"simulated are {units}, the RTL counts {report.units}")

    def fault(self, cache: Path | None) -> BaseException | None:
        """What is wrong with it, if anything."""
        try:
            self.compare(cache)
        except (DesignError, UnsupportedError):
            return None
        except Exception as error:  # whatever it is, it is a bug
            return error
        return None


@dataclass(frozen=True, slots=True)
class Failure:
    """The smallest case that was found to fail, and how."""

    case: Case
    reason: str


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of one design: its networks, why others do not fit it, and what failed."""

    design: NpuDesign
    compared: tuple[Compared, ...]
    refused: tuple[str, ...]
    failure: Failure | None = None


def drawn(design: NpuDesign) -> st.SearchStrategy[Workload]:
    """Networks for `design`: of feature maps and, where there are row lanes, of rows and heads."""
    maps = st.one_of(networks(), blocks())
    if not design.row_lanes:
        return maps
    return st.one_of(maps, st.one_of(row_networks(), attentions(design.lanes), products()))


def sweep(design: NpuDesign, number: int, count: int, cache: Path | None) -> Swept:
    """Run `count` networks on `design`, always the same for a `number`."""
    compared: list[Compared] = []
    refused: list[str] = []
    failing: list[tuple[Case, Exception]] = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given(drawn(design), st.integers(0, 1 << 16), st.integers(1, 600), st.sampled_from((1, 1, 2)))
    def run(workload: Workload, words: int, stalls: int, images: int) -> None:
        case = Case(workload, design, words, stalls, images)
        try:
            compared.append(case.compare(cache))
        except (DesignError, UnsupportedError) as error:
            refused.append(str(error))
            reject()
        except Exception as error:
            failing.append((case, error))
            raise

    try:
        run()
    except Exception as error:
        if not failing:
            raise
        case, reason = _smaller(failing[-1][0], error, cache)
        failure = Failure(case, f"{type(reason).__name__}: {reason}")
        return Swept(design, tuple(compared), tuple(refused), failure)
    return Swept(design, tuple(compared), tuple(refused))


def _smaller(case: Case, reason: BaseException, cache: Path | None) -> tuple[Case, BaseException]:
    """`case` on the simplest design on which it still fails, and how it does."""
    for key in _SIMPLER:
        for design in _simplified(case.design, key):
            found = replace(case, design=design)
            fault = found.fault(cache)
            if fault is not None:
                case, reason = found, fault
                break
    return case, reason


def _simplified(design: NpuDesign, key: str) -> Iterator[NpuDesign]:
    """`design` with each simpler value of `key`."""
    given = design.to_dict()
    for value in _SIMPLER[key]:
        if value == given[key]:
            return
        yield NpuDesign.repaired({**given, key: value})


def leave(case: Case, folder: Path) -> bool:
    """Write the artifact of `case` to `folder`, if it gets as far as a program."""
    try:
        deployment = case.bench().deployment
    except Exception:  # then that is the fault
        return False
    artifact.write(folder, deployment, info={}, force=True)
    return True
