"""The steps of an operator on the array: weights and activations in, products, results out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from intaglio.compiler.workload import Requantise
from intaglio.templates.npu.array_inputs import ArrayInputs
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
        RegionNeed("weight", Space.WEIGHT, mapping.weight_slots, chunk_words(mapping, design)),
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
    return list(_ArraySteps(work, mapping, place).generate())


@dataclass(slots=True)
class _ArraySteps:
    """Generates the steps of one operator; holds the rings of its buffers."""

    work: ArrayWork
    mapping: ArrayMapping
    place: Place
    tiles: list[Tile] = field(init=False)
    inputs: ArrayInputs = field(init=False)
    rings: dict[str, Ring] = field(init=False)
    table: tuple[Item, ...] = field(init=False)
    half: int = field(init=False)

    def __post_init__(self) -> None:
        shape, place = self.shape, self.place
        self.tiles = tiles_of(shape.y, shape.x, self.mapping.tile_y, self.mapping.tile_x)
        operands = tuple(place.layouts[name] for name in self.work.operands)
        self.inputs = ArrayInputs(shape, self.mapping, place, operands, self.tiles)
        self.rings = {role: place.ring(role) for role in place.regions if role != "input"}
        self.table = (table_item(place),) if shape.table else ()
        self.half = place.half

    @property
    def shape(self) -> ArrayShape:
        return self.work.shape

    @property
    def design(self) -> NpuDesign:
        return self.place.design

    @property
    def epilogue(self) -> Requantise:
        return self.work.epilogue

    @property
    def output(self) -> TensorLayout:
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
            yield from self._block(tile, output)
            self.half ^= 1

    def _block(self, index: int, output: int) -> Iterator[Step]:
        """One output block of one tile: a step a chunk, the last one with the results."""
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
                records = weights.start + chunk.tiles * self.design.rows * self.design.groups
                items, finish = self._finish(self.tiles[index], index, output, records)
                yield Step((*inputs, weights, *items), (*computes, *finish))
            else:
                yield Step((*inputs, weights), tuple(computes))

    def _weights(self, output: int, position: int, chunk: Chunk, last: bool) -> Item:
        tile_words = self.design.rows * self.design.groups
        address = self.place.constants[output] + chunk.tile * tile_words * self.design.word_bytes
        words = chunk.tiles * tile_words + (RECORD_WORDS * self.design.groups if last else 0)
        return self.rings["weight"].get(
            (output, position), lambda start: (load_constants(self.place, address, words, start),)
        )

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
        words = chunk.tiles * self.design.rows * self.design.groups
        return Draft(
            Opcode.COMPUTE,
            fields,
            self.place.layer,
            (Box(Space.ACTIVATION, start, counts, strides), Box.line(Space.WEIGHT, weights, words)),
            (Box.line(Space.ACCUMULATOR, accumulators, tile.pixels),),
        )

    def _finish(
        self, tile: Tile, index: int, output: int, records: int
    ) -> tuple[list[Item], list[Draft]]:
        """Requantise a finished block and store it; `records` is the word of its records."""
        first = output * self.design.groups
        blocks = min(self.design.groups, blocks_of(self.shape.outputs, self.design.lanes) - first)
        out = self.rings["output"].get((index, output), lambda _: ())
        items = [*self.table, out]
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
            self._drain(tile, group, half, records, out.start, residual)
            for group in range(blocks)
            for half in range(self.shape.made)
        ]
        store = store_tile(self.place, self.output, tile, first, blocks, out.start)
        return items, [*drafts, store]

    def _drain(
        self, tile: Tile, group: int, half: int, records: int, out: int, residual: int
    ) -> Draft:
        """The DRAIN of one half of columns `group * lanes` ... of the tile's accumulators."""
        accumulators = self.half * self.design.accumulator_words
        own = records + group * RECORD_WORDS
        target = out + (group * self.shape.made + half) * tile.pixels
        fields = {
            "source_address": accumulators,
            "record_address": own,
            "output_address": target,
            "output_row_stride": tile.width,
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
        written = Box.line(Space.ACTIVATION, target, tile.pixels)
        return Draft(Opcode.DRAIN, fields, self.place.layer, tuple(reads), (written,))
