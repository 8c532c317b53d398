"""A workload cut into segments: what an accelerator runs in one go, and what stays on the host.

Both sides compute the same exact integers, islands of floats on the host (`Host`) end in integers,
so the values at a cut are those of the whole workload, and each accelerator segment is a workload
of its own that is compiled and proven on them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from intaglio.compiler.workload import (
    Host,
    Op,
    Reshape,
    Transpose,
    Workload,
    constants,
    inputs,
    outputs,
)
from intaglio.errors import IntaglioError

Supports = Callable[[Op, Workload], str | None]
"""Why an accelerator cannot run an operator of a workload, as `reason; way out`; None when it can.

There is no way out where none but the host is known.
"""
ALLOW_HOST = "add allow_host=True to run it on the host"
"""The last way out of a refusal of an operator that the host can run."""
Side = Literal["accelerator", "host"]
_HOST, _ACCELERATOR = 0, 1
"""Sides of a level: even levels run on the host, odd ones on the accelerator."""
_FREE = -1
"""The level of a reshape of the network's inputs, before what reads it has one."""


def with_host(refusal: str) -> str:
    """A refusal `reason; way out`, or `reason` alone, with the host as its last way out."""
    return f"{refusal}{', or' if '; ' in refusal else ';'} {ALLOW_HOST}"


def with_line(op: Op, refusal: str) -> str:
    """A refusal `name: ...` of an operator with the user's line behind its name."""
    if not op.source.line:
        return refusal
    return f"{op.name} ({op.source.line}): {refusal.removeprefix(f'{op.name}: ')}"


def with_more(refusal: str, more: int) -> str:
    """A refusal with how many others there are, and the command that lists them."""
    return f"{refusal} ({more} more: run `intaglio check`)" if more else refusal


@dataclass(frozen=True, slots=True)
class AcceleratorSegment:
    """Operators that the accelerator runs in one go.

    `workload` holds them alone: it reads the network's inputs and the cut tensors that they need,
    and its outputs are the network's and the cut tensors that other segments read.
    """

    workload: Workload

    @property
    def ops(self) -> tuple[Op, ...]:
        """The operators, in execution order."""
        return self.workload.ops


@dataclass(frozen=True, slots=True)
class HostSegment:
    """Operators that the host runs, in execution order."""

    ops: tuple[Op, ...]


Segment = AcceleratorSegment | HostSegment


@dataclass(frozen=True, slots=True)
class Partition:
    """A workload as segments in execution order.

    `reasons` holds, by name, why an accelerator cannot run an operator.  Raises IntaglioError at
    construction unless every operator is in one segment, after all that it reads.
    """

    workload: Workload
    segments: tuple[Segment, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reasons", MappingProxyType(dict(self.reasons)))
        name = self.workload.name
        ops = [op for segment in self.segments for op in segment.ops]
        if sorted(op.name for op in ops) != sorted(op.name for op in self.workload.ops):
            raise IntaglioError(f"the segments of '{name}' do not hold each of its operators once")
        made = set(self.workload.inputs)
        for op in ops:
            missing = [tensor for tensor in inputs(op) if tensor not in made]
            if missing:
                raise IntaglioError(
                    f"the segments of '{name}' run '{op.name}' before anything makes '{missing[0]}'"
                )
            made.update(outputs(op))

    @property
    def accelerated(self) -> tuple[AcceleratorSegment, ...]:
        """The segments of the accelerator, in execution order."""
        return tuple(part for part in self.segments if isinstance(part, AcceleratorSegment))

    @property
    def hosted(self) -> tuple[Op, ...]:
        """The operators on the host, in execution order."""
        hosts = (part for part in self.segments if isinstance(part, HostSegment))
        return tuple(op for part in hosts for op in part.ops)

    def reason(self, op: Op) -> str:
        """Why `op` is on the host, as one sentence."""
        if op.name in self.reasons:
            return self.reasons[op.name]
        if isinstance(op, Host):
            return f"{op.name}: {op.reason}"
        moves = isinstance(op, Reshape)
        return (
            f"{op.name}: {'moves no data and stays with its input' if moves else 'is kept there'}"
        )


def partition(workload: Workload, hosted: Collection[str]) -> Partition:
    """`workload` with its islands and the operators named `hosted` on the host, others accelerated.

    An operator runs as early as its side allows, which makes the accelerator's segments as few as
    they can be: as many as the path that enters the accelerator most often needs.  A reshape that
    is not kept on the host moves no data, so it stays with what made its input.  Without operators
    on the host the one segment is the workload itself.
    """
    hosted = {*hosted, *(op.name for op in workload.ops if isinstance(op, Host))}
    if not hosted:
        return assemble(workload, [("accelerator", workload.ops)])
    levels = _levels(workload, hosted)
    groups: list[tuple[Side, tuple[Op, ...]]] = []
    for level in sorted(set(levels.values())):
        ops = tuple(op for op in workload.ops if levels[op.output] == level)
        groups.append(("host" if level % 2 == _HOST else "accelerator", ops))
    return assemble(workload, groups)


def assemble(
    workload: Workload,
    groups: Sequence[tuple[Side, tuple[Op, ...]]],
    reasons: Mapping[str, str] | None = None,
) -> Partition:
    """The partition whose segments hold these operators, on these sides, in this order.

    Raises IntaglioError as `Partition` does.
    """
    segments: list[Segment] = []
    for index, (side, ops) in enumerate(groups):
        if side == "host":
            segments.append(HostSegment(ops))
        elif ops == workload.ops:
            segments.append(AcceleratorSegment(workload))
        else:
            segments.append(AcceleratorSegment(extract(workload, ops, f"_{index}")))
    return Partition(workload, tuple(segments), reasons or {})


def _levels(workload: Workload, hosted: Collection[str]) -> dict[str, int]:
    """The level of every operator, by its output: above, or on, those that it reads from."""
    levels: dict[str, int] = {}
    for op in workload.ops:
        level = max((levels[name] for name in inputs(op) if name in levels), default=_FREE)
        if op.name in hosted or not isinstance(op, Reshape):
            side = _HOST if op.name in hosted else _ACCELERATOR
            level = max(level, side)
            level += (level - side) % 2
        levels.update(dict.fromkeys(outputs(op), level))
    for op in reversed(workload.ops):
        if levels[op.output] == _FREE:
            readers = [levels[other.output] for other in workload.ops if op.output in inputs(other)]
            levels[op.output] = min(readers, default=_HOST)
    return levels


def extract(workload: Workload, ops: tuple[Op, ...], suffix: str = "") -> Workload:
    """`ops` of `workload` as a workload of their own, called as it with `suffix`.

    Its inputs are what they read and do not make; its outputs are what they make that others read
    or that leaves the network.  Constants are those they use.
    """
    made = {name for op in ops for name in outputs(op)}
    read = {name for op in ops for name in inputs(op)} - made
    own = {op.name for op in ops}
    wanted = {name for op in workload.ops if op.name not in own for name in inputs(op)}
    wanted.update(workload.outputs)
    entering = tuple(tensor.name for tensor in workload.activations() if tensor.name in read)
    leaving = tuple(name for op in ops for name in outputs(op) if name in wanted)
    return _part(workload, ops, entering, leaving, suffix)


def alone(workload: Workload, op: Op) -> Workload:
    """`op` as a workload of its own."""
    return _part(workload, (op,), tuple(dict.fromkeys(inputs(op))), outputs(op), "")


def _part(
    workload: Workload,
    ops: tuple[Op, ...],
    entering: tuple[str, ...],
    leaving: tuple[str, ...],
    suffix: str,
) -> Workload:
    """`ops` with the tensors and constants that they use."""
    used = [name for op in ops for name in constants(op)]
    names = (*entering, *(name for op in ops for name in outputs(op)), *used)
    return Workload(
        f"{workload.name}{suffix}",
        entering,
        leaving,
        ops,
        {name: workload.tensor(name) for name in names},
        {name: workload.constants[name] for name in used if name in workload.constants},
    )


def divide(workload: Workload, supports: Supports) -> Partition:
    """`workload` with all that `supports` accepts on the accelerator and the rest on the host.

    What an accelerator can run depends on the operators beside it (how they store what it reads),
    so an operator counts as supported when the final segment that holds it is accepted whole.  One
    that only fails after a reshape keeps its place, and the reshape moves its data on the host.
    """
    if all(supports(op, workload) is None for op in workload.ops):
        return partition(workload, ())
    reasons = dict(_refused_alone(workload, supports))
    while True:
        made = partition(workload, reasons)
        found = dict(_refused_together(made.accelerated, supports))
        if not found:
            return Partition(workload, made.segments, reasons)
        reasons |= found


def _refused_alone(workload: Workload, supports: Supports) -> Iterator[tuple[str, str]]:
    """Islands, and what the accelerator cannot run whatever is beside it, with the reason."""
    for op in workload.ops:
        if isinstance(op, Host):
            yield op.name, f"{op.name}: {op.reason}"
        elif not isinstance(op, Reshape | Transpose):
            reason = supports(op, alone(workload, op))
            if reason is not None:
                yield op.name, reason


def _refused_together(
    segments: Iterable[AcceleratorSegment], supports: Supports
) -> Iterator[tuple[str, str]]:
    """Operators to take out of `segments`: the reshapes that a refused one reads, or itself.

    Transposes come first, and alone: what is refused beside them may not be without them.
    """
    refused = [
        (op, reason, segment)
        for segment in segments
        for op in segment.ops
        if (reason := supports(op, segment.workload)) is not None
    ]
    transposes = [(op.name, reason) for op, reason, _ in refused if isinstance(op, Transpose)]
    yield from transposes
    if transposes:
        return
    for op, reason, segment in refused:
        reshapes = {op.output: op for op in segment.ops if isinstance(op, Reshape)}
        causes: list[Op] = [reshapes[name] for name in inputs(op) if name in reshapes]
        yield from ((cause.name, reason) for cause in causes or [op])
