"""Products and row operators of a transformer, worked off side by side.

One after the other, the array waits while softmax and norms run and these wait for products.  In a
group the pieces of consecutive operators are mixed: while the vector unit handles some rows, the
array makes what does not depend on them.  All have a part of both buffers; tensors between them go
to memory and come back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeGuard

from intaglio.compiler.workload import BatchMatMul, MatMul, Norm
from intaglio.templates.npu import timing
from intaglio.templates.npu.allocator import fits
from intaglio.templates.npu.array_steps import array_regions
from intaglio.templates.npu.cost import array_cost, row_cost
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Space
from intaglio.templates.npu.isa import MAX_NORM_ROWS, RECORD_WORDS
from intaglio.templates.npu.mapping import ArrayMapping, RowMapping
from intaglio.templates.npu.row_steps import row_regions
from intaglio.templates.npu.steps import Place, RegionNeed, Role
from intaglio.templates.npu.work import ArrayShape, ArrayWork, RowShape, RowWork, Work, blocks_of

Part = ArrayWork | RowWork
PartMapping = ArrayMapping | RowMapping
ROWS_AT_ONCE = (16, 8, 4)
"""Rows of a softmax or norm that one instruction takes: so few that a drain need not wait long."""
BATCH_CYCLES = 3072
"""Cycles of the products whose sums are in a half of the accumulators together, at least: so long
the vector unit may be at some rows before they are drained."""
SMALL_INPUTS = 8
"""Inputs of a tile are small when so many of them are in the activation buffer."""
CHUNK_BLOCKS = 24
"""Blocks of a reduction whose weights come together, at most."""


class Slots(NamedTuple):
    """How many pieces of rows, of small and of large inputs of products the buffer holds."""

    rows: int
    small: int
    large: int


@dataclass(frozen=True, slots=True)
class GroupWork:
    """Operators in their order."""

    parts: tuple[Part, ...]

    @property
    def attention(self) -> bool:
        """Whether rows depend on all rows, so that products cannot go tile by tile."""
        return any(isinstance(part.op, BatchMatMul) for part in self.parts)


@dataclass(frozen=True, slots=True)
class GroupMapping:
    """How each operator is cut; cost as in other mappings."""

    parts: tuple[PartMapping, ...]
    cycles: int
    memory_words: int

    def __str__(self) -> str:
        cuts = "; ".join(str(part).rsplit(", ", 2)[0] for part in self.parts)
        return f"{cuts}; {self.cycles} cycles, {self.memory_words} words"


def joins(work: Work | None) -> TypeGuard[Part]:
    """Whether an operator may be in a group: a product of rows, a softmax or norm of rows."""
    if isinstance(work, RowWork):
        return True
    if not isinstance(work, ArrayWork) or not isinstance(work.op, MatMul | BatchMatMul):
        return False
    shape = work.shape
    return not shape.pixel_bytes and shape.y.outputs == 1 and shape.x.kernel == 1


def twins(works: tuple[Part, ...], index: int) -> bool:
    """Whether part `index` is a norm of the rows of the part before it, by the same sums."""
    if not 0 < index < len(works):
        return False
    first, second = works[index - 1], works[index]
    if not isinstance(first, RowWork) or not isinstance(second, RowWork):
        return False
    one, other = first.op, second.op
    if not isinstance(one, Norm) or not isinstance(other, Norm) or twins(works, index - 1):
        return False
    names = "input", "kind", "epsilon", "fraction"
    return all(getattr(one, name) == getattr(other, name) for name in names)


@lru_cache(maxsize=256)
def map_group(parts: tuple[Part, ...], design: NpuDesign) -> GroupMapping | None:
    """The first way to cut `parts` that the buffers hold side by side, or None."""
    work = GroupWork(parts)
    for rows, at_once, slots in _choices(work, design):
        mapped = _shrunk(
            work, tuple(_mapped(p, rows, at_once, slots, design) for p in parts), design
        )
        if mapped is not None:
            return _costed(work, mapped, design)
    return None


def _choices(work: GroupWork, design: NpuDesign) -> Iterator[tuple[int, int, Slots]]:
    """Rows of a tile, rows at once of a row operator, and slots of inputs: the best first.

    A tile has as many rows as the array takes cycles for a weight tile at least.
    """
    shapes = [part.shape for part in work.parts]
    total = max(s.rows if isinstance(s, RowShape) else s.x.outputs for s in shapes)
    tiles = [total] if work.attention else [blocks_of(total, count) for count in (2, 4, 8)]
    for rows in tiles:
        for slots in (Slots(2, 2, 2), Slots(1, 2, 1), Slots(1, 1, 1)):
            for at_once in ROWS_AT_ONCE:
                if rows >= design.rows:
                    yield rows, at_once, slots


def _mapped(part: Part, rows: int, at_once: int, slots: Slots, design: NpuDesign) -> PartMapping:
    """The cut of one operator: tiles of `rows` rows, of all blocks."""
    if isinstance(part, RowWork):
        return RowMapping(min(at_once, part.shape.rows, MAX_NORM_ROWS), slots.rows, slots.rows)
    shape = part.shape
    blocks = max(touch.end - touch.first for touched in shape.touched for touch in touched)
    single = min(rows, shape.x.outputs)
    whole = single == shape.x.outputs and shape.heads == 1
    large = single * blocks * SMALL_INPUTS > design.activation_words
    chunk = blocks_of(blocks, blocks_of(blocks, CHUNK_BLOCKS))
    loaded = chunk if large and not whole else blocks
    inputs = 1 if whole else blocks_of(blocks, loaded) * (slots.large if large else slots.small)
    period = timing.tile_period(design, single, shape.weight_bits)
    batch = blocks_of(BATCH_CYCLES, blocks * period)
    batch = max(min(batch, len(shape.touched), design.accumulator_words // single), 1)
    weights = 2 if chunk == blocks else 3
    return ArrayMapping(
        1,
        single,
        loaded,
        chunk,
        1,
        1,
        False,
        False,
        inputs,
        weights,
        min(batch, 3) + 1,
        batch=batch,
    )


def _shrunk(
    work: GroupWork, parts: tuple[PartMapping, ...], design: NpuDesign
) -> tuple[PartMapping, ...] | None:
    """`parts` with the largest chunks of weights cut in halves until the buffers hold them."""
    while not fits(group_regions(work.parts, parts, design), design):
        chunks = [p.chunk_blocks if isinstance(p, ArrayMapping) else 0 for p in parts]
        largest = chunks.index(max(chunks))
        found = parts[largest]
        if not isinstance(found, ArrayMapping) or found.chunk_blocks < 2:
            return None
        chunk = blocks_of(found.chunk_blocks, 2)
        cut = replace(found, chunk_blocks=chunk, weight_slots=3)
        parts = (*parts[:largest], cut, *parts[largest + 1 :])
    half = design.accumulator_words
    small = all(p.tile_x <= half for p in parts if isinstance(p, ArrayMapping))
    return parts if small else None


def _costed(work: GroupWork, parts: tuple[PartMapping, ...], design: NpuDesign) -> GroupMapping:
    """The words of all parts, and the cycles of one after the other."""
    done: list[PartMapping] = []
    for part, mapping in zip(work.parts, parts, strict=True):
        if isinstance(part, ArrayWork):
            assert isinstance(mapping, ArrayMapping)
            done.append(array_cost(part.shape, mapping, design))
        else:
            assert isinstance(mapping, RowMapping)
            done.append(row_cost(part.shape, mapping, design))
    cycles, words = (sum(getattr(m, name) for m in done) for name in ("cycles", "memory_words"))
    return GroupMapping(tuple(done), cycles, words)


def group_regions(
    works: tuple[Part, ...], parts: tuple[PartMapping, ...], design: NpuDesign
) -> tuple[RegionNeed, ...]:
    """What the parts take of the buffers; a role begins with the number of the part it is of."""
    needs: dict[Role, RegionNeed] = {}
    for index in range(len(works)):
        for role, need in _needs(works, parts, index, design).items():
            name = _name(works, parts, index, role)
            needs.setdefault(name, replace(need, role=name))
    return tuple(needs.values())


def part_place(
    place: Place, works: tuple[Part, ...], parts: tuple[PartMapping, ...], index: int
) -> Place:
    """`place` of a group with the regions of part `index`, by the roles they have there."""
    roles = _needs(works, parts, index, place.design)
    regions = {role: place.regions[_name(works, parts, index, role)] for role in roles}
    return replace(place, regions=regions)


def _needs(
    works: tuple[Part, ...], parts: tuple[PartMapping, ...], index: int, design: NpuDesign
) -> dict[Role, RegionNeed]:
    """The regions that one part works with, by role."""
    work, mapping = works[index], parts[index]
    if isinstance(work, ArrayWork):
        assert isinstance(mapping, ArrayMapping)
        words = RECORD_WORDS * design.groups
        records = RegionNeed("records", Space.WEIGHT, 2 * mapping.batch + 1, words)
        needs = (*array_regions(work.shape, mapping, design), records)
    else:
        assert isinstance(mapping, RowMapping)
        needs = row_regions(work.shape, mapping, design)
    return {need.role: need for need in needs}


def _name(works: tuple[Part, ...], parts: tuple[PartMapping, ...], index: int, role: Role) -> Role:
    """The role in the group of a part's region.

    Rows come and go with each piece, so row operators of the same shape share the room for them.
    """
    owner = index
    shared = sharer(works, parts, index)
    if role == "input" and shared is not None:
        return _name(works, parts, shared, role)
    if role in ("input", "output") and isinstance(works[index], RowWork):
        kind = works[index].shape, parts[index], twins(works, index)
        kinds = ((works[k].shape, parts[k], twins(works, k)) for k in range(index + 1))
        owner = next(k for k, other in enumerate(kinds) if other == kind)
    return f"{owner} {role}"


def sharer(works: tuple[Part, ...], parts: tuple[PartMapping, ...], index: int) -> int | None:
    """The part before `index` that brings in all of the same input, or None."""
    if twins(works, index):
        return index - 1
    mine = _whole_input(works[index], parts[index])
    for other in range(index):
        if mine is not None and _whole_input(works[other], parts[other]) == mine:
            return other
    return None


def _whole_input(work: Part, mapping: PartMapping) -> tuple[str, ArrayShape | int] | None:
    """What says that an input is one piece that stays in the buffer, and which it is."""
    if not isinstance(work, ArrayWork) or not isinstance(mapping, ArrayMapping):
        return None
    touches = {touch for touched in work.shape.touched for touch in touched}
    if mapping.tile_x < work.shape.x.outputs or len(touches) != 1:
        return None
    (touch,) = touches
    return (work.operands[0], touch.end) if mapping.input_blocks >= touch.end else None
