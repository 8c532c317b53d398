"""Chooses how an operator is cut: enumerates tiles, splits, orders and slots, and costs each.

The cost is that of the operator alone: the busiest of array, memory and vector unit, and what no
other work hides.  Mappings within 0.3 % of the fastest are told apart by the words they move.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol, TypeVar

from intaglio.errors import DesignError
from intaglio.templates.npu.allocator import fits, words_needed
from intaglio.templates.npu.array_steps import array_regions
from intaglio.templates.npu.cost import array_cost, row_cost, window_cost
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Space
from intaglio.templates.npu.isa import FIELDS, MAX_NORM_ROWS, RECORD_WORDS, Opcode
from intaglio.templates.npu.mapping import (
    ArrayMapping,
    RowMapping,
    WindowMapping,
    chunk_count,
    chunk_words,
    constant_words,
    table_words,
    tile_words,
)
from intaglio.templates.npu.row_steps import row_regions
from intaglio.templates.npu.steps import RegionNeed
from intaglio.templates.npu.window_steps import window_regions
from intaglio.templates.npu.work import ArrayShape, RowShape, WindowShape, blocks_of

TIE = 1.003
"""Mappings up to this factor slower than the fastest compete on the words they move."""
WIDEST_LOAD = FIELDS[Opcode.LOAD]["words"].hi
"""Words that one row of a LOAD moves at most."""
MOST_BLOCKS, MOST_ROWS, MOST_COLUMNS = (
    FIELDS[Opcode.COMPUTE][loop].hi for loop in ("blocks", "fy", "fx")
)
"""Channel blocks, kernel rows and kernel columns that one COMPUTE walks at most."""


class Costed(Protocol):
    """A mapping that knows what it costs."""

    @property
    def cycles(self) -> int:
        """Estimate of the layer alone."""

    @property
    def memory_words(self) -> int:
        """Words moved between memory and the buffers."""


M = TypeVar("M", bound=Costed)


@lru_cache(maxsize=4096)
def _best_array(shape: ArrayShape, design: NpuDesign) -> ArrayMapping | None:
    for candidates in _array_levels(shape, design):
        fitting = [c for c in candidates if fits(array_regions(shape, c, design), design)]
        if fitting:
            return cheapest(array_cost(shape, c, design) for c in fitting)
    return None


@lru_cache(maxsize=4096)
def _best_window(shape: WindowShape, design: NpuDesign) -> WindowMapping | None:
    for candidates in _window_levels(shape, design):
        fitting = [c for c in candidates if fits(window_regions(shape, c, design), design)]
        if fitting:
            return cheapest(window_cost(shape, c, design) for c in fitting)
    return None


def map_array(name: str, shape: ArrayShape, design: NpuDesign) -> ArrayMapping:
    """The cheapest mapping of an operator on the array.

    Raises DesignError naming the operator, what one tile needs and what the buffer holds.
    """
    best = _best_array(shape, design)
    if best is None:
        least = ArrayMapping(1, 1, 1, 1, 1, 1, False, False, 1, 1, 1)
        raise DesignError(_too_small(name, array_regions(shape, least, design), design))
    return best


@lru_cache(maxsize=1024)
def tiled_array(shape: ArrayShape, design: NpuDesign) -> ArrayMapping | None:
    """The cheapest mapping that goes over tiles of whole rows and brings in what each one reads."""
    for candidates in _array_levels(shape, design):
        tiled = (c for c in candidates if not c.outputs_outer and not c.resident)
        fitting = [
            c
            for c in tiled
            if c.tile_x == shape.x.outputs and fits(array_regions(shape, c, design), design)
        ]
        if fitting:
            return cheapest(array_cost(shape, c, design) for c in fitting)
    return None


def map_window(name: str, shape: WindowShape, design: NpuDesign) -> WindowMapping:
    """The cheapest mapping of an operator on the window; raises DesignError like `map_array`."""
    best = _best_window(shape, design)
    if best is None:
        least = WindowMapping(1, 1, 1, True, 1, 1, 1)
        raise DesignError(_too_small(name, window_regions(shape, least, design), design))
    return best


def map_rows(name: str, shape: RowShape, design: NpuDesign) -> RowMapping:
    """The cheapest mapping of a norm or softmax; raises DesignError like `map_array`."""
    most = MAX_NORM_ROWS if shape.norm else shape.rows
    candidates = [
        RowMapping(rows, slots, slots) for rows in splits(shape.rows, most) for slots in (2, 1)
    ]
    fitting = [c for c in candidates if fits(row_regions(shape, c, design), design)]
    if not fitting:
        least = row_regions(shape, RowMapping(1, 1, 1), design)
        raise DesignError(_too_small(name, least, design))
    return cheapest(row_cost(shape, c, design) for c in fitting)


def cheapest(candidates: Iterable[M]) -> M:
    """The fewest words among those within the tie of the fastest."""
    known = list(candidates)
    limit = min(c.cycles for c in known) * TIE
    return min((c for c in known if c.cycles <= limit), key=lambda c: (c.memory_words, c.cycles))


def _too_small(name: str, needs: Sequence[RegionNeed], design: NpuDesign) -> str:
    """The sentence for a design that cannot hold one tile."""
    buffers = {
        Space.ACTIVATION: ("activation_buffer_kib", design.activation_buffer_kib),
        Space.WEIGHT: ("weight_buffer_kib", design.weight_buffer_kib),
    }
    totals = {space: design.word_bytes * words_needed(needs, space, design) for space in buffers}
    space = max(totals, key=lambda s: totals[s] / buffers[s][1])
    key, kib = buffers[space]
    enough = 1 << (blocks_of(totals[space], 1024) - 1).bit_length()
    return (
        f"{name}: one tile needs {totals[space]} bytes of the {space.name.lower()} buffer, which "
        f"holds {kib * 1024}; raise {key} to {enough}"
    )


def splits(total: int, limit: int) -> list[int]:
    """Sizes up to `limit` that cut `total` evenly: into few pieces, then into twice as many ..."""
    least = blocks_of(total, max(1, min(total, limit)))
    counts = [*range(least, least + 4), *(least << i for i in range(3, 16))]
    sizes = {blocks_of(total, min(count, total)) for count in counts}
    return sorted((size for size in sizes if size <= limit), reverse=True)


def _halvings(total: int) -> list[int]:
    """`total`, its half, its quarter ... down to one."""
    sizes = [total]
    while sizes[-1] > 1:
        sizes.append(blocks_of(sizes[-1], 2))
    return sizes


def _levels(widths: list[int], blocks: list[int]) -> Iterator[list[tuple[int, int]]]:
    """Pairs of tile width and blocks, those with the fewest cuts first."""
    for level in range(len(widths) + len(blocks) - 1):
        yield [
            (widths[i], blocks[level - i])
            for i in range(level + 1)
            if i < len(widths) and level - i < len(blocks)
        ]


def _array_levels(shape: ArrayShape, design: NpuDesign) -> Iterator[list[ArrayMapping]]:
    """Candidates, from whole rows of all channels to single pixels of single blocks."""
    half = design.accumulator_words
    widths = [w for w in _halvings(shape.x.outputs) if w <= half]
    blocks = _halvings(max(t.end - t.first for touched in shape.touched for t in touched))
    for level in _levels(widths, blocks):
        yield [
            candidate
            for width, loaded in level
            for height in splits(shape.y.outputs, half // width)
            for candidate in _array_candidates(shape, design, height, width, loaded)
        ]


def _array_candidates(
    shape: ArrayShape, design: NpuDesign, height: int, width: int, loaded: int
) -> Iterator[ArrayMapping]:
    """Every chunk size, loop order, residency and number of slots of one tile."""
    single = len({touch.operand for touched in shape.touched for touch in touched}) == 1
    strips = single and width == shape.x.outputs
    for weight_slots, chunk in chunks(shape, loaded, design):
        for outer in (False, True):
            for resident, inputs in ((False, 2), (False, 1), *(((True, 1),) if strips else ())):
                for outputs in (2, 1):
                    yield ArrayMapping(
                        height,
                        width,
                        loaded,
                        *chunk,
                        outer,
                        resident,
                        inputs,
                        weight_slots,
                        outputs,
                    )


@lru_cache(maxsize=256)
def chunks(
    shape: ArrayShape, loaded: int, design: NpuDesign, reserved: int = 0
) -> tuple[tuple[int, tuple[int, int, int]], ...]:
    """Slots of the weight buffer, and the blocks, kernel rows and columns of a chunk.

    `reserved` words of the buffer are for something else.
    """
    room = design.weight_words - table_words(shape.table, design) - reserved
    found: dict[tuple[int, tuple[int, int, int]], None] = {}
    for slots in (1, 2, 3, 4, 8):
        words = min(room // slots, WIDEST_LOAD)
        tiles = (words - RECORD_WORDS * design.groups) // tile_words(shape, design)
        if tiles < 1:
            break
        chunk = _chunk(shape, loaded, tiles)
        probe = ArrayMapping(1, 1, loaded, *chunk, False, False, 1, slots, 1)
        total = sum(chunk_count(shape, touched, probe) for touched in shape.touched)
        held = room // chunk_words(shape, probe, design)
        found[total if total <= held else slots, chunk] = None
    return tuple(found)


def _chunk(shape: ArrayShape, loaded: int, tiles: int) -> tuple[int, int, int]:
    """The largest even cut of `loaded` blocks into chunks of at most `tiles` weight tiles."""
    rows, columns = shape.y.kernel, shape.columns
    whole_rows = tiles >= columns <= MOST_COLUMNS
    if whole_rows and tiles >= rows * columns and rows <= MOST_ROWS:
        return even(loaded, min(tiles // (rows * columns), MOST_BLOCKS)), rows, columns
    if whole_rows:
        return 1, even(rows, min(tiles // columns, MOST_ROWS)), columns
    return 1, 1, even(columns, min(tiles, MOST_COLUMNS))


def even(total: int, limit: int) -> int:
    """The size of the fewest equal pieces of `total` that are at most `limit`."""
    return blocks_of(total, blocks_of(total, min(total, limit)))


def _window_levels(shape: WindowShape, design: NpuDesign) -> Iterator[list[WindowMapping]]:
    """Candidates, from whole rows to single pixels."""
    for width in _halvings(shape.x.outputs):
        yield [
            candidate
            for height in splits(shape.y.outputs, shape.y.outputs)
            for blocks in _halvings(shape.blocks)
            for candidate in _window_candidates(shape, design, height, width, blocks)
        ]


def _window_candidates(
    shape: WindowShape, design: NpuDesign, height: int, width: int, blocks: int
) -> Iterator[WindowMapping]:
    pieces = blocks_of(shape.blocks, blocks)
    room = design.weight_words - table_words(shape.table, design)
    held = room // (blocks * constant_words(shape))
    for slots in (2, 1):
        if pieces <= held:
            yield WindowMapping(height, width, blocks, False, slots, pieces, slots)
        yield WindowMapping(height, width, blocks, True, slots, min(2, pieces), slots)
        yield WindowMapping(height, width, blocks, True, slots, 1, slots)
