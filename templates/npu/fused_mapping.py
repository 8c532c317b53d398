"""`FusedMapping`: how two operators that share the activation buffer are cut, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intaglio.templates.npu import timing
from intaglio.templates.npu.cost import window_units
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import RECORD_WORDS
from intaglio.templates.npu.mapping import (
    ArrayMapping,
    Tile,
    WindowMapping,
    chunk_count,
    constant_words,
    cut,
    row_words,
    table_words,
    tile_words,
)
from intaglio.templates.npu.work import ArrayShape, WindowShape, blocks_of

HELD_UP = 8
"""Cycles of draining in which windows are held up once: both use the same port."""


@dataclass(frozen=True, slots=True)
class FusedShape:
    """Extents of an operator on the array, and of the one on the window that reads its results."""

    producer: ArrayShape
    consumer: WindowShape


@dataclass(frozen=True, slots=True)
class FusedMapping:
    """How a pair is worked off: strips of whole rows, in a strip one output block after another.

    producer       a tile is what one COMPUTE makes of a strip; output slots have no meaning
    consumer       a tile is a strip; its input slots are those of the tensor between the two
    cycles         estimate of the pair alone
    memory_words   words moved between memory and the buffers
    """

    producer: ArrayMapping
    consumer: WindowMapping
    cycles: int = 0
    memory_words: int = 0

    def __str__(self) -> str:
        return (
            f"strips of {self.consumer.tile_y} rows made by {self.producer.tile_y}, "
            f"{self.cycles} cycles, {self.memory_words} words"
        )


def strips_of(shape: FusedShape, mapping: FusedMapping) -> list[Tile]:
    """The strips, in outputs of the window."""
    y, x = shape.consumer.y, shape.consumer.x
    return [
        Tile(first, 0, count, x.outputs) for first, count in cut(y.outputs, mapping.consumer.tile_y)
    ]


def made_tiles(shape: FusedShape, mapping: FusedMapping, strip: Tile) -> list[Tile]:
    """What the array makes for `strip`: all rows that it reads."""
    rows, width = shape.consumer.y.span(strip.y, strip.height), shape.producer.x.outputs
    return [
        Tile(rows.start + first, 0, count, width)
        for first, count in cut(rows.size, mapping.producer.tile_y)
    ]


def fusible(shape: FusedShape) -> bool:
    """Whether the window reads every result of the array, and all its blocks read the same."""
    y, x = shape.consumer.y, shape.consumer.x
    whole = x.span(0, x.outputs).size == x.size and y.span(0, y.outputs).size == y.size
    dense = not y.skips and y.stride <= y.reach and x.stride <= x.reach
    return (
        whole and dense and len(set(shape.producer.touched)) == 1 == len(shape.producer.touched[0])
    )


def fused_cost(shape: FusedShape, mapping: FusedMapping, design: NpuDesign) -> FusedMapping:
    """`mapping` with its cycles and memory words."""
    return _FusedCost(shape, mapping, design).filled()


def fused_units(
    shape: FusedShape, mapping: FusedMapping, design: NpuDesign
) -> tuple[int, int, int]:
    """Cycles of the array, of the vector unit, and of the window unit."""
    return _FusedCost(shape, mapping, design).units()


class _FusedCost:
    """The terms of the cost of one mapping of a pair."""

    def __init__(self, shape: FusedShape, mapping: FusedMapping, design: NpuDesign) -> None:
        self.shape, self.mapping, self.design = shape, mapping, design
        self.strips = strips_of(shape, mapping)
        self.tiles = [made_tiles(shape, mapping, strip) for strip in self.strips]
        self.outputs = len(shape.producer.touched)
        self.blocks = blocks_of(shape.producer.outputs, design.lanes)
        self.touch = shape.producer.touched[0][0]
        self.halves = shape.producer.halves[self.touch.operand]
        self.chunks = chunk_count(shape.producer, shape.producer.touched[0], mapping.producer)

    def filled(self) -> FusedMapping:
        """The mapping with what it costs."""
        words = self._words()
        memory = timing.memory_cycles(self.design, words)
        array, drains, windows = self.units()
        alone = array + self._windows([self.strips[-1]], self._least())
        if self.mapping.consumer.input_slots == 1:
            alone = array + drains + windows
        lead = (array + drains) // (self.outputs * sum(map(len, self.tiles)))
        cycles = max(alone, lead + windows, memory)
        cycles += self._exposed() + self._first() + self._last()
        return replace(self.mapping, cycles=cycles, memory_words=words)

    def units(self) -> tuple[int, int, int]:
        """Cycles of the array, of the vector unit, and of the window unit."""
        drains = self._drains()
        windows = self._windows(self.strips, self.blocks)
        return self._array(), drains, windows + drains // HELD_UP

    def _array(self) -> int:
        """Cycles of all weight tiles on all pixels, rows that strips share counted again."""
        periods = sum(
            timing.tile_period(self.design, tile.pixels, self.shape.producer.weight_bits)
            for tiles in self.tiles
            for tile in tiles
        )
        computes = self.outputs * self.chunks * self.halves * sum(map(len, self.tiles))
        passes = self.outputs * self.shape.producer.tiles(self.touch) * self.halves
        return passes * periods + computes * timing.QUEUE

    def _exposed(self) -> int:
        """Cycles that the array waits for loads which have no slot to come early."""
        producer, tiles = self.mapping.producer, sum(map(len, self.tiles))
        cycles = 0
        if producer.input_slots == max(map(len, self.tiles)):
            cycles += self._alone(self._inputs(), tiles)
        if producer.weight_slots == 1 and self.outputs * self.chunks > 1:
            cycles += self._alone(self._weights(), self.outputs * self.chunks * tiles)
        if self.mapping.consumer.output_slots == 1:
            strips = self.outputs * len(self.strips)
            cycles += strips * timing.store_cycles(self.design, self.strips[0].pixels)
        return cycles

    def _alone(self, words: int, loads: int) -> int:
        """Cycles of loads that nothing hides."""
        each = self.design.memory_latency_cycles + timing.LOAD_PIPELINE
        return timing.memory_cycles(self.design, words) + loads * each

    def _drains(self) -> int:
        """Cycles of the vector unit, which drains all tiles."""
        table = self.shape.producer.table
        own = timing.vector_cycles(self.design, 0, table) + timing.QUEUE
        reads = max(self.shape.producer.residual, 1)
        drains = sum(own + tile.pixels * reads for tiles in self.tiles for tile in tiles)
        return self.blocks * drains

    def _windows(self, strips: list[Tile], blocks: int) -> int:
        """Cycles of the window unit on `blocks` channel blocks of `strips`."""
        return window_units(replace(self.shape.consumer, blocks=blocks), strips, self.design)

    def _least(self) -> int:
        """Channel blocks of one output block."""
        return min(self.design.groups, self.blocks)

    def _words(self) -> int:
        """Words of inputs, weights, residuals, results, constants and instructions."""
        consumer = self.shape.consumer
        made = self.blocks * sum(tile.pixels for tiles in self.tiles for tile in tiles)
        stored = self.blocks * consumer.y.outputs * consumer.x.outputs
        words = self._inputs() + self._weights() + self._constants()
        words += made * self.shape.producer.residual + stored * (consumer.made + consumer.residual)
        words += table_words(self.shape.producer.table, self.design)
        words += table_words(consumer.table, self.design)
        tiles, strips = sum(map(len, self.tiles)), len(self.strips)
        instructions = self.outputs * (tiles * (self.chunks + 1) + strips * 3) + tiles
        instructions += self.blocks * (tiles + strips * consumer.made)
        return words + timing.fetch_words(self.design, instructions)

    def _inputs(self) -> int:
        """Words of the producer's operand; a strip's stay while its output blocks take turns."""
        shape = self.shape.producer
        width = (
            row_words(shape, 0, shape.x.outputs, self.design.lanes)
            if shape.pixel_bytes
            else shape.x.span(0, shape.x.outputs).size
        )
        rows = sum(shape.y.span(tile.y, tile.height).size for tiles in self.tiles for tile in tiles)
        return (self.touch.end - self.touch.first) * self.halves * rows * width

    def _weights(self) -> int:
        """Words of weights and records, once or once a tile."""
        tiles = self.outputs * self.shape.producer.tiles(self.touch)
        words = tiles * tile_words(self.shape.producer, self.design)
        words += self.outputs * RECORD_WORDS * self.design.groups
        slots = self.mapping.producer.weight_slots
        if self.outputs * self.chunks <= slots:
            return words
        times = len(self.strips) if self.chunks <= slots else sum(map(len, self.tiles))
        return words * times

    def _constants(self) -> int:
        """Words of taps and records of the window, once or once a strip."""
        words = self.blocks * constant_words(self.shape.consumer)
        return words * (
            1 if self.outputs <= self.mapping.consumer.constant_slots else len(self.strips)
        )

    def _first(self) -> int:
        """Cycles until the array can start."""
        inputs = self._inputs() // sum(map(len, self.tiles))
        shape = self.shape.producer
        weights = shape.tiles(self.touch) * tile_words(shape, self.design)
        words = inputs + weights // self.chunks
        return timing.load_cycles(self.design, words, words)

    def _last(self) -> int:
        """Cycles of the last store."""
        words = self._least() * self.shape.consumer.made * self.strips[-1].pixels
        return timing.store_cycles(self.design, words)
