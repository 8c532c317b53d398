"""Proof by running: the RTL in Verilator against the integer reference, word for word.

For the images of a run (one, or as many as the programs take) the reference computes every
activation tensor of the network once.  Each segment of the accelerator then runs whole, from a
memory that holds the same values at its cuts and in which every word it has to write starts as the
complement of what it must become; afterwards every word of every tensor of every image is compared,
padding lanes included, and everything else in memory must be as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.errors import UsageError, VerificationError
from intaglio.hw.npu_model import Job, MemoryModel, NpuModel, UnitCounters
from intaglio.hw.verilator import Model, build
from intaglio.sim import host, kept, words
from intaglio.sim.failure import sentence
from intaglio.sim.localise import WAVEFORM, Replay, localise
from intaglio.sim.location import Location
from intaglio.sim.npu import simulate
from intaglio.sim.stimulus import stimulus
from intaglio.sim.trace import Trace
from intaglio.sim.verify_report import HostRun, LayerCycles, SegmentReport, VerifyReport
from intaglio.templates.deployment import Deployment, Scheduled
from intaglio.templates.npu.program import Program

Progress = Callable[[str, int, int], None]
Values = Mapping[str, NDArray[np.int64]]

MEMORY_BASE = 0x12_3456_7000
"""Where the memory lies, so that every bit of the address path is used; a multiple of 4 KiB."""
WATCHDOG_CYCLES = 100_000
"""Cycles without progress after which the hardware gives up."""
_PAGE = 4096


@dataclass(frozen=True, slots=True)
class Bench:
    """What is verified: a deployment, on the hardware to build.

    `stall_permille` adds random stalls on every channel: the same words, at other times.
    """

    deployment: Deployment
    hardware: Model
    stall_permille: int = 0


def verify(
    bench: Bench,
    *,
    images: int | None = None,
    data: Mapping[str, NDArray[np.floating]] | None = None,
    seed: int = 0,
    cache: Path | None = None,
    diagnosis: Path | None = None,
    kernels: bool = False,
    progress: Progress | None = None,
) -> VerifyReport:
    """Run `images` images through the RTL and compare every word of every tensor it makes.

    They are those of one run unless given, else of whole runs.
    `data` holds real inputs by name, images along axis 0; without it integers are drawn from `seed`
    over the whole range of each input's type.  `cache` is the folder of built models and kernels.
    With a folder for the `diagnosis` a fault is traced to its instruction, and its waveform is left
    there; the note of a VerificationError says where.  With `kernels` the operators on the host run
    as compiled kernels as well, on the first image.
    Raises UsageError when `images` or `data` do not fit, ToolError when the hardware or a kernel
    cannot be built, UnsupportedError when an operator has no kernel, and VerificationError when the
    hardware stops, breaks a bus rule or writes outside its tensors.
    """
    at_once = bench.deployment.images
    images = at_once if images is None else images
    _check_whole_runs(images, at_once)
    inputs = stimulus(bench.deployment.workload, images, data, seed)
    if diagnosis is not None:
        (diagnosis / WAVEFORM).unlink(missing_ok=True)
    library = build(bench.hardware, cache=cache, progress=progress)
    segments = [_Segment.of(bench, segment) for segment in bench.deployment.scheduled()]
    cause = _Cause(bench, seed, inputs, diagnosis, cache, progress)
    runs: tuple[HostRun, ...] = ()
    if kernels:
        first = reference.run(bench.deployment.workload, _one(inputs, 0))
        runs = host.run(bench.deployment, first, cache=cache, progress=progress)
    with ExitStack() as stack:
        models = [
            stack.enter_context(NpuModel(library, segment.memory, seed)) for segment in segments
        ]
        outcomes = [
            _run(list(zip(segments, models, strict=True)), cause, run)
            for run in range(images // at_once)
        ]
    report = _located(_report(bench, seed, segments, outcomes), segments, outcomes, cause)
    return replace(report, kernels=runs, machine=host.machine() if runs else "")


def _check_whole_runs(images: int, at_once: int) -> None:
    """Raises UsageError when the last of the runs for `images` images would take fewer."""
    if images % at_once:
        raise UsageError(
            f"images is {images}, one run takes {at_once} of them; ask for a multiple of {at_once}"
        )


def _one(inputs: Values, image: int) -> Values:
    return {name: values[image : image + 1] for name, values in inputs.items()}


@dataclass(frozen=True, slots=True)
class _Segment:
    """A segment on the bench: its simulation, and the memory that its hardware runs in."""

    scheduled: Scheduled
    trace: Trace
    memory: MemoryModel
    max_cycles: int

    @classmethod
    def of(cls, bench: Bench, scheduled: Scheduled) -> _Segment:
        """`scheduled`, with room for ten times the cycles that the simulator expects."""
        program, trace = scheduled.program, simulate(scheduled.program)
        memory = MemoryModel(
            MEMORY_BASE,
            -(-program.memory_bytes // _PAGE) * _PAGE,
            program.design.memory_latency_cycles,
            bench.stall_permille,
        )
        slowed = trace.cycles * 1000 // (1000 - min(bench.stall_permille, 999))
        return cls(scheduled, trace, memory, 10 * slowed + 10 * WATCHDOG_CYCLES)


@dataclass(frozen=True, slots=True)
class _Cause:
    """Finds where a fault comes from, when there is a folder for the `diagnosis`."""

    bench: Bench
    seed: int
    inputs: Values
    diagnosis: Path | None
    cache: Path | None
    progress: Progress | None

    @property
    def images(self) -> int:
        """How many images there are."""
        return len(next(iter(self.inputs.values())))

    def values(self, run: int) -> Values:
        """Every activation tensor of the network, the images of a run along axis 0."""
        deployment = self.bench.deployment
        images = range(run * deployment.images, (run + 1) * deployment.images)
        each = [reference.run(deployment.workload, _one(self.inputs, image)) for image in images]
        return {name: np.concatenate([values[name] for values in each]) for name in each[0]}

    def of(self, segment: _Segment, run: int, wrong_byte: int | None = None) -> Location | None:
        """The instruction at fault when `run` went wrong, as far as it can be found."""
        if self.diagnosis is None:
            return None
        program, values = segment.scheduled.program, self.values(run)

        def initial(run: int) -> words.Bytes:
            expected = words.packed(program, self.values(run))
            return words.initial(program, expected, segment.memory.bytes)

        job = Replay(
            program=program,
            hardware=self.bench.hardware,
            memory=segment.memory,
            seed=self.seed,
            run=run,
            inputs={name: values[name] for name in program.inputs},
            initial=initial,
            wrong_byte=wrong_byte,
            max_cycles=segment.max_cycles,
            watchdog=WATCHDOG_CYCLES,
        )
        found = localise(job, self.diagnosis, cache=self.cache, progress=self.progress)
        if found is None or not self.bench.deployment.cut:
            return found
        return replace(found, segment=segment.scheduled.index)


@dataclass(frozen=True, slots=True)
class _Step:
    """The progress of one run in cycles, of which the simulator expects `total`.

    `before` of them belong to the segments that ran already, `own` to the present one.
    """

    name: str
    before: int
    own: int
    total: int
    progress: Progress | None

    def __call__(self, cycles: int) -> None:
        if self.progress is not None:
            self.progress(self.name, self.before + min(cycles, self.own), self.total)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """One run of one segment: what the hardware reported, and what memory held."""

    job: Job
    found: words.Comparison


def _run(segments: Sequence[tuple[_Segment, NpuModel]], cause: _Cause, run: int) -> list[_Outcome]:
    """Every segment on the same values.

    The note of a VerificationError names the segment of a cut network, and the cause if found.
    """
    name = f"run {_numbers(cause, run)} of {cause.images} in RTL"
    total, before = sum(segment.trace.cycles for segment, _ in segments), 0
    values, outcomes = cause.values(run), []
    for segment, npu in segments:
        step = _Step(name, before, segment.trace.cycles, total, cause.progress)
        try:
            outcomes.append(_run_segment(segment, npu, values, run, step))
        except VerificationError as error:
            if cause.bench.deployment.cut:
                error.add_note(f"in segment {segment.scheduled.index} of the network")
            where = cause.of(segment, run)
            if where is not None:
                error.add_note(str(where))
            raise
        before += segment.trace.cycles
    return outcomes


def _numbers(cause: _Cause, run: int) -> str:
    """The images of a run, counted from 1."""
    at_once = cause.bench.deployment.images
    first, last = run * at_once + 1, (run + 1) * at_once
    return f"image {first}" if first == last else f"images {first} to {last}"


def _run_segment(
    segment: _Segment, npu: NpuModel, values: Values, run: int, step: _Step
) -> _Outcome:
    step(0)
    workload, program = segment.scheduled.workload, segment.scheduled.program
    expected = words.packed(program, values)
    before = words.initial(program, expected, npu.memory.size)
    npu.memory[:] = before
    if len(program.kept):
        npu.tap()
    job = npu.run(
        program.program_address,
        program.count,
        max_cycles=segment.max_cycles,
        watchdog=WATCHDOG_CYCLES,
        progress=step,
    )
    if job.error:
        raise VerificationError(sentence(program, job))
    after = npu.memory
    words.check_untouched(program, before, after, expected)
    if len(program.kept):
        after = kept.whole(program, after, npu.tapped(), words.final(program, expected))
    return _Outcome(job, words.compare(workload, program, expected, after, run * program.images))


def _report(
    bench: Bench, seed: int, segments: Sequence[_Segment], outcomes: Sequence[Sequence[_Outcome]]
) -> VerifyReport:
    jobs = [outcome.job for outcome in outcomes[0]]
    parts = tuple(
        _segment_report(segment, runs)
        for segment, runs in zip(segments, zip(*outcomes, strict=True), strict=True)
    )
    return VerifyReport(
        name=bench.deployment.workload.name,
        seed=seed,
        images=len(outcomes) * bench.deployment.images,
        words_compared=sum(part.words_compared for part in parts),
        mismatches=sum(part.mismatches for part in parts),
        first=None,
        cycles_by_image=tuple(cycles for run in outcomes for cycles in _by_image(segments, run)),
        cycles_simulated=sum(part.cycles_simulated for part in parts),
        simulated_by_image=tuple(
            map(sum, zip(*(segment.trace.cycles_by_image for segment in segments), strict=True))
        ),
        layers=tuple(
            layer
            for segment, job in zip(segments, jobs, strict=True)
            for layer in _layer_cycles(segment.scheduled.program, job, segment.trace)
        ),
        units=tuple(map(_sum, zip(*(job.units for job in jobs), strict=True))),
        read_beats=sum(job.read_beats for job in jobs),
        write_beats=sum(job.write_beats for job in jobs),
        segments=parts,
        hosted=tuple(op.name for op in bench.deployment.partition.hosted),
    )


def _segment_report(segment: _Segment, runs: Sequence[_Outcome]) -> SegmentReport:
    return SegmentReport(
        index=segment.scheduled.index,
        words_compared=sum(run.found.words for run in runs),
        mismatches=sum(run.found.mismatches for run in runs),
        cycles_rtl=max(run.job.cycles for run in runs),
        cycles_simulated=segment.trace.cycles,
    )


def _sum(same: tuple[UnitCounters, ...]) -> UnitCounters:
    """The counters of one unit over all segments."""
    return UnitCounters(*map(sum, zip(*map(astuple, same), strict=True)))


def _located(
    report: VerifyReport,
    segments: Sequence[_Segment],
    outcomes: Sequence[Sequence[_Outcome]],
    cause: _Cause,
) -> VerifyReport:
    """`report` with the first difference, of the earliest image and segment, and its cause."""
    for run, parts in enumerate(outcomes):
        for segment, part in zip(segments, parts, strict=True):
            if part.found.first is not None:
                number = segment.scheduled.index if cause.bench.deployment.cut else None
                first = replace(part.found.first, segment=number)
                location = cause.of(segment, run, part.found.wrong_byte)
                return replace(report, first=first, location=location)
    return report


def _edges(job: Job) -> list[int]:
    """0, and the ends of the layers of every image.

    A mark is seen a few cycles after the retirement, always as many; the last retirement ends the
    job, so the job's cycles tell how many.
    """
    return [0] + [cycle + job.cycles - job.marks[-1][1] for _, cycle in job.marks]


def _by_image(segments: Sequence[_Segment], run: Sequence[_Outcome]) -> list[int]:
    """Measured cycles of each image of a run, over all segments."""
    sums = np.zeros(segments[0].scheduled.program.images, np.int64)
    for segment, outcome in zip(segments, run, strict=True):
        ends = _edges(outcome.job)[:: len(segment.scheduled.program.layers)]
        sums += np.diff(ends)
    return sums.tolist()


def _layer_cycles(program: Program, job: Job, trace: Trace) -> tuple[LayerCycles, ...]:
    """A layer runs from the last retirement of the one before it to its own, for every image."""
    spans = np.diff(_edges(job)).reshape(program.images, -1).sum(axis=0)
    return tuple(
        LayerCycles(layer.name, int(measured), layer.cycles)
        for layer, measured in zip(trace.layers, spans, strict=True)
    )
