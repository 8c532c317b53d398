"""From the steps of all layers to one sequence of instructions.

The sequence is a legal order for a machine that executes one instruction at a time.  Loads are
emitted ahead of their step as soon as the words they overwrite are no longer needed and the tensors
they read are stored, so that on the real machine they run under the work of the steps before.
Constants that are in the weight buffer already, from an image before, are not loaded again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import Opcode
from intaglio.templates.npu.steps import Item, Step
from intaglio.templates.npu.tokens import box_view

LOOK_AHEAD = 6
"""Steps before its own at which a load may be emitted."""
_UNKNOWN = -1
"""Of a word of the weight buffer: it holds no constant, or none yet."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """Words that a layer keeps for one kind of item until its step `last` has been emitted."""

    layer: int
    item: Item
    last: int


@dataclass(slots=True)
class _Uses:
    """For every item: its layer, the last step that needs it, the item before it in its slot."""

    layer: dict[Item, int] = field(default_factory=dict)
    last: dict[Item, int] = field(default_factory=dict)
    before: dict[Item, Item] = field(default_factory=dict)


class _Held:
    """What the words of the weight buffer hold at one point of the text: constants, by address."""

    def __init__(self, design: NpuDesign) -> None:
        self.words = np.full(design.weight_words, _UNKNOWN, np.int64)
        self.step = design.word_bytes

    def brings_nothing(self, load: Draft) -> bool:
        """Whether all that `load` brings is there already."""
        box = load.writes[0]
        if box.space is not Space.WEIGHT or load.relocate:
            return False
        return bool((box_view(self.words, box) == self._brought(load, box)).all())

    def note(self, draft: Draft) -> None:
        """Remember what `draft` leaves in the weight buffer."""
        for box in draft.writes:
            if box.space is Space.WEIGHT:
                brought = _UNKNOWN if draft.relocate else self._brought(draft, box)
                box_view(self.words, box)[...] = brought

    def _brought(self, load: Draft, box: Box) -> NDArray[np.int64]:
        """The addresses of the constants that `load` brings to the words of `box`, one run."""
        first: int = load.fields["memory_address"]
        return first + self.step * np.arange(box.counts[2])


class Builder:
    """Emits the steps of a program in order.

    `layers` has the layer of every step, those of a later image counted on after the
    `layers_of_image` of the first.  `stored` marks the words of activation memory that hold their
    value at that point of the text: network inputs from the start, results once their STORE is
    emitted.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        layers: Sequence[int],
        stored: NDArray[np.int32],
        design: NpuDesign,
        layers_of_image: int,
    ) -> None:
        self.steps = steps
        self.layers = layers
        self.layers_of_image = layers_of_image
        self.stored = stored
        self.emitted: list[Draft] = []
        self._held = _Held(design)
        self._open: set[Item] = set()
        self._uses = _Uses()
        self._slots: dict[int, list[_Slot]] = {}
        self._find_uses()

    def run(self) -> list[Draft]:
        """Every instruction, in a legal sequential order."""
        for index, step in enumerate(self.steps):
            for item in step.items:
                self._load(item)
            self._load_ahead(index)
            for draft in step.work:
                self._emit(draft)
        return self.emitted

    def _find_uses(self) -> None:
        uses, kept, seen = self._uses, dict[tuple[int, str, int], Item](), set[Item]()
        for index, step in enumerate(self.steps):
            for item in step.items:
                key = self.layers[index], item.role, item.slot
                uses.layer[item], uses.last[item] = self.layers[index], index
                if kept.get(key) is not item:
                    assert item not in seen, f"{item.role} is needed after its slot was taken"
                    seen.add(item)
                    if key in kept:
                        uses.before[item] = kept[key]
                    kept[key] = item
        for (layer, _, _), item in kept.items():
            self._slots.setdefault(layer, []).append(_Slot(layer, item, uses.last[item]))

    def _load_ahead(self, index: int) -> None:
        """Emit the loads of the next steps that are already allowed, in order for every role.

        Those of the next image wait for all of this one: its last steps may wait for memory.
        """
        blocked: set[tuple[int, str]] = set()
        for ahead in range(index + 1, min(index + 1 + LOOK_AHEAD, len(self.steps))):
            if blocked and self._image(ahead) > self._image(index):
                return
            for item in self.steps[ahead].items:
                role = self.layers[ahead], item.role
                if item in self._open or role in blocked:
                    continue
                if self._allowed(item, index):
                    self._load(item)
                else:
                    blocked.add(role)

    def _image(self, step: int) -> int:
        """The image that a step works for."""
        return self.layers[step] // self.layers_of_image

    def _allowed(self, item: Item, index: int) -> bool:
        """Whether `item` may be brought in before the work of step `index`."""
        uses = self._uses
        if item in uses.before and uses.last[uses.before[item]] >= index:
            return False
        for layer in range(self.layers[index], uses.layer[item]):
            for slot in self._slots.get(layer, ()):
                if slot.last >= index and _overlap(slot.item, item):
                    return False
        return all(
            box_view(self.stored, box).all()
            for load in item.loads
            for box in load.reads
            if box.space is Space.MEMORY
        )

    def _load(self, item: Item) -> None:
        if item not in self._open:
            self._open.add(item)
            for load in item.loads:
                if not self._held.brings_nothing(load):
                    self._emit(load)

    def _emit(self, draft: Draft) -> None:
        self.emitted.append(draft)
        self._held.note(draft)
        if draft.opcode is Opcode.STORE:
            for box in draft.writes:
                box_view(self.stored, box)[...] = 1


def _overlap(a: Item, b: Item) -> bool:
    return a.space is b.space and a.start < b.end and b.start < a.end
