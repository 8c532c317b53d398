"""What a mapping costs: cycles of the operator alone, and words moved to and from memory."""

from __future__ import annotations

from dataclasses import replace

from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.geometry import Axis
from intaglio.templates.npu.isa import RECORD_WORDS
from intaglio.templates.npu.mapping import (
    ArrayMapping,
    RowMapping,
    Tile,
    WindowMapping,
    chunk_count,
    constant_words,
    cut,
    pieces_of,
    ring_loads,
    row_words,
    table_words,
    tile_words,
    tiles_of,
)
from intaglio.templates.npu.work import ArrayShape, RowShape, Touch, WindowShape, blocks_of


def array_cost(shape: ArrayShape, mapping: ArrayMapping, design: NpuDesign) -> ArrayMapping:
    """`mapping` with its cycles and memory words."""
    return _ArrayCost(shape, mapping, design).filled()


def window_cost(shape: WindowShape, mapping: WindowMapping, design: NpuDesign) -> WindowMapping:
    """`mapping` with its cycles and memory words."""
    tiles = tiles_of(shape.y, shape.x, mapping.tile_y, mapping.tile_x)
    steps = len(tiles) * blocks_of(shape.blocks, mapping.step_blocks)
    pixels = shape.y.outputs * shape.x.outputs
    window = window_units(shape, tiles, design)
    read = shape.blocks * _read_pixels(shape.y, shape.x, tiles)
    written = shape.blocks * pixels
    constants = shape.blocks * constant_words(shape)
    if not mapping.blocks_outer and mapping.constant_slots < blocks_of(
        shape.blocks, mapping.step_blocks
    ):
        constants *= len(tiles)
    words = read + written * (shape.made + shape.residual) + constants
    words += table_words(shape.table, design)
    instructions = 3 + mapping.step_blocks * shape.made + shape.residual
    words += timing.fetch_words(design, steps * instructions)
    memory = timing.memory_cycles(design, words)
    first = _first(shape, mapping, design)
    exposed = first + _last(mapping, shape, design)
    if mapping.input_slots == 1:
        exposed += timing.memory_cycles(design, read) + steps * design.memory_latency_cycles
    return replace(mapping, cycles=max(window, memory) + exposed, memory_words=words)


def row_cost(shape: RowShape, mapping: RowMapping, design: NpuDesign) -> RowMapping:
    """`mapping` with its cycles and memory words."""
    tiles = [rows for _, rows in cut(shape.rows, mapping.tile_rows)] * shape.heads
    vector = sum(row_cycles(shape, rows, design) for rows in tiles)
    tile = shape.blocks * mapping.tile_rows
    masks = shape.blocks * shape.mask * (shape.heads if shape.masks or shape.mask > 1 else 1)
    records = shape.blocks * RECORD_WORDS if shape.norm else 0
    words = shape.heads * shape.blocks * shape.rows
    read = words * shape.halves + masks
    words = read + words * shape.made + records
    words += timing.fetch_words(design, len(tiles) * (3 + (shape.mask > 1)))
    exposed = timing.load_cycles(design, tile * shape.halves + records, tile * shape.halves)
    exposed += timing.store_cycles(design, tile * shape.made)
    if mapping.input_slots == 1:
        exposed += timing.memory_cycles(design, read) + len(tiles) * design.memory_latency_cycles
    cycles = max(vector, timing.memory_cycles(design, words)) + exposed
    return replace(mapping, cycles=cycles, memory_words=words)


def row_cycles(shape: RowShape, rows: int, design: NpuDesign, again: bool = False) -> int:
    """Cycles of the instruction of a tile; a norm's when it goes `again` over its rows."""
    if shape.norm:
        one = timing.norm_cycles(design, shape.blocks, rows, shape.halves, shape.made, again)
        return one + timing.QUEUE
    reads = shape.halves + (shape.mask > 0)
    return timing.softmax_cycles(design, shape.blocks, rows, reads) + timing.QUEUE


def window_units(shape: WindowShape, tiles: list[Tile], design: NpuDesign) -> int:
    """Cycles of the window unit, for all blocks of `tiles`.

    About every second write of an output holds up a read of the same bank.
    """
    taps = shape.window if shape.taps else 0
    own = timing.window_cycles(design, 0, taps, shape.table) + timing.QUEUE
    window = shape.y.kernel, shape.x.kernel
    new = timing.new_columns(design, shape.x.kernel, shape.x.buffer_stride, shape.x.dilation)
    reads = sum(tile.height * timing.row_reads(tile.width, window, new) for tile in tiles)
    pixels = sum(tile.pixels for tile in tiles)
    cycles = len(tiles) * own + reads + pixels * shape.residual + pixels // 2
    return shape.blocks * shape.made * cycles


def _first(shape: WindowShape, mapping: WindowMapping, design: NpuDesign) -> int:
    """Cycles until the first tile is there."""
    words = shape.y.loaded(mapping.tile_y) * shape.x.loaded(mapping.tile_x) * mapping.step_blocks
    return timing.load_cycles(design, words, words)


def _last(mapping: WindowMapping, shape: WindowShape, design: NpuDesign) -> int:
    """Cycles that the last store takes after the last instruction before it."""
    pixels = mapping.tile_y * mapping.tile_x
    return timing.store_cycles(design, pixels * mapping.step_blocks * shape.made)


def _read_pixels(y: Axis, x: Axis, tiles: list[Tile]) -> int:
    """Pixels of one channel block that all tiles read from memory."""
    rows = {(tile.y, tile.height) for tile in tiles}
    columns = {(tile.x, tile.width) for tile in tiles}
    return sum(y.span(*key).size for key in rows) * sum(x.span(*key).size for key in columns)


def array_units(shape: ArrayShape, mapping: ArrayMapping, design: NpuDesign) -> tuple[int, int]:
    """Cycles of the array, and of the vector unit."""
    return _ArrayCost(shape, mapping, design).units()


class _ArrayCost:
    """The terms of the cost of one mapping on the array."""

    def __init__(self, shape: ArrayShape, mapping: ArrayMapping, design: NpuDesign) -> None:
        self.shape, self.mapping, self.design = shape, mapping, design
        self.rows = cut(shape.y.outputs, mapping.tile_y)
        self.columns = cut(shape.x.outputs, mapping.tile_x)
        self.tiles = len(self.rows) * len(self.columns)
        touches = [touch for touched in shape.touched for touch in touched]
        self.weight_tiles = sum(shape.tiles(touch) for touch in touches)
        self.passes = sum(shape.tiles(touch) * shape.halves[touch.operand] for touch in touches)
        counts = {t: chunk_count(shape, t, mapping) for t in set(shape.touched)}
        self.chunks = [counts[touched] for touched in shape.touched]

    def filled(self) -> ArrayMapping:
        """The mapping with what it costs."""
        design = self.design
        weights, weight_loads = self._weights()
        inputs, input_loads = self._inputs()
        blocks = self.shape.output_blocks(design.lanes)
        outputs = blocks * self.shape.y.outputs * self.shape.x.outputs
        words = weights + inputs + outputs * (self.shape.made + self.shape.residual)
        words += table_words(self.shape.table, design)
        steps = self.tiles * sum(self.chunks) * max(self.shape.halves)
        stores = self.tiles * len(self.chunks) * (1 + bool(self.shape.residual))
        drains = self.tiles * blocks * self.shape.made
        instructions = steps + weight_loads + input_loads + drains + stores
        words += timing.fetch_words(design, instructions)
        memory = timing.memory_cycles(design, words)
        array = self._array() + steps * timing.QUEUE
        if self.mapping.input_slots == 1 and not self.mapping.resident and input_loads > 1:
            array += self._alone(inputs, input_loads)
        if self.mapping.weight_slots == 1 and weight_loads > 1:
            array += self._alone(weights, weight_loads)
        first = self._alone(inputs // max(input_loads, 1) + weights // weight_loads, 1)
        vector = self._vector(blocks)
        turns = self._turns(weights, weight_loads, array + vector)
        cycles = max(array, memory, vector, turns) + first + self._last()
        return replace(self.mapping, cycles=cycles, memory_words=words)

    def units(self) -> tuple[int, int]:
        """Cycles of the array, and of the vector unit."""
        return self._array(), self._vector(self.shape.output_blocks(self.design.lanes))

    def _alone(self, words: int, loads: int) -> int:
        """Cycles of loads that nothing hides."""
        design = self.design
        return timing.memory_cycles(design, words) + loads * (
            design.memory_latency_cycles + timing.LOAD_PIPELINE
        )

    def _turns(self, words: int, loads: int, work: int) -> int:
        """Cycles of the slots of weights, which take turns: a chunk comes, then it is worked on."""
        slots = self.mapping.weight_slots
        return 0 if loads <= slots else (self._alone(words, loads) + work) // slots

    def _array(self) -> int:
        """Cycles of all weight tiles on all pixels, once for each half of the operand."""
        periods = sum(
            timing.tile_period(self.design, height * width, self.shape.weight_bits)
            for _, height in self.rows
            for _, width in self.columns
        )
        return self.passes * periods

    def _vector(self, blocks: int) -> int:
        """Cycles of all drains; with one output slot a store keeps the next one waiting."""
        design, mapping = self.design, self.mapping
        own = timing.vector_cycles(design, 0, self.shape.table) + timing.QUEUE
        pixels = self.shape.y.outputs * self.shape.x.outputs
        total = blocks * self.shape.made * (self.tiles * own + pixels * self._drain_reads())
        if mapping.output_slots == 1:
            total += timing.memory_cycles(design, blocks * self.shape.made * pixels)
            total += self.tiles * len(self.shape.touched) * design.memory_latency_cycles
        return total

    def _last(self) -> int:
        """Cycles from the last product to the end of the last store."""
        blocks = min(self.design.groups, blocks_of(self.shape.outputs, self.design.lanes))
        pixels = self.mapping.tile_y * self.mapping.tile_x
        words = blocks * self.shape.made * pixels
        reads = pixels * self._drain_reads()
        one = timing.vector_cycles(self.design, reads, self.shape.table)
        return blocks * self.shape.made * one + timing.store_cycles(self.design, words)

    def _drain_reads(self) -> int:
        """Cycles that a DRAIN reads for each pixel: two of a wide residual."""
        return max(self.shape.residual, 1)

    def _weights(self) -> tuple[int, int]:
        """Words and loads of weights and records."""
        words = self.weight_tiles * tile_words(self.shape, self.design)
        words += len(self.chunks) * RECORD_WORDS * self.design.groups
        total, slots = sum(self.chunks), self.mapping.weight_slots
        kept = total <= slots or (self.mapping.outputs_outer and max(self.chunks) <= slots)
        times = 1 if kept else self.tiles
        return words * times, total * times

    def _inputs(self) -> tuple[int, int]:
        """Words and loads of inputs."""
        mapping = self.mapping
        split = {
            touched: [p for touch in touched for p in pieces_of(touch, mapping.input_blocks)]
            for touched in set(self.shape.touched)
        }
        pieces = [piece for touched in self.shape.touched for piece in split[touched]]
        distinct = list(dict.fromkeys(pieces))
        if mapping.resident:
            return self._words(distinct, resident=True), len(distinct) * self.tiles
        if mapping.outputs_outer and self.tiles > 1:
            kept = self.tiles * len(distinct) <= mapping.input_slots
            loaded = distinct if kept else pieces
        else:
            loaded = [pieces[index] for index in ring_loads(pieces, mapping.input_slots)]
        return self._words(loaded, resident=False), len(loaded) * self.tiles

    def _words(self, pieces: list[Touch], *, resident: bool) -> int:
        """Words that all tiles read of `pieces`."""
        shape, lanes = self.shape, self.design.lanes
        blocks = sum((piece.end - piece.first) * shape.halves[piece.operand] for piece in pieces)
        spans = [(0, shape.y.outputs)] if resident else self.rows
        rows = sum(shape.y.span(*span).size for span in spans)
        if shape.pixel_bytes:
            return blocks * rows * sum(row_words(shape, *span, lanes) for span in self.columns)
        return blocks * rows * sum(shape.x.span(*span).size for span in self.columns)
