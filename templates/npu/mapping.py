"""`ArrayMapping` and `WindowMapping`: how one operator is cut into steps on one design.

A mapping names tile sizes, splits, loop order and the number of slots that each buffer keeps for
each role; the steps and the cost are both derived from the functions of this module.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.geometry import Axis
from intaglio.templates.npu.isa import RECORD_WORDS, TABLE_ENTRIES
from intaglio.templates.npu.work import ArrayShape, Touch, WindowShape, blocks_of


@dataclass(frozen=True, slots=True)
class Tile:
    """Outputs `y` to `y + height - 1` and `x` to `x + width - 1`."""

    y: int
    x: int
    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Outputs of one channel."""
        return self.height * self.width


@dataclass(frozen=True, slots=True)
class Chunk:
    """Weight tiles that one COMPUTE works through: a box of blocks, kernel rows and columns.

    `loaded` are the input blocks that are in the buffer together; `blocks`, `fy` and `columns`
    are (first, count); `tile` counts the tiles of the output block before it.
    """

    loaded: Touch
    blocks: tuple[int, int]
    fy: tuple[int, int]
    columns: tuple[int, int]
    tile: int

    @property
    def tiles(self) -> int:
        """Weight tiles."""
        return self.blocks[1] * self.fy[1] * self.columns[1]


@dataclass(frozen=True, slots=True)
class ArrayMapping:
    """How the array works through an operator.

    tile_y, tile_x    outputs of a spatial tile
    input_blocks      input channel blocks in the buffer together (a reduction split if not all)
    chunk_blocks,     the weight tiles of a COMPUTE: blocks, kernel rows and kernel columns; rows
    chunk_fy,         are split only within one block, columns only within one row
    chunk_columns
    outputs_outer     output blocks are the outer loop, spatial tiles the inner
    resident          the whole input stays in the buffer, brought in by strips of rows
    input_slots, weight_slots, output_slots   pieces of each kind that the buffers hold at once
    cycles            estimate of the operator alone
    memory_words      words moved between memory and the buffers
    batch             output blocks whose sums are in a half of the accumulators at once
    """

    tile_y: int
    tile_x: int
    input_blocks: int
    chunk_blocks: int
    chunk_fy: int
    chunk_columns: int
    outputs_outer: bool
    resident: bool
    input_slots: int
    weight_slots: int
    output_slots: int
    cycles: int = 0
    memory_words: int = 0
    batch: int = 1

    def __str__(self) -> str:
        order = "outputs, tiles" if self.outputs_outer else "tiles, outputs"
        split = f"{self.chunk_blocks}x{self.chunk_fy}x{self.chunk_columns}"
        kept = "resident" if self.resident else f"{self.input_slots} slots"
        return (
            f"tile {self.tile_y}x{self.tile_x}, weights by {split} in {self.weight_slots} slots, "
            f"input by {self.input_blocks} blocks {kept}, loops {order}, "
            f"{self.cycles} cycles, {self.memory_words} words"
        )


@dataclass(frozen=True, slots=True)
class WindowMapping:
    """How the window unit works through an operator.

    tile_y, tile_x   outputs of a spatial tile
    step_blocks      channel blocks that are loaded and stored together
    blocks_outer     channel blocks are the outer loop, spatial tiles the inner
    input_slots, constant_slots, output_slots   pieces of each kind that the buffers hold at once
    """

    tile_y: int
    tile_x: int
    step_blocks: int
    blocks_outer: bool
    input_slots: int
    constant_slots: int
    output_slots: int
    cycles: int = 0
    memory_words: int = 0

    def __str__(self) -> str:
        order = "blocks, tiles" if self.blocks_outer else "tiles, blocks"
        return (
            f"tile {self.tile_y}x{self.tile_x} of {self.step_blocks} blocks, loops {order}, "
            f"{self.cycles} cycles, {self.memory_words} words"
        )


@dataclass(frozen=True, slots=True)
class RowMapping:
    """How the row engines work through whole rows: in tiles of `tile_rows`.

    input_slots, output_slots   tiles that the activation buffer holds at once
    """

    tile_rows: int
    input_slots: int
    output_slots: int
    cycles: int = 0
    memory_words: int = 0

    def __str__(self) -> str:
        return f"tile of {self.tile_rows} rows, {self.cycles} cycles, {self.memory_words} words"


def cut(total: int, size: int) -> list[tuple[int, int]]:
    """`total` in pieces of `size`: (first, count) each, the last one smaller."""
    return [(first, min(size, total - first)) for first in range(0, total, size)]


def tiles_of(y: Axis, x: Axis, tile_y: int, tile_x: int) -> list[Tile]:
    """The spatial tiles, row by row."""
    return [
        Tile(first_y, first_x, height, width)
        for first_y, height in cut(y.outputs, tile_y)
        for first_x, width in cut(x.outputs, tile_x)
    ]


def chunks_of(shape: ArrayShape, touched: Sequence[Touch], mapping: ArrayMapping) -> list[Chunk]:
    """The COMPUTE instructions of one output block and one tile, in the order of the weights."""
    chunks, tile = [], 0
    for touch in touched:
        for loaded in pieces_of(touch, mapping.input_blocks):
            for box in _boxes(loaded, shape, mapping):
                chunks.append(Chunk(loaded, *box, tile))
                tile += chunks[-1].tiles
    return chunks


def chunk_count(shape: ArrayShape, touched: Sequence[Touch], mapping: ArrayMapping) -> int:
    """How many chunks `chunks_of` gives."""
    inner = blocks_of(shape.y.kernel, mapping.chunk_fy)
    inner *= blocks_of(shape.columns, mapping.chunk_columns)
    pieces = [piece for touch in touched for piece in pieces_of(touch, mapping.input_blocks)]
    return inner * sum(blocks_of(p.end - p.first, mapping.chunk_blocks) for p in pieces)


def pieces_of(touch: Touch, blocks: int) -> list[Touch]:
    """`touch` in pieces of at most `blocks` blocks."""
    return [
        Touch(touch.operand, touch.first + first, touch.first + first + count)
        for first, count in cut(touch.end - touch.first, blocks)
    ]


Range = tuple[int, int]


def _boxes(
    loaded: Touch, shape: ArrayShape, mapping: ArrayMapping
) -> Iterator[tuple[Range, Range, Range]]:
    for first, count in cut(loaded.end - loaded.first, mapping.chunk_blocks):
        for fy in cut(shape.y.kernel, mapping.chunk_fy):
            for columns in cut(shape.columns, mapping.chunk_columns):
                yield (loaded.first + first, count), fy, columns


def row_words(shape: ArrayShape | WindowShape, first: int, count: int, lanes: int) -> int:
    """Words of a buffer row that outputs `first` ... along x read; packed rows as in memory."""
    if isinstance(shape, ArrayShape) and shape.pixel_bytes:
        # The first pixel may lie anywhere in its word.
        elements = ((count - 1) * shape.x.stride) * shape.pixel_bytes + shape.columns * lanes
        return blocks_of(elements + lanes - shape.pixel_bytes, lanes)
    return shape.x.loaded(count)


def window_row_words(shape: WindowShape, count: int, design: NpuDesign) -> int:
    """Words between two buffer rows that windows of `count` outputs along x read.

    An odd number when windows are read by columns, so that a column lies in both banks of the
    buffer in turn and leaves the other bank to load and store.
    """
    words = shape.x.loaded(count)
    by_columns = shape.y.kernel > 1 and shape.x.kernel <= design.window_columns
    return words | 1 if by_columns else words


def input_words(shape: ArrayShape, mapping: ArrayMapping, lanes: int) -> int:
    """Words of one input slot, with all halves of the widest operand."""
    width = row_words(shape, 0, mapping.tile_x, lanes)
    rows = shape.y.outputs if mapping.resident else mapping.tile_y
    blocks = mapping.input_blocks
    if mapping.resident:
        blocks = max(touch.end for touched in shape.touched for touch in touched)
    return blocks * max(shape.halves) * shape.y.loaded(rows) * width


def output_words(shape: ArrayShape, mapping: ArrayMapping, design: NpuDesign) -> int:
    """Words of one half of an output slot or of a residual slot."""
    blocks = min(design.groups, blocks_of(shape.outputs, design.lanes))
    return blocks * mapping.tile_y * mapping.tile_x


def chunk_words(shape: ArrayShape, mapping: ArrayMapping, design: NpuDesign) -> int:
    """Words of one weight slot: the tiles of a chunk and the records that follow the last one."""
    tiles = mapping.chunk_blocks * mapping.chunk_fy * mapping.chunk_columns
    return tiles * tile_words(shape, design) + RECORD_WORDS * design.groups


def tile_words(shape: ArrayShape, design: NpuDesign) -> int:
    """Words of one weight tile."""
    return design.tile_rows(shape.weight_bits) * design.groups


def table_words(table: bool, design: NpuDesign) -> int:
    """Words of a table."""
    return TABLE_ENTRIES // design.lanes if table else 0


def constant_words(shape: WindowShape) -> int:
    """Words of the taps and records of one channel block."""
    return (shape.window if shape.taps else 0) + RECORD_WORDS


def ring_loads(keys: Sequence[Hashable], slots: int) -> list[int]:
    """Indices of `keys` that are loaded when `slots` pieces are kept and the oldest is replaced."""
    kept: list[Hashable] = []
    loads = []
    for index, key in enumerate(keys):
        if key not in kept:
            loads.append(index)
            kept = [*kept, key][-slots:]
    return loads
