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

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.errors import VerificationError
from intaglio.hw.npu_model import Job, MemoryModel, NpuModel
from intaglio.progress import Callback
from intaglio.sim.machine import Machine
from intaglio.sim.verify import MEMORY_BASE
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Instruction, Opcode, Unit, encode
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder, draw_inputs, every_operator

Bytes = NDArray[np.uint8]
DESIGN = NpuDesign(
    rows=8,
    cols=16,
    lanes=8,
    vector_lanes=8,
    activation_buffer_kib=2,
    weight_buffer_kib=4,
    accumulator_buffer_kib=2,
    memory_bytes_per_cycle=4,
    memory_latency_cycles=20,
    name="mutated",
)
"""Small, and with every module: two groups of columns, and two beats of memory in a word."""
PAGE_BYTES = 4096
WATCHDOG, SHORT_WATCHDOG = 2000, 150
STALLS = 300
SECONDS = 60
WORKERS = 2
TOKENS, COPIES, OVERFLOW = 130, 36, 258
LONG = (8, 16, 32, 64)
FAILING_CYCLES = 8000
FAR_BYTES = 1 << 22
SIDES = ("pad_top", "pad_bottom", "pad_left", "pad_right")


class Verdict(Enum):
    """How a mutant was found out."""

    WORDS = "words"
    STOPS = "stops"
    REPORTS = "reports"
    TIME = "time"
    LIVES = "lives"

    @property
    def kills(self) -> bool:
        """Whether the mutant was found out."""
        return self is not Verdict.LIVES


@dataclass(frozen=True, slots=True)
class Task:
    """A program in memory; `after` is the memory that the reference expects, if it does.

    `count` instructions stand at `address`; `latency` and `stall_permille` are the memory's.
    """

    address: int
    count: int
    before: Bytes
    after: Bytes | None
    latency: int
    stall_permille: int = 0
    watchdog: int = WATCHDOG

    def model(self, library: Path) -> NpuModel:
        """A new npu with the task in its memory."""
        memory = MemoryModel(MEMORY_BASE, self.before.size, self.latency, self.stall_permille)
        npu = NpuModel(library, memory, seed=1)
        npu.memory[:] = self.before
        return npu

    def run(self, npu: NpuModel, max_cycles: int) -> Job:
        """The job that a fault-free npu ends within `max_cycles`."""
        return npu.run(self.address, self.count, max_cycles=max_cycles, watchdog=self.watchdog)


def network(workload: Workload, seed: int = 0) -> Task:
    """The task of `workload`, with seeded inputs and everything that must be written inverted."""
    program = schedule(workload, DESIGN)
    values = reference.run(workload, draw_inputs(workload, seed))
    after = np.zeros(-(-program.memory_bytes // PAGE_BYTES) * PAGE_BYTES, np.uint8)
    image = program.memory_image()
    after[: image.size] = image
    before = after.copy()
    for name, layout in program.tensors.items():
        span = slice(layout.address, layout.address + layout.bytes)
        after[span] = layout.pack(values[name])
        before[span] = after[span]
    for layout in program.tensors.values():
        if all(layout.address != program.tensors[given].address for given in program.inputs):
            span = slice(layout.address, layout.address + layout.bytes)
            before[span] = ~after[span]
    return Task(program.program_address, program.count, before, after, DESIGN.memory_latency_cycles)


def deep() -> Workload:
    """Larger numbers of everything: channels, rows, columns, kernels, strides and pads."""
    b = Builder(7)
    x = b.tensor("x", (1, 3, 21, 19))
    y = b.conv("wide", x, 20, (5, 3), (1, 2), (2, 2, 1, 0))
    y = b.conv("far", y, 12, (3, 3), (2, 1), (3, 1, 0, 3), dilation=(2, 3))
    z = b.conv("point", y, 12, (1, 1), residual=y)
    z = b.pool("most", z, "max", (2, 3), (1, 2), (0, 1, 1, 1))
    size = b.tensors[z].shape
    z = b.pool("mean", z, "average", (2, 2), (2, 2))
    size = b.tensors[z].shape
    flat = b.reshape("flat", z, (1, int(np.prod(size))))
    return b.build((x,), (b.matmul("head", flat, 37),))


def failing() -> tuple[Task, ...]:
    """Programs that must end in an error: 1 to 4, and for every pair no token and too many."""
    outside = {
        "planes": 1, "rows": 1, "words": 4, "contiguous": 1, "memory_address": 1 << 30,
    }  # fmt: skip
    good = encode([Instruction(Opcode.SYNC_LOAD)])
    own = good.copy()
    own[0] = encode([Instruction(Opcode.SYNC_VECTOR, push=(Unit.VECTOR,))])[0]
    programs = [own]
    for bit in range(8):
        version, unknown = good.copy(), good.copy()
        version[0, 1] ^= 1 << bit
        programs.append(version)
        for known in Opcode:
            unknown[0, 0] = known ^ 1 << bit
            if int(unknown[0, 0]) not in set(Opcode):
                programs.append(unknown.copy())
    programs += [encode([Instruction(opcode, outside)]) for opcode in (Opcode.LOAD, Opcode.STORE)]
    syncs = (Opcode.SYNC_LOAD, Opcode.SYNC_COMPUTE, Opcode.SYNC_VECTOR, Opcode.SYNC_STORE)
    for unit, opcode in zip(Unit, syncs, strict=True):
        others = [other for other in Unit if other != unit]
        programs += [encode([Instruction(opcode, pop=(other,))]) for other in others]
        programs += [encode([Instruction(opcode, push=(other,))] * OVERFLOW) for other in others]
    return tuple(_bare(words) for words in programs)


def counting() -> Task:
    """Every unit pushes 130 tokens to every other and then takes them; layers of many numbers."""
    syncs = (Opcode.SYNC_LOAD, Opcode.SYNC_COMPUTE, Opcode.SYNC_VECTOR, Opcode.SYNC_STORE)
    random = np.random.default_rng(3)
    layers = random.integers(0, 1 << 16, (TOKENS, len(syncs)))
    order = [(step, unit) for step in range(TOKENS) for unit in Unit]
    others = {unit: tuple(other for other in Unit if other != unit) for unit in Unit}
    push = [
        Instruction(syncs[unit], push=others[unit], layer=int(layers[step, unit]), mark=True)
        for step, unit in order
    ]
    pop = [Instruction(syncs[unit], pop=others[unit], mark=True) for _, unit in order]
    return _bare(encode([*push, *pop]))


def copies() -> Task:
    """Random boxes of memory through both scratchpads' addresses and back, far apart."""
    random = np.random.default_rng(4)
    machine = Machine(DESIGN, FAR_BYTES)
    items = []
    for step in range(COPIES):
        items += _copy(random, step)
    bare = _bare(encode(items), FAR_BYTES)
    machine.memory.write(np.array([0]), bare.before[None], True)
    for item in items:
        machine.execute(item)
    return replace(bare, after=machine.memory.data[: bare.before.size].copy())


def _copy(random: np.random.Generator, step: int) -> list[Instruction]:
    """A LOAD of a random box and a STORE of it elsewhere; each waits for the other.

    The later boxes are long in one direction: a power of two, one by one.
    """
    shape = [int(n) for n in random.integers(1, (4, 5, 8))]
    sides = {side: int(random.integers(0, 3)) for side in SIDES}
    farthest = 1 << 15
    if step >= COPIES - len(LONG) * 3:
        shape = [1, 1, 1]
        shape[step % 3] = LONG[step % len(LONG)]
        sides, farthest = {}, 1 << 10
    planes, rows, words = shape
    local = {
        "local_address": int(random.integers(0, 40)),
        "local_row_stride": words + 4,
        "local_plane_stride": (words + 4) * (rows + 4) if sides else words,
    }
    if not sides:
        local["local_row_stride"] = words
    load, store = (
        {
            "planes": planes,
            "rows": rows,
            "words": words,
            "memory_address": half + 8 * int(random.integers(0, 1 << 14)),
            "memory_row_stride": 8 * int(random.integers(8, farthest)),
            "memory_plane_stride": 8 * int(random.integers(8, farthest)),
            **local,
        }
        for half in (1 << 19, FAR_BYTES // 2)
    )
    load |= sides | {"fill": int(random.integers(0, 256))}
    after = (Unit.STORE,) if step else ()
    return [
        Instruction(Opcode.LOAD, load, pop=after, push=(Unit.STORE,), layer=step),
        Instruction(
            Opcode.STORE, store, pop=(Unit.LOAD,), push=(Unit.LOAD,), layer=step, mark=True
        ),
    ]


def _bare(words: NDArray[np.uint32], size: int = 128 * 1024) -> Task:
    before = np.random.default_rng(5).integers(0, 256, size, np.uint8)
    raw = words.astype("<u4").tobytes()
    before[PAGE_BYTES : PAGE_BYTES + len(raw)] = np.frombuffer(raw, np.uint8)
    return Task(PAGE_BYTES, len(words), before, None, latency=9, watchdog=SHORT_WATCHDOG)


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
        tasks = (first, replace(first, stall_permille=STALLS), copies(), counts, second)
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
