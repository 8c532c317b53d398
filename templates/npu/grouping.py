"""Which consecutive operators of a transformer are worked off side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from intaglio.compiler.workload import BatchMatMul, MatMul
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.group import GroupMapping, joins, map_group, twins
from intaglio.templates.npu.work import RowWork, Work

LONGEST = 8
"""Operators of a group at most."""
Span = tuple[int, int]
"""First of consecutive operators, and the one behind the last."""
Estimate = Callable[[Span, GroupMapping], int]
"""Cycles of a span as a group."""


def groups(
    works: Sequence[Work | None], apart: Sequence[int], design: NpuDesign, estimate: Estimate
) -> Iterator[tuple[Span, GroupMapping]]:
    """Where to group operators, and how.

    `works` are those of layers in their order, None where a layer is no single operator, and
    `apart` the cycles of each by itself.
    """
    for first, end in _spans(works):
        while first < end:
            found = _longest(works, apart, (first, end), design, estimate)
            if found is None:
                first += 1
                continue
            yield found
            first = found[0][1]


def _longest(
    works: Sequence[Work | None],
    apart: Sequence[int],
    span: Span,
    design: NpuDesign,
    estimate: Estimate,
) -> tuple[Span, GroupMapping] | None:
    """The longest group from the first of `span` on that the buffers hold and that is faster."""
    first, end = span
    for behind in range(min(end, first + LONGEST), first + 1, -1):
        parts = [work for work in works[first:behind] if joins(work)]
        waits = [isinstance(work, RowWork) for work in parts]
        if not any(waits):
            continue
        if all(waits) and not any(twins(tuple(parts), k) for k in range(len(parts))):
            continue
        mapping = map_group(tuple(parts), design)
        if mapping is None:
            continue
        cycles = estimate((first, behind), mapping)
        if cycles < sum(apart[first:behind]):
            return (first, behind), replace(mapping, cycles=cycles)
    return None


def _spans(works: Sequence[Work | None]) -> Iterator[Span]:
    """Runs of operators that may be in a group; an attention, with its projections, is one."""
    start = 0
    for index, work in enumerate([*works, None]):
        if not joins(work):
            if index > start:
                yield from _attentions(works, start, index)
            start = index + 1


def _attentions(works: Sequence[Work | None], start: int, end: int) -> Iterator[Span]:
    """The run `start` to `end - 1`, cut before and behind every attention."""
    first = start
    for index in range(start, end):
        if index < first or not _of(works[index], BatchMatMul):
            continue
        begin = index
        while begin > first and index - begin < 3 and _of(works[begin - 1], MatMul):
            begin -= 1
        behind = index + 1
        while behind < end and not _of(works[behind], MatMul) and behind - index < 3:
            behind += 1
        yield from ((first, begin), (begin, behind)) if begin > first else ((begin, behind),)
        first = behind
    if first < end:
        yield first, end


def _of(work: Work | None, kind: type[MatMul] | type[BatchMatMul]) -> bool:
    return work is not None and isinstance(work.op, kind)
