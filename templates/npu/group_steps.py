"""The steps of a group: pieces of its operators in the order in which a model of the units starts
them.

The model has an array and a vector unit that work in order, and two halves of accumulators; a piece
starts when what it reads has come back from memory.  What starts first comes first, so the order is
legal, and each operator's own order is kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.workload import Workload
from intaglio.templates.npu import timing
from intaglio.templates.npu.allocator import Allocator
from intaglio.templates.npu.array_steps import ArraySteps, Halves
from intaglio.templates.npu.cost import row_cycles
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.group import (
    GroupMapping,
    GroupWork,
    group_regions,
    part_place,
    sharer,
    twins,
)
from intaglio.templates.npu.isa import Opcode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import ArrayMapping, RowMapping, cut, tiles_of
from intaglio.templates.npu.row_steps import RowSteps
from intaglio.templates.npu.steps import Place, Step
from intaglio.templates.npu.tokens import box_view
from intaglio.templates.npu.work import ArrayWork, RowWork

LEFT_OUT = 1.1
"""The model's cycles times this are those of simulations: its loads never wait for each other."""
NOT_YET = np.iinfo(np.int32).max // 2


@dataclass(frozen=True, slots=True)
class _Piece:
    """Steps that one unit works through; `drain` follows on the vector unit what an array made.

    `rest` are the cycles from its start to the end of the group when nothing else is in the way.
    """

    steps: tuple[Step, ...]
    cycles: int
    drain: _Piece | None = None
    rest: int = 0

    @property
    def parts(self) -> tuple[_Piece, ...]:
        """Itself, and what drains it."""
        return (self, self.drain) if self.drain else (self,)

    def boxes(self, *, written: bool) -> Iterator[Box]:
        """Words of memory that it brings in, or stores."""
        for step in self.steps:
            drafts = step.work if written else (d for item in step.items for d in item.loads)
            for draft in drafts:
                boxes = draft.writes if written else draft.reads
                yield from (box for box in boxes if box.space is Space.MEMORY)


def group_steps(
    work: GroupWork, mapping: GroupMapping, workload: Workload, places: Sequence[Place]
) -> list[Step]:
    """The steps of `work`, in order; `places` are those of its operators."""
    queues = _Parts(work, mapping, workload, places).queues()
    return list(_Order(queues, places[0].design, Halves(places[0].half)).steps())


def group_cycles(
    work: GroupWork,
    mapping: GroupMapping,
    workload: Workload,
    layouts: Mapping[str, TensorLayout],
    design: NpuDesign,
) -> int:
    """Cycles of `work` in the model, wherever it is placed, and what the model leaves out."""
    regions = Allocator(design).place(group_regions(work.parts, mapping.parts, design))
    products = (p for p in work.parts if isinstance(p, ArrayWork))
    blocks = max((len(p.shape.touched) for p in products), default=1)
    place = Place(design, 0, layouts, regions, (0,) * blocks, 0)
    queues = _Parts(work, mapping, workload, (place,) * len(work.parts)).queues()
    order = _Order(queues, design, Halves(0))
    for _ in order.steps():
        pass
    return int(max(order.array, order.vector) * LEFT_OUT)


@dataclass(frozen=True, slots=True)
class _Parts:
    """Cuts every operator into pieces, in its own order."""

    work: GroupWork
    mapping: GroupMapping
    workload: Workload
    places: Sequence[Place]

    def queues(self) -> tuple[deque[_Piece], ...]:
        """The pieces of every operator; those of two norms of the same rows are one."""
        made: dict[int, ArraySteps] = {}
        queues = []
        for index, (work, mapping) in enumerate(
            zip(self.work.parts, self.mapping.parts, strict=True)
        ):
            if isinstance(work, ArrayWork):
                assert isinstance(mapping, ArrayMapping)
                shared = sharer(self.work.parts, self.mapping.parts, index)
                made[index] = self._array(index, work, mapping)
                if shared is not None:
                    made[index].inputs = made[shared].inputs
                queues.append(deque(_array_pieces(made[index])))
            elif not twins(self.work.parts, index):
                queues.append(deque(self._rows(index, work)))
        return _ranked(queues)

    def _rows(self, index: int, work: RowWork) -> Iterator[_Piece]:
        """A piece for every tile of rows."""
        steps = self._row_steps(index, None)
        mapping, design = steps.mapping, steps.place.design
        cycles = row_cycles(work.shape, mapping.tile_rows, design)
        if not twins(self.work.parts, index + 1):
            yield from (_Piece((step,), cycles) for step in steps.generate())
            return
        other = self._row_steps(index + 1, steps)
        cycles += row_cycles(other.work.shape, mapping.tile_rows, design, again=True)
        pairs = zip(steps.generate(), other.generate(), strict=True)
        yield from (_Piece(pair, cycles) for pair in pairs)

    def _row_steps(self, index: int, first: RowSteps | None) -> RowSteps:
        work, mapping = self.work.parts[index], self.mapping.parts[index]
        assert isinstance(work, RowWork)
        assert isinstance(mapping, RowMapping)
        return RowSteps(work, mapping, self.workload, self._place(index), first)

    def _array(self, index: int, work: ArrayWork, mapping: ArrayMapping) -> ArraySteps:
        tiles = tiles_of(work.shape.y, work.shape.x, mapping.tile_y, mapping.tile_x)
        return ArraySteps(work, mapping, self._place(index), tiles, Halves(0))

    def _place(self, index: int) -> Place:
        return part_place(self.places[index], self.work.parts, self.mapping.parts, index)


def _array_pieces(steps: ArraySteps) -> Iterator[_Piece]:
    """A piece for every tile and a few output blocks, with what drains them."""
    shape, design = steps.shape, steps.design
    batch = steps.mapping.batch
    for tile, extents in enumerate(steps.tiles):
        period = timing.tile_period(design, extents.pixels, shape.weight_bits)
        reads = timing.vector_cycles(design, extents.pixels * max(shape.residual, 1), shape.table)
        for first, count in cut(len(shape.touched), batch):
            outputs = range(first, first + count)
            whole = Box.line(Space.ACCUMULATOR, 0, count * extents.pixels)
            made, drains, products, blocks = list[Step](), list[Step](), 0, 0
            for place, output in enumerate(outputs):
                touched = shape.touched[output]
                products += sum(shape.tiles(t) * shape.halves[t.operand] for t in touched)
                blocks += steps.blocks(output)[1]
                steps.halves.now = 0
                one, drain = _split(list(steps.block(tile, output, steps.store)))
                start = place * extents.pixels
                made += [_moved(step, start, whole if not place else None) for step in one]
                drains.append(_moved(drain, start, whole))
            after = _Piece(tuple(drains), blocks * shape.made * (reads + timing.QUEUE))
            yield _Piece(tuple(made), products * period, after)


def _split(steps: list[Step]) -> tuple[list[Step], Step]:
    """The steps of an output block: its products, and what drains them."""
    *made, last = steps
    drain = Step(
        tuple(item for item in last.items if not item.role.endswith((" input", " weight"))),
        tuple(draft for draft in last.work if draft.opcode is not Opcode.COMPUTE),
    )
    computes = Step(
        tuple(i for i in last.items if i.role.endswith((" input", " weight"))),
        tuple(draft for draft in last.work if draft.opcode is Opcode.COMPUTE),
    )
    return [*made, computes], drain


def _ranked(queues: Sequence[deque[_Piece]]) -> tuple[deque[_Piece], ...]:
    """`queues` with the `rest` of every piece: it, and the longest chain of what waits for it.

    A piece waits for those whose words it reads, and for the one before it in its queue.
    """
    pieces = [piece for queue in queues for piece in queue]
    written = [box for piece in pieces for part in piece.parts for box in part.boxes(written=True)]
    read = [box for piece in pieces for part in piece.parts for box in part.boxes(written=False)]
    writers = np.full(max(map(_end, (*written, *read)), default=0), -1, np.int32)
    for index, piece in enumerate(pieces):
        for part in piece.parts:
            for box in part.boxes(written=True):
                box_view(writers, box)[...] = index
    rest = [0] * len(pieces)
    place, ranked = len(pieces), list[deque[_Piece]]()
    for queue in reversed(queues):
        done = deque[_Piece]()
        following = 0
        for piece in reversed(queue):
            place -= 1
            rest[place] = max(rest[place], following) + sum(part.cycles for part in piece.parts)
            following = rest[place] - sum(part.cycles for part in piece.parts[1:])
            done.appendleft(replace(piece, rest=rest[place]))
            for part in piece.parts:
                for box in part.boxes(written=False):
                    for maker in np.unique(box_view(writers, box)).tolist():
                        if maker >= 0:
                            rest[maker] = max(rest[maker], rest[place])
        ranked.insert(0, done)
    return tuple(ranked)


@dataclass(slots=True)
class _Order:
    """The model: when units are free, halves drained, and words of memory stored."""

    queues: tuple[deque[_Piece], ...]
    design: NpuDesign
    halves: Halves
    when: NDArray[np.int32] = field(init=False)
    array_bound: bool = field(init=False)
    array: int = 0
    vector: int = 0
    free: list[int] = field(default_factory=lambda: [0, 0])
    drains: deque[tuple[_Piece, int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        pieces = [part for queue in self.queues for piece in queue for part in piece.parts]
        ends = [_end(box) for p in pieces for w in (False, True) for box in p.boxes(written=w)]
        products = sum(p.cycles for p in pieces if p.drain)
        self.array_bound = products > sum(p.cycles for p in pieces if not p.drain)
        self.when = np.zeros(max(ends, default=0), np.int32)
        for piece in pieces:
            for box in piece.boxes(written=True):
                box_view(self.when, box)[...] = NOT_YET

    def steps(self) -> Iterator[Step]:
        """All steps, by the time of their start."""
        while any(self.queues) or self.drains:
            product, row = self._next(of_array=True), self._next(of_array=False)
            drain = self._drain_start()
            begin = NOT_YET if self._delays(product, row) else row[0]
            if drain <= min(product[0], begin):
                yield from self._drain(drain)
            elif begin <= product[0]:
                yield from self._rows(*row)
            else:
                yield from self._product(*product)

    def _delays(self, product: tuple[int, int], row: tuple[int, int]) -> bool:
        """Whether the array would wait for a drain that comes behind the piece of rows."""
        if not self.drains or not self.array_bound or row[0] == NOT_YET:
            return False
        drain, ready, _ = self.drains[0]
        end = row[0] + self.queues[row[1]][0].cycles + drain.cycles
        following = self.queues[product[1]][0].cycles if product[0] < NOT_YET else 0
        return end > max(ready, product[0]) + following

    def _next(self, *, of_array: bool) -> tuple[int, int]:
        """When the next piece of a unit can start, and its queue: of several the most urgent."""
        unit = max(self.array, self.free[self.halves.now]) if of_array else self.vector
        starts = [
            (max(unit, self._ready(queue[0])), -queue[0].rest, index)
            for index, queue in enumerate(self.queues)
            if queue and (queue[0].drain is not None) == of_array
        ]
        start, _, index = min(starts, default=(NOT_YET, 0, 0))
        return start, index

    def _ready(self, piece: _Piece) -> int:
        """When all that a piece, and what drains it, reads is there."""
        boxes = [box for part in piece.parts for box in part.boxes(written=False)]
        return max((int(box_view(self.when, box).max()) for box in boxes), default=0)

    def _drain_start(self) -> int:
        """When the oldest sums can be drained."""
        return max(self.vector, self.drains[0][1]) if self.drains else NOT_YET

    def _product(self, start: int, index: int) -> Iterator[Step]:
        piece, half = self.queues[index].popleft(), self.halves.now
        assert piece.drain is not None
        self.array = start + piece.cycles
        self.free[half] = NOT_YET
        self.drains.append((piece.drain, self.array, half))
        self.halves.flip()
        yield from self._in_half(piece, half)

    def _drain(self, start: int) -> Iterator[Step]:
        piece, _, half = self.drains.popleft()
        self.free[half] = self._finish(piece, start)
        yield from self._in_half(piece, half)

    def _rows(self, start: int, index: int) -> Iterator[Step]:
        piece = self.queues[index].popleft()
        self._finish(piece, start)
        yield from piece.steps

    def _finish(self, piece: _Piece, start: int) -> int:
        """The vector unit does `piece`: when it ends; and when its words are in memory."""
        self.vector = start + piece.cycles
        for box in piece.boxes(written=True):
            words = int(np.prod(box.counts))
            back = self.vector + timing.store_cycles(self.design, words)
            box_view(self.when, box)[...] = back + timing.load_cycles(self.design, words, words)
        return self.vector

    def _in_half(self, piece: _Piece, half: int) -> Iterator[Step]:
        """The steps of `piece`, with its sums in `half`."""
        words = self.design.accumulator_words
        return (_moved(step, half * words, None) for step in piece.steps)


def _end(box: Box) -> int:
    """The word behind the last of a box."""
    steps = zip(box.counts, (*box.strides, 1), strict=True)
    return box.start + sum((count - 1) * stride for count, stride in steps) + 1


def _moved(step: Step, offset: int, whole: Box | None) -> Step:
    """`step` with its sums `offset` words further on.

    As a half of the accumulators has one owner at a time, `whole` are the sums that it is said to
    touch when they are more than its own.
    """
    return replace(step, work=tuple(_moved_draft(draft, offset, whole) for draft in step.work))


def _moved_draft(draft: Draft, offset: int, whole: Box | None) -> Draft:
    name = {Opcode.COMPUTE: "acc_address", Opcode.DRAIN: "source_address"}.get(draft.opcode)
    if name is None:
        return draft

    def moved(box: Box) -> Box:
        if box.space is not Space.ACCUMULATOR:
            return box
        return whole or replace(box, start=box.start + offset)

    reads, writes = (tuple(map(moved, boxes)) for boxes in (draft.reads, draft.writes))
    fields = {**draft.fields, name: draft.fields[name] + offset}
    return replace(draft, fields=fields, reads=reads, writes=writes)
