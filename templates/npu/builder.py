"""From the steps of all layers to one sequence of instructions.

The sequence is a legal order for a machine that executes one instruction at a time.  Loads are
emitted ahead of their step as soon as the words they overwrite are no longer needed and the tensors
they read are stored, so that on the real machine they run under the work of the steps before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from intaglio.templates.npu.drafts import Draft, Space
from intaglio.templates.npu.isa import Opcode
from intaglio.templates.npu.steps import Item, Step
from intaglio.templates.npu.tokens import box_view

LOOK_AHEAD = 6
"""Steps before its own at which a load may be emitted."""


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


class Builder:
    """Emits the steps of a program in order.

    `stored` marks the words of activation memory that hold their value at that point of the text:
    network inputs from the start, results once their STORE is emitted.
    """

    def __init__(
        self, steps: Sequence[Step], layers: Sequence[int], stored: NDArray[np.int32]
    ) -> None:
        self.steps = steps
        self.layers = layers
        self.stored = stored
        self.emitted: list[Draft] = []
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
        """Emit the loads of the next steps that are already allowed, in order for every role."""
        blocked: set[tuple[int, str]] = set()
        for ahead in range(index + 1, min(index + 1 + LOOK_AHEAD, len(self.steps))):
            for item in self.steps[ahead].items:
                role = self.layers[ahead], item.role
                if item in self._open or role in blocked:
                    continue
                if self._allowed(item, index):
                    self._load(item)
                else:
                    blocked.add(role)

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
                self._emit(load)

    def _emit(self, draft: Draft) -> None:
        self.emitted.append(draft)
        if draft.opcode is Opcode.STORE:
            for box in draft.writes:
                box_view(self.stored, box)[...] = 1


def _overlap(a: Item, b: Item) -> bool:
    return a.space is b.space and a.start < b.end and b.start < a.end
