"""The steps of an operator on the array: weights and activations in, products, results out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from intaglio.compiler.workload import BatchMatMul, Requantise
from intaglio.templates.npu.array_inputs import ArrayInputs
from intaglio.templates.npu.array_weights import FilledWeights
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import RECORD_WORDS, Opcode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import (
    ArrayMapping,
    Chunk,
    Tile,
    chunk_words,
    chunks_of,
    input_words,
    output_words,
    table_words,
    tile_words,
    tiles_of,
)
from intaglio.templates.npu.steps import (
    Item,
    LocalBox,
    Place,
    RegionNeed,
    Ring,
    Step,
    load_constants,
    load_tile,
    store_tile,
    table_item,
)
from intaglio.templates.npu.work import ArrayShape, ArrayWork, blocks_of


def array_regions(
    shape: ArrayShape, mapping: ArrayMapping, design: NpuDesign
) -> tuple[RegionNeed, ...]:
    """What `mapping` takes of the buffers."""
    out = output_words(shape, mapping, design)
    slots = 1 if mapping.resident else mapping.input_slots
    needs = [
        RegionNeed(
            "weight", Space.WEIGHT, mapping.weight_slots, chunk_words(shape, mapping, design)
        ),
        RegionNeed("input", Space.ACTIVATION, slots, input_words(shape, mapping, design.lanes)),
        RegionNeed("output", Space.ACTIVATION, mapping.output_slots, shape.made * out),
    ]
    if shape.residual:
        added = shape.residual * out
        needs.append(RegionNeed("residual", Space.ACTIVATION, mapping.output_slots, added))
    if shape.table:
        needs.append(RegionNeed("table", Space.WEIGHT, 1, table_words(True, design)))
    return tuple(needs)


def array_steps(work: ArrayWork, mapping: ArrayMapping, place: Place) -> list[Step]:
    """The steps of `work`, in order."""
    shape = work.shape
    tiles = tiles_of(shape.y, shape.x, mapping.tile_y, mapping.tile_x)
    return list(ArraySteps(work, mapping, place, tiles, Halves(place.half)).generate())


@dataclass(frozen=True, slots=True)
class Sink:
    """Where the results of one output block of one tile go: words at `local`, part of `item`.

    `stores` follow when they are there.  Of results that stay on the chip, `keeps` is the byte
    address of the first in the part of the memory map that holds no memory.
    """

    item: Item
    local: LocalBox
    stores: tuple[Draft, ...] = ()
    keeps: int | None = None


SinkOf = Callable[[int, int], Sink]
"""Gives the sink of a tile, by its index, and an output block."""


@dataclass(slots=True)
class Halves:
    """Which half of the accumulators the next output block takes."""

    now: int

    def flip(self) -> None:
        """The other one from now on."""
        self.now ^= 1


@dataclass(slots=True)
class ArraySteps:
    """Generates the steps of one operator on `tiles`; holds the rings of its buffers.

    Operators whose steps are mixed share `halves`.
    """

    work: ArrayWork
    mapping: ArrayMapping
    place: Place
    tiles: list[Tile]
    halves: Halves
    inputs: ArrayInputs = field(init=False)
    rings: dict[str, Ring] = field(init=False)
    table: tuple[Item, ...] = field(init=False)
    filled: FilledWeights | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        shape, place = self.shape, self.place
        operands = tuple(place.layouts[name] for name in self.work.operands)
        self.inputs = ArrayInputs(shape, self.mapping, place, operands, self.tiles)
        self.rings = {role: place.ring(role) for role in place.regions if role != "input"}
        self.table = (table_item(place),) if shape.table else ()
        if isinstance(self.work.op, BatchMatMul):
            self.filled = FilledWeights(shape, place.layouts[self.work.op.other], place)

    @property
    def shape(self) -> ArrayShape:
        """Its extents."""
        return self.work.shape

    @property
    def half(self) -> int:
        """The half of the accumulators that the present output block uses."""
        return self.halves.now

    @property
    def design(self) -> NpuDesign:
        """The npu."""
        return self.place.design

    @property
    def epilogue(self) -> Requantise:
        """How sums become results."""
        return self.work.epilogue

    @property
    def output(self) -> TensorLayout:
        """The layout of what it makes."""
        return self.place.layouts[self.work.op.output]

    def generate(self) -> Iterator[Step]:
        """All steps in the loop order of the mapping; accumulator halves take turns."""
        tiles, outputs = range(len(self.tiles)), range(len(self.shape.touched))
        pairs = (
            [(tile, output) for output in outputs for tile in tiles]
            if self.mapping.outputs_outer
            else [(tile, output) for tile in tiles for output in outputs]
        )
        for tile, output in pairs:
            yield from self.block(tile, output, self.store)

    def blocks(self, output: int) -> tuple[int, int]:
        """The first channel block of an output block, and how many there are."""
        head, index = divmod(output, blocks_of(self.shape.outputs, self.design.cols))
        own, first = blocks_of(self.shape.outputs, self.design.lanes), index * self.design.groups
        return head * own + first, min(self.design.groups, own - first)

    def store(self, index: int, output: int) -> Sink:
        """A slot from which the results are stored."""
        tile, (first, blocks) = self.tiles[index], self.blocks(output)
        item = self.rings["output"].get((index, output), lambda _: ())
        store = store_tile(self.place, self.output, tile, first, blocks, item.start)
        return Sink(item, LocalBox(item.start, tile.width, tile.pixels), (store,))

    def block(self, index: int, output: int, sink_of: SinkOf) -> Iterator[Step]:
        """One output block of one tile: a step a chunk, the last one with the results.

        The next block takes the other half of the accumulators.
        """
        shape = self.shape
        chunks = chunks_of(shape, shape.touched[output], self.mapping)
        for position, chunk in enumerate(chunks):
            last = position == len(chunks) - 1
            inputs = self.inputs.items(index, chunk.loaded)
            weights = self._weights(output, position, chunk, last)
            local = self.inputs.local(index, chunk.loaded, inputs[0].start)
            computes = [
                self._compute(index, chunk, weights.start, local, half, position + half > 0)
                for half in range(self.shape.halves[chunk.loaded.operand])
            ]
            if last:
                records = weights.start + chunk.tiles * tile_words(shape, self.design)
                own = self._records(output, chunk)
                sink = sink_of(index, output)
                items, drains = self._finish(index, output, own[0].start if own else records, sink)
                items += own
                yield Step((*inputs, weights, *items), (*computes, *drains, *sink.stores))
            else:
                yield Step((*inputs, weights), tuple(computes))
        self.halves.flip()

    def _records(self, output: int, last: Chunk) -> list[Item]:
        """The records of an output block where they have a region of their own."""
        if "records" not in self.rings:
            return []
        words = RECORD_WORDS * self.design.groups
        tiles = 0 if self.filled else last.tile + last.tiles
        before = tiles * tile_words(self.shape, self.design) * self.design.word_bytes
        address = self.place.constants[output % len(self.place.constants)] + before

        def load(start: int) -> tuple[Draft, ...]:
            return (load_constants(self.place, address, words, start),)

        return [self.rings["records"].get(address, load)]

    def _weights(self, output: int, position: int, chunk: Chunk, last: bool) -> Item:
        last = last and "records" not in self.rings
        if self.filled is not None:
            return self._filled_item(self.filled, output, position, chunk, last)
        each = tile_words(self.shape, self.design)
        address = self.place.constants[output] + chunk.tile * each * self.design.word_bytes
        words = chunk.tiles * each + (RECORD_WORDS * self.design.groups if last else 0)
        return self.rings["weight"].get(
            (output, position), lambda start: (load_constants(self.place, address, words, start),)
        )

    def _filled_item(
        self, filled: FilledWeights, output: int, position: int, chunk: Chunk, last: bool
    ) -> Item:
        """Tiles of activations, and records behind the last of them."""
        words = RECORD_WORDS * self.design.groups
        block = output % len(self.place.constants)
        behind = chunk.tiles * self.design.rows * self.design.groups

        def load(start: int) -> tuple[Draft, ...]:
            loads = filled.loads(output, chunk, start)
            if not last:
                return loads
            address = self.place.constants[block]
            return (*loads, load_constants(self.place, address, words, start + behind))

        return self.rings["weight"].get((output, position), load)

    def _compute(
        self, index: int, chunk: Chunk, weights: int, local: LocalBox, half: int, accumulate: bool
    ) -> Draft:
        """The COMPUTE of one half of a chunk, whose operands are at `local`, weights at `weights`.

        The sums of the high half count 256 times; only its bytes have the operand's sign.
        """
        shape, lanes, tile = self.shape, self.design.lanes, self.tiles[index]
        y, x = shape.y, shape.x
        operand = self.inputs.operands[chunk.loaded.operand]
        block = (chunk.blocks[0] - chunk.loaded.first) * operand.halves + half
        block_words = operand.halves * local.plane_words
        start = local.start + block * local.plane_words + chunk.fy[0] * y.dilation * local.row_words
        column = lanes if shape.pixel_bytes else x.dilation * lanes
        element = start * lanes + self.inputs.element(tile) + chunk.columns[0] * column
        accumulators = self.half * self.design.accumulator_words
        fields = {
            "accumulate": int(accumulate),
            "input_signed": int(operand.signed and half == operand.halves - 1),
            "input_high": half,
            "fill_columns": int(shape.filled == "column"),
            "packing": (8 // shape.weight_bits).bit_length() - 1,
            "act_address": element,
            "weight_address": weights,
            "acc_address": accumulators,
            "blocks": chunk.blocks[1],
            "fy": chunk.fy[1],
            "fx": chunk.columns[1],
            "y": tile.height,
            "x": tile.width,
            "block_stride": block_words * lanes,
            "fy_stride": y.dilation * local.row_words * lanes,
            "fx_stride": column,
            "y_stride": y.buffer_stride * local.row_words * lanes,
            "x_stride": x.stride * (shape.pixel_bytes or lanes),
        }
        rows = (tile.height - 1) * y.buffer_stride + (chunk.fy[1] - 1) * y.dilation + 1
        counts = (chunk.blocks[1], rows, local.row_words)
        strides = (block_words, local.row_words)
        words = chunk.tiles * tile_words(shape, self.design)
        return Draft(
            Opcode.COMPUTE,
            fields,
            self.place.layer,
            (Box(Space.ACTIVATION, start, counts, strides), Box.line(Space.WEIGHT, weights, words)),
            (Box.line(Space.ACCUMULATOR, accumulators, tile.pixels),),
        )

    def _finish(
        self, index: int, output: int, records: int, sink: Sink
    ) -> tuple[list[Item], list[Draft]]:
        """Requantise a finished block into `sink`; `records` is the word of its records."""
        tile, (first, blocks) = self.tiles[index], self.blocks(output)
        items = [*self.table, sink.item]
        residual = 0
        if self.epilogue.residual is not None:
            layout = self.place.layouts[self.epilogue.residual]
            item = self.rings["residual"].get(
                (index, output),
                lambda start: (load_tile(self.place, layout, tile, first, blocks, start),),
            )
            items.append(item)
            residual = item.start
        drafts = [
            self._drain(tile, group, half, records, sink, residual)
            for group in range(blocks)
            for half in range(self.shape.made)
        ]
        return items, drafts

    def _drain(
        self, tile: Tile, group: int, half: int, records: int, sink: Sink, residual: int
    ) -> Draft:
        """The DRAIN of one half of columns `group * lanes` ... of the tile's accumulators."""
        accumulators = self.half * self.design.accumulator_words
        own = records + group * RECORD_WORDS
        local, plane = sink.local, group * self.shape.made + half
        target = local.start + plane * local.plane_words
        fields = {
            "source_address": accumulators,
            "record_address": own,
            "output_address": target,
            "output_row_stride": local.row_words,
            "y": tile.height,
            "x": tile.width,
            "group": group,
            "output_high": half,
            "lo": self.epilogue.lo >> 8 * half,
            "hi": self.epilogue.hi >> 8 * half,
        }
        reads = [
            Box.line(Space.ACCUMULATOR, accumulators, tile.pixels),
            Box.line(Space.WEIGHT, own, RECORD_WORDS),
        ]
        if self.epilogue.residual is not None:
            words = self.shape.residual * tile.pixels
            source = residual + group * words
            fields |= {
                "residual": 1,
                "residual_signed": int(self.place.layouts[self.epilogue.residual].signed),
                "residual_address": source,
                "residual_row_stride": tile.width,
            }
            if self.shape.residual > 1:
                fields |= {"residual_wide": 1, "residual_high_offset": tile.pixels}
            reads.append(Box.line(Space.ACTIVATION, source, words))
        if self.table:
            fields |= {"table": 1, "table_address": self.table[0].start}
            words = table_words(True, self.design)
            reads.append(Box.line(Space.WEIGHT, self.table[0].start, words))
        counts, strides = (1, tile.height, tile.width), (0, local.row_words)
        written = Box(Space.ACTIVATION, target, counts, strides)
        keeps = None if sink.keeps is None else sink.keeps + plane * self.output.plane_bytes
        return Draft(Opcode.DRAIN, fields, self.place.layer, tuple(reads), (written,), keeps=keeps)
