"""The steps of an operator on the window unit: pools, depthwise convolutions, sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from intaglio.compiler.workload import Workload
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import RECORD_WORDS
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import (
    Tile,
    WindowMapping,
    constant_words,
    cut,
    table_words,
    tiles_of,
    window_row_words,
)
from intaglio.templates.npu.steps import (
    BlockBox,
    Item,
    LocalBox,
    Padding,
    Place,
    RegionNeed,
    Ring,
    Step,
    load_activations,
    load_constants,
    load_tile,
    store_tile,
    table_item,
)
from intaglio.templates.npu.work import WindowShape, WindowWork


def window_regions(
    shape: WindowShape, mapping: WindowMapping, design: NpuDesign
) -> tuple[RegionNeed, ...]:
    """What `mapping` takes of the buffers."""
    blocks, pixels = mapping.step_blocks, mapping.tile_y * mapping.tile_x
    width = window_row_words(shape, mapping.tile_x, design)
    tile_in = blocks * shape.y.loaded(mapping.tile_y) * width
    constants = blocks * constant_words(shape)
    needs = [
        RegionNeed("constants", Space.WEIGHT, mapping.constant_slots, constants),
        RegionNeed("input", Space.ACTIVATION, mapping.input_slots, tile_in),
        RegionNeed("output", Space.ACTIVATION, mapping.output_slots, blocks * shape.made * pixels),
    ]
    if shape.residual:
        needs.append(
            RegionNeed("residual", Space.ACTIVATION, mapping.output_slots, blocks * pixels)
        )
    if shape.table:
        needs.append(RegionNeed("table", Space.WEIGHT, 1, table_words(True, design)))
    return tuple(needs)


def window_steps(
    work: WindowWork, mapping: WindowMapping, workload: Workload, place: Place
) -> list[Step]:
    """The steps of `work`, in order."""
    return list(WindowSteps(work, mapping, workload, place).generate())


@dataclass(slots=True)
class WindowSteps:
    """Generates the steps of one operator; holds the rings of its buffers."""

    work: WindowWork
    mapping: WindowMapping
    workload: Workload
    place: Place
    rings: dict[str, Ring] = field(init=False)
    table: tuple[Item, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.rings = {role: self.place.ring(role) for role in self.place.regions}
        self.table = (table_item(self.place),) if self.work.shape.table else ()

    @property
    def input(self) -> TensorLayout:
        """The layout of what it reads."""
        return self.place.layouts[self.work.op.input]

    @property
    def output(self) -> TensorLayout:
        """The layout of what it makes."""
        return self.place.layouts[self.work.op.output]

    @property
    def residual(self) -> TensorLayout | None:
        """The layout of the residual, if there is one."""
        epilogue = self.work.epilogue
        if epilogue is None or epilogue.residual is None:
            return None
        return self.place.layouts[epilogue.residual]

    def generate(self) -> Iterator[Step]:
        """All steps in the loop order of the mapping."""
        shape, mapping = self.work.shape, self.mapping
        tiles = tiles_of(shape.y, shape.x, mapping.tile_y, mapping.tile_x)
        groups = cut(shape.blocks, mapping.step_blocks)
        if mapping.blocks_outer:
            pairs = [(tile, group) for group in groups for tile in tiles]
        else:
            pairs = [(tile, group) for tile in tiles for group in groups]
        for tile, (block, blocks) in pairs:
            yield self.step(tile, block, blocks, self._source(tile, block, blocks))

    def _source(self, tile: Tile, block: int, blocks: int) -> Item:
        """What one tile of `blocks` channel blocks reads, from memory."""
        return self.rings["input"].get(
            (tile, block), lambda start: (self._load(tile, block, blocks, start),)
        )

    def step(self, tile: Tile, block: int, blocks: int, source: Item) -> Step:
        """One tile of `blocks` channel blocks, which finds what it reads in `source`."""
        key = tile, block
        constants = self.rings["constants"].get(
            block, lambda start: (self._load_constants(block, blocks, start),)
        )
        out = self.rings["output"].get(key, lambda _: ())
        items, residual = [source, constants, out, *self.table], 0
        if self.residual is not None:
            layout = self.residual
            item = self.rings["residual"].get(
                key, lambda start: (load_tile(self.place, layout, tile, block, blocks, start),)
            )
            items.append(item)
            residual = item.start
        work = [
            self._window(tile, i, half, source.start, constants.start, out.start, residual)
            for i in range(blocks)
            for half in range(self.work.shape.made)
        ]
        store = store_tile(self.place, self.output, tile, block, blocks, out.start)
        return Step(tuple(items), (*work, store))

    def _load(self, tile: Tile, block: int, blocks: int, start: int) -> Draft:
        y, x = self.work.shape.y, self.work.shape.x
        rows, columns = y.span(tile.y, tile.height), x.span(tile.x, tile.width)
        width = window_row_words(self.work.shape, tile.width, self.place.design)
        source = BlockBox(block, blocks, rows.start, rows.size, columns.start, columns.size)
        padding = Padding(rows.before, rows.after, columns.before, columns.after, self.work.fill)
        local = LocalBox(start, width, width * y.loaded(tile.height))
        return load_activations(self.place, self.input, source, local, padding, y.memory_step)

    def _load_constants(self, block: int, blocks: int, start: int) -> Draft:
        words = constant_words(self.work.shape)
        address = self.place.constants[0] + block * words * self.place.design.word_bytes
        return load_constants(self.place, address, blocks * words, start)

    def _window(
        self,
        tile: Tile,
        index: int,
        half: int,
        source: int,
        constants: int,
        out: int,
        residual: int,
    ) -> Draft:
        """The instruction of one half of the step's block `index`."""
        shape = self.work.shape
        width = window_row_words(shape, tile.width, self.place.design)
        plane = width * shape.y.loaded(tile.height)
        own = constants + index * constant_words(shape)
        taps = shape.window if shape.taps else 0
        start, target = source + index * plane, out + (index * shape.made + half) * tile.pixels
        lo, hi = self._range()
        fields = {
            "input_signed": int(self.input.signed),
            "source_address": start,
            "record_address": own + taps,
            "tap_address": own if taps else 0,
            "output_address": target,
            "output_row_stride": tile.width,
            "output_high": half,
            "lo": lo >> 8 * half,
            "hi": hi >> 8 * half,
            "y": tile.height,
            "x": tile.width,
            "window_y": shape.y.kernel,
            "window_x": shape.x.kernel,
            "source_y_stride": shape.y.buffer_stride * width,
            "source_x_stride": shape.x.buffer_stride,
            "window_y_stride": shape.y.dilation * width,
            "window_x_stride": shape.x.dilation,
        }
        reads = [
            Box.line(Space.ACTIVATION, start, plane),
            Box.line(Space.WEIGHT, own, taps + RECORD_WORDS),
        ]
        self._add_epilogue(fields, reads, tile, residual + index * tile.pixels)
        written = Box.line(Space.ACTIVATION, target, tile.pixels)
        return Draft(self.work.opcode, fields, self.place.layer, tuple(reads), (written,))

    def _add_epilogue(
        self, fields: dict[str, int], reads: list[Box], tile: Tile, residual: int
    ) -> None:
        """Residual and table of one instruction."""
        if self.residual is not None:
            fields |= {
                "residual": 1,
                "residual_signed": int(self.residual.signed),
                "residual_address": residual,
                "residual_row_stride": tile.width,
            }
            reads.append(Box.line(Space.ACTIVATION, residual, tile.pixels))
        if self.table:
            fields |= {"table": 1, "table_address": self.table[0].start}
            words = table_words(True, self.place.design)
            reads.append(Box.line(Space.WEIGHT, self.table[0].start, words))

    def _range(self) -> tuple[int, int]:
        """Bounds of the result; those of the type when there is no epilogue."""
        if self.work.epilogue is not None:
            return self.work.epilogue.lo, self.work.epilogue.hi
        element = self.workload.tensor(self.work.op.output).element
        return element.lo, element.hi
