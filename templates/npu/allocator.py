"""Places the regions of a layer in the buffers.

Placement goes round: a layer starts where the layer before it ended, so that its first pieces land
on the words that have been idle longest and can be brought in while that layer still works.  Where
the weight buffer has room for the regions of all layers, those of later images are where the first
image's were: what is still there is not brought again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Space
from intaglio.templates.npu.steps import RegionNeed, Role

Placed = dict[Role, tuple[RegionNeed, int]]
"""Role -> its need and the first word of its region."""


def capacity(design: NpuDesign, space: Space) -> int:
    """Words of the activation or the weight buffer."""
    return design.activation_words if space is Space.ACTIVATION else design.weight_words


def fits(needs: Sequence[RegionNeed], design: NpuDesign) -> bool:
    """Whether the regions have room side by side."""
    return all(
        words_needed(needs, space, design) <= capacity(design, space)
        for space in (Space.ACTIVATION, Space.WEIGHT)
    )


def words_needed(needs: Sequence[RegionNeed], space: Space, design: NpuDesign) -> int:
    """Words that the regions of one buffer take side by side, what alignment skips included."""
    return _line(needs, space, 0, design)[1]


def _line(
    needs: Sequence[RegionNeed], space: Space, start: int, design: NpuDesign
) -> tuple[Placed, int]:
    """Regions of `space` one after the other from `start`; and the word after the last."""
    placed: Placed = {}
    for need in needs:
        if need.space is space:
            start = _aligned(start, design)
            placed[need.role] = need, start
            start += need.words
    return placed, start


def _aligned(word: int, design: NpuDesign) -> int:
    """The next word at which a weight tile may start."""
    return -(-word // design.groups) * design.groups


@dataclass(slots=True)
class Allocator:
    """Where the next layer's regions go; `place` is called once a layer, in order."""

    design: NpuDesign
    next_word: dict[Space, int] = field(default_factory=dict)
    reused: set[Space] = field(default_factory=set)
    """The spaces in which the regions of two layers share words."""

    def next_image(self) -> None:
        """From here on the first layer and those after it are placed again, for another image."""
        if Space.WEIGHT not in self.reused:
            self.next_word[Space.WEIGHT] = 0

    def place(self, needs: Sequence[RegionNeed]) -> Placed:
        """A first word for every region; none overlap.  `fits(needs, design)` must hold."""
        placed: Placed = {}
        for space in (Space.ACTIVATION, Space.WEIGHT):
            placed |= self._round(needs, space) or self._from_zero(needs, space)
        return placed

    def _round(self, needs: Sequence[RegionNeed], space: Space) -> Placed | None:
        """From where the last layer ended, once around the end; None when that does not fit."""
        limit = capacity(self.design, space)
        first = _aligned(self.next_word.get(space, 0), self.design)
        placed: Placed = {}
        word, wrapped = first, False
        for need in needs:
            if need.space is not space:
                continue
            word = _aligned(word, self.design)
            if word + need.words > limit:
                if wrapped:
                    return None
                word, wrapped = 0, True
                self.reused.add(space)
            if wrapped and word + need.words > first:
                return None
            placed[need.role] = need, word
            word += need.words
        self.next_word[space] = word
        return placed

    def _from_zero(self, needs: Sequence[RegionNeed], space: Space) -> Placed:
        self.reused.add(space)
        placed, self.next_word[space] = _line(needs, space, 0, self.design)
        return placed
