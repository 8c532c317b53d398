"""Derives the dependency tokens of a program from the words that its instructions read and write.

The order of the text is a legal sequential order.  Instruction `j` needs every earlier instruction
of another unit that wrote what `j` reads or writes, or read what `j` writes.  Units retire in
order, so the latest of each unit is enough, and what the unit of `j` already knows,
directly or through the units it has heard of, is left out: one token a pair of units suffices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from intaglio.errors import DesignError
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import TOKEN_LIMIT, Unit

Ages = NDArray[np.int32]
Number = TypeVar("Number", bound=np.generic)
NEVER = -1


def box_view(words: NDArray[Number], box: Box) -> NDArray[Number]:
    """The words of `box` as a view of shape `box.counts`."""
    step = words.strides[0]
    strides = (box.strides[0] * step, box.strides[1] * step, step)
    return as_strided(words[box.start :], shape=box.counts, strides=strides)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Units that one instruction pops from before it starts and pushes to when it retires."""

    pop: tuple[Unit, ...] = ()
    push: tuple[Unit, ...] = ()


@dataclass(slots=True)
class _History:
    """For every space, and every unit that uses it, the last instruction that touched a word."""

    sizes: dict[Space, int]
    written: dict[tuple[Space, Unit], Ages] = field(default_factory=dict)
    read: dict[tuple[Space, Unit], Ages] = field(default_factory=dict)

    def needs(self, draft: Draft) -> dict[Unit, int]:
        """The latest instruction of every other unit that `draft` depends on."""
        latest: dict[Unit, int] = {}
        for unit in Unit:
            if unit != draft.unit:
                found = [self._last(self.written, unit, box) for box in draft.reads]
                for box in draft.writes:
                    found.append(self._last(self.written, unit, box))
                    found.append(self._last(self.read, unit, box))
                latest[unit] = max(found, default=NEVER)
        return latest

    @staticmethod
    def _last(table: dict[tuple[Space, Unit], Ages], unit: Unit, box: Box) -> int:
        words = table.get((box.space, unit))
        return NEVER if words is None else int(box_view(words, box).max())

    def record(self, index: int, draft: Draft) -> None:
        """Remember what instruction `index` touches."""
        for table, boxes in ((self.read, draft.reads), (self.written, draft.writes)):
            for box in boxes:
                key = box.space, draft.unit
                if key not in table:
                    table[key] = np.full(self.sizes[box.space], NEVER, np.int32)
                box_view(table[key], box)[...] = index


def derive(drafts: Sequence[Draft], sizes: dict[Space, int]) -> list[Tokens]:
    """Tokens for every instruction of `drafts`; `sizes` are the words of each space.

    Raises DesignError when a counter would overflow.
    """
    history = _History(sizes)
    known = {unit: dict.fromkeys(Unit, NEVER) for unit in Unit}
    at_issue: list[dict[Unit, int]] = []
    pops: list[list[Unit]] = [[] for _ in drafts]
    pushes: list[list[Unit]] = [[] for _ in drafts]
    for index, draft in enumerate(drafts):
        mine = known[draft.unit]
        needs = sorted(history.needs(draft).items(), key=lambda need: -need[1])
        for unit, producer in needs:
            if producer > mine[unit]:
                pops[index].append(unit)
                pushes[producer].append(draft.unit)
                mine[unit] = producer
                _learn(mine, at_issue[producer])
        history.record(index, draft)
        at_issue.append(dict(mine))
    _check_counters(drafts, pops, pushes)
    return [
        Tokens(tuple(sorted(pop)), tuple(sorted(push)))
        for pop, push in zip(pops, pushes, strict=True)
    ]


def _learn(mine: dict[Unit, int], theirs: dict[Unit, int]) -> None:
    for unit, index in theirs.items():
        mine[unit] = max(mine[unit], index)


def _check_counters(
    drafts: Sequence[Draft], pops: Iterable[list[Unit]], pushes: Iterable[list[Unit]]
) -> None:
    """In the order of the text no counter passes its limit, so no push can wait for ever."""
    counts = {(a, b): 0 for a in Unit for b in Unit}
    for index, (draft, pop, push) in enumerate(zip(drafts, pops, pushes, strict=True)):
        for unit in pop:
            counts[unit, draft.unit] -= 1
        for unit in push:
            counts[draft.unit, unit] += 1
            if counts[draft.unit, unit] > TOKEN_LIMIT:
                raise DesignError(
                    f"instruction {index} leaves more than {TOKEN_LIMIT} tokens for the "
                    f"{unit.name.lower()} unit; lower the number of slots by smaller buffers"
                )
