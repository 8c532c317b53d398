"""The steps of two operators that share the activation buffer: the array makes, the window reads.

A strip of the window's outputs is worked off block by block: the array makes the rows that the
strip reads of one output block, rows that neighbouring strips share once for each of them, and the
window reads them where they lie.  The tensor between the two never goes to memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from intaglio.compiler.workload import Workload
from intaglio.templates.npu.array_steps import ArraySteps, Halves, Sink, array_regions
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.fused_mapping import FusedMapping, FusedShape, made_tiles, strips_of
from intaglio.templates.npu.geometry import Span
from intaglio.templates.npu.isa import FIELDS, Buffer, Opcode
from intaglio.templates.npu.mapping import Tile, window_row_words
from intaglio.templates.npu.steps import Item, LocalBox, Place, RegionNeed, Ring, Step
from intaglio.templates.npu.window_steps import WindowSteps, window_regions
from intaglio.templates.npu.work import ArrayWork, WindowWork

MIDDLE = "middle"
"""The role of what the two operators share."""
PRODUCER, CONSUMER = "producer ", "consumer "
"""What the roles of the two operators' own regions begin with."""
MOST_PADDING = FIELDS[Opcode.LOAD]["pad_top"].hi + FIELDS[Opcode.LOAD]["pad_bottom"].hi
"""Rows, and words of a row, that a LOAD can fill without reading memory."""


@dataclass(frozen=True, slots=True)
class FusedWork:
    """An operator on the array, and the one on the window that alone reads what it makes."""

    producer: ArrayWork
    consumer: WindowWork

    @property
    def shape(self) -> FusedShape:
        """The extents of both."""
        return FusedShape(self.producer.shape, self.consumer.shape)


def fused_regions(
    shape: FusedShape, mapping: FusedMapping, design: NpuDesign
) -> tuple[RegionNeed, ...]:
    """What `mapping` takes of the buffers."""
    made = array_regions(shape.producer, mapping.producer, design)
    read = window_regions(shape.consumer, mapping.consumer, design)
    renamed = [
        RegionNeed(prefix + need.role, need.space, need.slots, need.slot_words)
        for prefix, needs, shared in ((PRODUCER, made, "output"), (CONSUMER, read, "input"))
        for need in needs
        if need.role != shared
    ]
    middle = next(need for need in read if need.role == "input")
    return (RegionNeed(MIDDLE, middle.space, middle.slots, middle.slot_words), *renamed)


def fused_steps(
    work: FusedWork, mapping: FusedMapping, workload: Workload, places: Sequence[Place]
) -> list[Step]:
    """The steps of `work`, in order; `places` are those of the producer and the consumer."""
    return list(FusedSteps(work, mapping, workload, *places).generate())


def own_place(place: Place, prefix: str) -> Place:
    """`place` with the regions of one of its operators, by the roles they have there."""
    regions = {
        role.removeprefix(prefix): found
        for role, found in place.regions.items()
        if role.startswith(prefix)
    }
    return replace(place, regions=regions)


@dataclass(slots=True)
class _Pads:
    """Of every plane of a slot: its rows, and how many of them above and below are padding."""

    rows: int
    before: int
    after: int

    def covers(self, other: _Pads) -> bool:
        """Whether the padding of `other` is there already."""
        same = self.rows == other.rows
        return same and self.before >= other.before and self.after >= other.after


@dataclass(slots=True)
class FusedSteps:
    """Generates the steps of both operators; holds the slots of what lies between them."""

    work: FusedWork
    mapping: FusedMapping
    workload: Workload
    producer_place: Place
    consumer_place: Place
    strips: list[Tile] = field(init=False)
    tiles: list[list[int]] = field(init=False)
    array: ArraySteps = field(init=False)
    window: WindowSteps = field(init=False)
    ring: Ring = field(init=False)
    pads: dict[int, _Pads] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        tiles: list[Tile] = []
        self.tiles = []
        self.strips = strips_of(self.work.shape, self.mapping)
        for strip in self.strips:
            own = made_tiles(self.work.shape, self.mapping, strip)
            self.tiles.append(list(range(len(tiles), len(tiles) + len(own))))
            tiles += own
        work, mapping = self.work, self.mapping
        self.ring = self.producer_place.ring(MIDDLE)
        producer, consumer = (
            own_place(self.producer_place, PRODUCER),
            own_place(self.consumer_place, CONSUMER),
        )
        self.array = ArraySteps(
            work.producer, mapping.producer, producer, tiles, Halves(producer.half)
        )
        self.window = WindowSteps(work.consumer, mapping.consumer, self.workload, consumer)

    def generate(self) -> Iterator[Step]:
        """Strip after strip, and in a strip output block after output block."""
        for number in range(len(self.strips)):
            for output in range(len(self.work.producer.shape.touched)):
                yield from self.block(number, output)

    def block(self, number: int, output: int) -> Iterator[Step]:
        """One output block of strip `number`, and what the window makes of it."""
        strip = self.strips[number]
        first, blocks = self.array.blocks(output)
        rows = self.work.consumer.shape.y.span(strip.y, strip.height)
        item = self.ring.get((number, output), lambda start: self._fill(start, rows, strip))

        def sink(index: int, output: int) -> Sink:
            return self._sink(self.array.tiles[index], first, item, rows, strip)

        for index in self.tiles[number]:
            yield from self.array.block(index, output, sink)
        yield self.window.step(strip, first, blocks, item)

    def _local(self, start: int, strip: Tile) -> LocalBox:
        """A slot as the window reads it for `strip`."""
        shape = self.work.consumer.shape
        width = window_row_words(shape, strip.width, self.consumer_place.design)
        return LocalBox(start, width, width * shape.y.loaded(strip.height))

    def _sink(self, tile: Tile, block: int, item: Item, rows: Span, strip: Tile) -> Sink:
        """Where in the slot the rows of `tile` belong, of the blocks from `block` on."""
        local = self._local(item.start, strip)
        row = rows.before + tile.y - rows.start
        start = local.start + row * local.row_words + self.work.consumer.shape.x.before
        layout = self.array.output
        word = block * layout.plane_words + tile.y * layout.map[2] + tile.x
        keeps = layout.address + word * layout.lanes
        return Sink(item, LocalBox(start, local.row_words, local.plane_words), keeps=keeps)

    def _fill(self, start: int, rows: Span, strip: Tile) -> tuple[Draft, ...]:
        """Padding around what the array makes, when the slot at `start` does not hold it yet."""
        columns = self.work.consumer.shape.x.span(strip.x, strip.width)
        pads = _Pads(rows.before + rows.size + rows.after, rows.before, rows.after)
        held, self.pads[start] = self.pads.get(start), pads
        padded = rows.before or rows.after or columns.before or columns.after
        if not padded or (held is not None and held.covers(pads)):
            return ()
        return (self._fill_load(self._local(start, strip), pads.rows),)

    def _fill_load(self, local: LocalBox, rows: int) -> Draft:
        """A LOAD of nothing but padding: `rows` rows of every plane of a slot."""
        blocks = self.mapping.consumer.step_blocks
        above, left = min(rows, MOST_PADDING // 2), min(local.row_words, MOST_PADDING // 2)
        fields = {
            "buffer": Buffer.ACTIVATION,
            "fill": self.work.consumer.fill,
            "planes": blocks,
            "local_address": local.start,
            "local_row_stride": local.row_words,
            "local_plane_stride": local.plane_words,
            "pad_top": above,
            "pad_bottom": rows - above,
            "pad_left": left,
            "pad_right": local.row_words - left,
        }
        counts = (blocks, rows, local.row_words)
        written = Box(Space.ACTIVATION, local.start, counts, (local.plane_words, local.row_words))
        return Draft(Opcode.LOAD, fields, self.producer_place.layer, (), (written,))
