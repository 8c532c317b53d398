"""What a mutant of the npu has to pass: whole jobs, with the words and cycles they must give."""

from __future__ import annotations

import ctypes
import multiprocessing
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Self

from benchmarks.mutation_tasks import (
    WATCHDOG,
    Task,
    copies,
    counting,
    deep,
    failing,
    network,
)
from intaglio.errors import VerificationError
from intaglio.hw.npu_model import DRIVER, Job
from intaglio.hw.verilator import Model, build
from intaglio.progress import Callback
from tests.compiler.builders import every_operator, every_row_operator

STALLS = 300
SECONDS = 60
WORKERS = 2
FAILING_CYCLES = 8000
DRIVER_HEAD = """#include <cstdint>
#include "Vdut.h"
namespace {
uint32_t chosen_mutant = 0;
class MutatedDut : public Vdut {
 public:
  explicit MutatedDut(VerilatedContext* context) : Vdut(context) { mutant_i = chosen_mutant; }
};
}  // namespace
extern "C" void npu_choose_mutant(uint32_t mutant) { chosen_mutant = mutant; }
#define Vdut MutatedDut
"""
"""Before the text of the driver: models made from now on hold the chosen mutant, 0 for none."""


class Verdict(Enum):
    """How a mutant was found out."""

    WORDS = "words"
    STOPS = "stops"
    REPORTS = "reports"
    TIME = "time"
    BLOCK = "block"
    EQUIVALENT = "equivalent"
    LIVES = "lives"

    @property
    def kills(self) -> bool:
        """Whether the mutant was found out."""
        return self not in (Verdict.EQUIVALENT, Verdict.LIVES)


@dataclass(frozen=True, slots=True)
class Bench:
    """The tasks on one library, and what the npu without a fault made of them."""

    library: Path
    networks: tuple[Task, ...]
    failures: tuple[Task, ...]
    jobs: tuple[Job, ...]
    reports: tuple[object, ...]

    @classmethod
    def of(cls, library: Path) -> Self:
        """The bench for `library`; raises VerificationError unless it passes without a fault."""
        choose(library, 0)
        first, second = network(every_operator()), network(deep(), 1)
        counts = replace(counting(), watchdog=WATCHDOG)
        rows = network(every_row_operator(), 2)
        tasks = (first, replace(first, stall_permille=STALLS), copies(), counts, second, rows)
        limit = 1_000_000
        bench = cls(library, tasks, failing(), (), ())
        jobs = tuple(bench._job(task, limit) for task in tasks)
        for task, (job, right) in zip(tasks, jobs, strict=True):
            if job.error or not right:
                raise VerificationError(
                    f"a network of {task.count} instructions fails without a mutant; "
                    "run the tests of the RTL first"
                )
        ended = replace(bench, jobs=tuple(job for job, _ in jobs))
        return replace(ended, reports=ended._reports())

    def verdict(self) -> Verdict:
        """What becomes of the mutant that is chosen."""
        late = False
        for task, good in zip(self.networks, self.jobs, strict=True):
            job, right = self._job(task, 2 * good.cycles + WATCHDOG)
            if job.error:
                return Verdict.STOPS
            if not right:
                return Verdict.WORDS
            timed = (job.cycles, job.marks) == (good.cycles, good.marks)
            if not timed and not task.stall_permille:
                late = True
            counted = (job.units, job.read_beats, job.write_beats, job.waiting)
            if timed and counted != (good.units, good.read_beats, good.write_beats, good.waiting):
                return Verdict.REPORTS
        if late:
            return Verdict.TIME
        return Verdict.LIVES if self._reports() == self.reports else Verdict.REPORTS

    def _job(self, task: Task, limit: int) -> tuple[Job, bool]:
        with task.model(self.library) as npu:
            job = task.run(npu, limit)
            return job, task.after is None or bool((npu.memory == task.after).all())

    def _reports(self) -> tuple[object, ...]:
        """Registers, jobs that fail, and a job after a reset in mid-flight."""
        failures = tuple(self._job(task, FAILING_CYCLES)[0] for task in self.failures)
        return self._registers(), failures, *self._interrupted()

    def _registers(self) -> tuple[int | str, ...]:
        """Every register as it is after reset, and what it holds after a write."""
        with self.networks[0].model(self.library) as npu:
            seen: list[int | str] = [_access(npu.read, offset) for offset in range(0, 0x1B0, 4)]
            for value in (0xA5C3_96F0, 0x5A3C_690F):
                for offset in range(0x010, 0x1A0, 4):
                    seen += [_access(npu.write, offset, value), _access(npu.read, offset)]
            return tuple(seen)

    def _interrupted(self) -> tuple[object, ...]:
        """A job, ended by a soft reset half way, and what the job after it makes."""
        task, good = self.networks[0], self.jobs[0]
        seen: list[object] = []
        with task.model(self.library) as npu:
            for part in (7, 3, 2):
                job = task.run(npu, good.cycles // part)
                seen += [job.error, job.waiting, job.cycles]
            npu.memory[:] = task.before
            job = task.run(npu, 2 * good.cycles)
            return (*seen, job, bool((npu.memory == task.after).all()))


def _access(call: Callable[..., int | None], *values: int) -> int | str:
    try:
        return call(*values) or 0
    except VerificationError as error:
        return str(error)


def choose(library: Path, mutant: int) -> None:
    """Models made from now on in this process hold the fault `mutant`; 0 for none."""
    ctypes.CDLL(str(library)).npu_choose_mutant(ctypes.c_uint32(mutant))


def score(bench: Bench, mutants: Sequence[int], progress: Callback) -> list[Verdict]:
    """The verdict on each of `mutants`, each in a forked process of its own: a fault may end it."""
    found: dict[int, Verdict] = {}
    waiting = list(reversed(mutants))
    running: dict[Connection, _Trial] = {}
    while waiting or running:
        while waiting and len(running) < WORKERS:
            trial = _Trial.start(bench, waiting.pop())
            running[trial.answer] = trial
        ended = wait(list(running), timeout=1)
        late = [one for one, trial in running.items() if time.monotonic() > trial.deadline]
        for one in {*(end for end in ended if isinstance(end, Connection)), *late}:
            trial = running.pop(one)
            found[trial.mutant] = trial.verdict()
            progress("run mutants", len(found), len(mutants))
    return [found[mutant] for mutant in mutants]


@dataclass(frozen=True, slots=True)
class _Trial:
    """One mutant at work; one that dies or never ends has stopped."""

    mutant: int
    process: ForkProcess
    answer: Connection
    deadline: float

    @classmethod
    def start(cls, bench: Bench, mutant: int) -> Self:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(bench, mutant, theirs))
        process.start()
        theirs.close()
        return cls(mutant, process, ours, time.monotonic() + SECONDS)

    def verdict(self) -> Verdict:
        """What the process has answered; it is ended."""
        try:
            return Verdict(self.answer.recv()) if self.answer.poll() else Verdict.STOPS
        except EOFError:
            return Verdict.STOPS
        finally:
            self.process.kill()
            self.process.join()
            self.answer.close()


def _child(bench: Bench, mutant: int, answer: Connection) -> None:
    choose(bench.library, mutant)
    try:
        verdict = bench.verdict()
    except VerificationError:
        verdict = Verdict.STOPS
    answer.send(verdict.value)


def build_mutated(netlist: Path, cache: Path | None, progress: Callback) -> Path:
    """The shared library of `netlist` and the driver, made beside it."""
    main = next(path for path in DRIVER if path.suffix == ".cpp")
    driver = netlist.with_name("mutated_driver.cpp")
    driver.write_text(DRIVER_HEAD + main.read_text())
    headers = tuple(path for path in DRIVER if path.suffix == ".h")
    return build(Model((netlist,), "npu_top", (driver, *headers)), cache=cache, progress=progress)
