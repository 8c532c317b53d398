"""Instructions before synchronisation: fields, and the words that each reads and writes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from intaglio.templates.npu.isa import Opcode, Unit


class Space(IntEnum):
    """A storage that instructions share; addresses count words (accumulators: sums)."""

    MEMORY = 0
    ACTIVATION = 1
    WEIGHT = 2
    ACCUMULATOR = 3


@dataclass(frozen=True, slots=True)
class Box:
    """Words `start + i*strides[0] + j*strides[1] + k` for i, j, k below `counts`."""

    space: Space
    start: int
    counts: tuple[int, int, int]
    strides: tuple[int, int] = (0, 0)

    @classmethod
    def line(cls, space: Space, start: int, count: int) -> Box:
        """`count` words from `start`."""
        return cls(space, start, (1, 1, count))


@dataclass(frozen=True, slots=True)
class Draft:
    """One instruction to come.

    `fields` as in the instruction set; `relocate` when its memory address counts from the first
    activation tensor.  `reads` and `writes` leave out constants in memory, which nothing writes.
    `keeps`, counted from the same tensor, is the byte address of its first result when that stays
    on the chip.
    """

    opcode: Opcode
    fields: dict[str, int]
    layer: int
    reads: tuple[Box, ...]
    writes: tuple[Box, ...]
    relocate: bool = False
    keeps: int | None = None

    @property
    def unit(self) -> Unit:
        """The unit that executes it."""
        return self.opcode.unit
