"""`Deployment`: a workload as an accelerator and its host run it, segment after segment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from intaglio.compiler.partition import (
    AcceleratorSegment,
    HostSegment,
    Partition,
    divide,
    partition,
    with_host,
    with_line,
    with_more,
)
from intaglio.compiler.workload import Op, Workload
from intaglio.errors import DesignError, IntaglioError, UnsupportedError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.repeats import Repeats
from intaglio.templates.npu.schedule import Progress
from intaglio.templates.template import Template


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A segment of the accelerator: its place among all segments, what it computes, and how."""

    index: int
    workload: Workload
    program: Program


@dataclass(frozen=True, slots=True)
class Deployment:
    """A partition, and the program of each of its accelerator segments, in their order.

    All programs are for one design and as many images; there is at least one.  Raises IntaglioError
    at construction when a program does not read and make what its segment does.
    """

    partition: Partition
    programs: tuple[Program, ...]

    def __post_init__(self) -> None:
        for segment in self.scheduled():
            program, workload = segment.program, segment.workload
            ends = (program.inputs, program.outputs, program.design, program.images)
            if ends != (workload.inputs, workload.outputs, self.design, self.images):
                raise IntaglioError(f"the program of segment {segment.index} belongs to another")

    @property
    def workload(self) -> Workload:
        """All of what is computed."""
        return self.partition.workload

    @property
    def design(self) -> NpuDesign:
        """The accelerator."""
        return self.programs[0].design

    @property
    def images(self) -> int:
        """How many images one run takes, one after the other."""
        return self.programs[0].images

    @property
    def cut(self) -> bool:
        """Whether some operators are on the host."""
        return len(self.partition.segments) > 1

    @property
    def memory_bytes(self) -> int:
        """Size of the memories of all segments together."""
        return sum(program.memory_bytes for program in self.programs)

    def segments(self) -> Iterator[Scheduled | HostSegment]:
        """All segments in execution order."""
        programs = iter(self.programs)
        for index, segment in enumerate(self.partition.segments):
            match segment:
                case AcceleratorSegment():
                    yield Scheduled(index, segment.workload, next(programs))
                case HostSegment():
                    yield segment

    def scheduled(self) -> tuple[Scheduled, ...]:
        """The segments of the accelerator, in execution order."""
        return tuple(part for part in self.segments() if isinstance(part, Scheduled))


def whole(workload: Workload, program: Program) -> Deployment:
    """A workload that one program computes, with nothing on the host."""
    return Deployment(partition(workload, ()), (program,))


def deploy(
    workload: Workload,
    family: Template[Any, Any],
    design: NpuDesign,
    *,
    allow_host: bool = False,
    images: int = 1,
    progress: Progress | None = None,
) -> Deployment:
    """`workload` on `design`; with `allow_host`, what the design cannot run is left to the host.

    One run takes `images` images, one after the other.
    Raises UnsupportedError or DesignError for an operator that the design cannot run when the host
    is not allowed, UnsupportedError when nothing is left for the accelerator, and UsageError for
    more images than a program can take.
    """
    if allow_host:
        return _divided(workload, family, design, images, progress)
    try:
        return whole(workload, family.schedule(workload, design, progress, images=images))
    except (UnsupportedError, DesignError) as error:
        made = divide(workload, lambda op, part: family.supports(op, part, design))
        refused = [op for op in workload.ops if op.name in made.reasons]
        if not refused:
            raise
        raise type(error)(_refusal(str(error), refused, made)) from error


def _refusal(error: str, refused: Sequence[Op], made: Partition) -> str:
    """The operator that `error` is about, with its line and the host, and how many more nodes."""
    op = next((op for op in refused if made.reason(op) == error), refused[0])
    nodes = {op.source.nodes[:1] or op.name for op in refused}
    return with_more(with_host(with_line(op, made.reason(op))), len(nodes) - 1)


def _divided(
    workload: Workload,
    family: Template[Any, Any],
    design: NpuDesign,
    images: int,
    progress: Progress | None,
) -> Deployment:
    made = divide(workload, lambda op, part: family.supports(op, part, design))
    if not made.accelerated:
        first = made.hosted[0]
        reason = with_line(first, made.reason(first))
        raise UnsupportedError(f"nothing of '{workload.name}' runs on the accelerator: {reason}")
    programs, done, repeats = [], 0, Repeats()
    total = sum(len(part.ops) for part in made.accelerated)
    for part in made.accelerated:
        program = repeats.find(part.workload)
        if program is None:
            told = _after(progress, done, total)
            program = family.schedule(part.workload, design, told, images=images)
            repeats.add(part.workload, program)
        programs.append(program)
        done += len(part.ops)
    return Deployment(made, tuple(programs))


def _after(progress: Progress | None, before: int, total: int) -> Progress | None:
    """`progress` of one segment as that of all, of whose `total` operators `before` are done."""
    if progress is None:
        return None
    tell = progress
    return lambda step, done, _: tell(step, before + done, total)
