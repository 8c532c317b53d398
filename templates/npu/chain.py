"""A pair and the operator on the array that reads its results, worked off side by side.

While the window works on one strip of the pair, the array makes what the tail needs of the strips
before.  The tensor between pair and tail goes to memory and comes back tile by tile.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError
from intaglio.templates.npu import timing
from intaglio.templates.npu.allocator import fits
from intaglio.templates.npu.array_steps import ArraySteps, array_regions
from intaglio.templates.npu.cost import array_units
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.fused_mapper import map_fused
from intaglio.templates.npu.fused_mapping import FusedMapping, FusedShape, fused_units
from intaglio.templates.npu.fused_steps import FusedSteps, FusedWork, fused_regions, own_place
from intaglio.templates.npu.mapper import tiled_array
from intaglio.templates.npu.mapping import ArrayMapping, tiles_of
from intaglio.templates.npu.steps import Place, RegionNeed, Step
from intaglio.templates.npu.work import ArrayShape, ArrayWork

TAIL = "tail "
"""What the roles of the tail's regions begin with."""
LEAST_STRIPS = (2, 4, 8)
"""Strips that a pair is cut into at least, so that there is something to work on side by side."""


@dataclass(frozen=True, slots=True)
class ChainWork:
    """A pair, and the operator on the array that reads what the pair makes."""

    pair: FusedWork
    tail: ArrayWork


@dataclass(frozen=True, slots=True)
class ChainMapping:
    """How pair and tail are cut, each for half of the buffers; cost as in other mappings."""

    pair: FusedMapping
    tail: ArrayMapping
    cycles: int
    memory_words: int

    def __str__(self) -> str:
        return (
            f"strips of {self.pair.consumer.tile_y} rows, tail by {self.tail.tile_y}x"
            f"{self.tail.tile_x}, {self.cycles} cycles, {self.memory_words} words"
        )


@lru_cache(maxsize=1024)
def map_chain(pair: FusedShape, tail: ArrayShape, design: NpuDesign) -> ChainMapping | None:
    """The cheapest mapping of pair and tail side by side; None when the buffers do not hold it."""
    try:
        half = replace(
            design,
            activation_buffer_kib=design.activation_buffer_kib // 2,
            weight_buffer_kib=design.weight_buffer_kib // 2,
        )
    except DesignError:
        return None
    last = tiled_array(tail, half)
    if last is None:
        return None
    firsts = (map_fused(pair, half, least) for least in LEAST_STRIPS)
    found = [_costed(pair, tail, first, last, half) for first in firsts if first is not None]
    fitting = [m for m in found if fits(chain_regions(pair, tail, m, design), design)]
    return min(fitting, key=lambda mapping: mapping.cycles, default=None)


def _costed(
    pair: FusedShape, tail: ArrayShape, first: FusedMapping, last: ArrayMapping, design: NpuDesign
) -> ChainMapping:
    """The busiest unit of both, and most of what one after the other would add.

    About a third of the rest is hidden, as simulations show.
    """
    array, drains, windows = fused_units(pair, first, design)
    tail_array, tail_drains = array_units(tail, last, design)
    words = first.memory_words + last.memory_words
    memory = timing.memory_cycles(design, words)
    busiest = max(memory, array + tail_array, drains + tail_drains, windows)
    apart = first.cycles + last.cycles
    cycles = busiest + max(apart - busiest, 0) * 2 // 3
    return ChainMapping(first, last, cycles, words)


def chain_regions(
    pair: FusedShape, tail: ArrayShape, mapping: ChainMapping, design: NpuDesign
) -> tuple[RegionNeed, ...]:
    """What `mapping` takes of the buffers."""
    needs = array_regions(tail, mapping.tail, design)
    renamed = (RegionNeed(TAIL + n.role, n.space, n.slots, n.slot_words) for n in needs)
    return (*fused_regions(pair, mapping.pair, design), *renamed)


def chain_steps(
    work: ChainWork, mapping: ChainMapping, workload: Workload, places: Sequence[Place]
) -> list[Step]:
    """The steps of `work`, in order; `places` are those of its three operators."""
    return list(_ChainSteps(work, mapping, workload, places).generate())


@dataclass(slots=True)
class _ChainSteps:
    """Mixes the steps of the tail among those of the pair."""

    work: ChainWork
    mapping: ChainMapping
    workload: Workload
    places: Sequence[Place]
    pair: FusedSteps = field(init=False)
    tail: ArraySteps = field(init=False)

    def __post_init__(self) -> None:
        *of_pair, last = self.places
        self.pair = FusedSteps(self.work.pair, self.mapping.pair, self.workload, *of_pair)
        shape, cut = self.work.tail.shape, self.mapping.tail
        tiles = tiles_of(shape.y, shape.x, cut.tile_y, cut.tile_x)
        place = own_place(last, TAIL)
        self.tail = ArraySteps(self.work.tail, cut, place, tiles, self.pair.array.halves)

    def generate(self) -> Iterator[Step]:
        """Strip after strip of the pair; between its blocks, the tail on the strips before."""
        blocks, tail, rows = len(self.work.pair.producer.shape.touched), self._tail(), 0
        done = 0
        for number, strip in enumerate(self.pair.strips):
            ready = self._ready(rows) - done
            for output in range(blocks):
                yield from self.pair.block(number, output)
                due = ready * (output + 1) // blocks - ready * output // blocks
                yield from (step for steps in islice(tail, due) for step in steps)
            done, rows = done + ready, strip.y + strip.height
        yield from (step for steps in tail for step in steps)

    def _tail(self) -> Iterator[Iterator[Step]]:
        """The tail's steps by tile and output block."""
        for tile in range(len(self.tail.tiles)):
            for output in range(len(self.work.tail.shape.touched)):
                yield self.tail.block(tile, output, self.tail.store)

    def _ready(self, rows: int) -> int:
        """Tiles and output blocks of the tail that need only the first `rows` rows of the pair."""
        y = self.work.tail.shape.y
        ends = (y.span(tile.y, tile.height) for tile in self.tail.tiles)
        tiles = sum(1 for span in ends if span.start + span.size <= rows)
        return tiles * len(self.work.tail.shape.touched)
