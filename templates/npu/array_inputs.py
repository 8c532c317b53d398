"""How an array operator's inputs come into the activation buffer: by tiles or by strips of rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from intaglio.templates.npu.drafts import Draft
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import ArrayMapping, Tile, row_words
from intaglio.templates.npu.steps import (
    BlockBox,
    Item,
    LocalBox,
    Padding,
    Place,
    Ring,
    load_activations,
)
from intaglio.templates.npu.work import ArrayShape, Touch, blocks_of


@dataclass(slots=True)
class ArrayInputs:
    """The inputs of one operator.

    Without `resident`, a slot holds what one tile reads of the blocks that are loaded together.
    With it, the buffer holds the whole padded input, and every tile brings the rows that the tiles
    before it did not.
    """

    shape: ArrayShape
    mapping: ArrayMapping
    place: Place
    operands: tuple[TensorLayout, ...]
    tiles: list[Tile]
    ring: Ring = field(init=False)
    strips: dict[tuple[int, Touch], Item] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.ring = self.place.ring("input")

    def items(self, index: int, loaded: Touch) -> list[Item]:
        """The items that hold what tile `index` reads of `loaded`."""
        if not self.mapping.resident:
            return [self.ring.get((index, loaded), lambda s: (self._load(index, loaded, s, 0),))]
        first = self._first_row(index)
        return [
            self._strip(strip, loaded)
            for strip in range(index + 1)
            if self._first_row(strip) + self.shape.y.loaded(self.tiles[strip].height) > first
        ]

    def local(self, index: int, loaded: Touch, start: int) -> LocalBox:
        """Where tile `index` finds `loaded` in the slot, or the region, that starts at `start`."""
        tile, y = self.tiles[index], self.shape.y
        width = row_words(self.shape, tile.x, tile.width, self.place.design.lanes)
        if not self.mapping.resident:
            return LocalBox(start, width, y.loaded(tile.height) * width)
        plane = y.loaded(y.outputs) * width
        halves = self.shape.halves[loaded.operand]
        first = loaded.first * halves * plane + self._first_row(index) * width
        return LocalBox(start + first, width, plane)

    def element(self, tile: Tile) -> int:
        """Elements of a packed row in the buffer before the first that `tile` reads."""
        if not self.shape.pixel_bytes:
            return 0
        return self._packed_start(tile) % self.place.design.lanes

    def _first_row(self, index: int) -> int:
        """Row of the padded input at which the windows of tile `index` begin."""
        return self.tiles[index].y * self.shape.y.buffer_stride

    def _strip(self, index: int, loaded: Touch) -> Item:
        """Rows that tile `index` reads and no tile before it does."""
        key = index, loaded
        if key not in self.strips:
            skip = 0
            if index:
                seen = self._first_row(index - 1) + self.shape.y.loaded(
                    self.tiles[index - 1].height
                )
                skip = max(seen - self._first_row(index), 0)
            need, base = self.place.regions["input"]
            load = self._load(index, loaded, base, skip)
            self.strips[key] = Item(
                need.role, len(self.strips), need.space, base, base + need.words, (load,)
            )
        return self.strips[key]

    def _load(self, index: int, loaded: Touch, start: int, skip: int) -> Draft:
        """The LOAD of what tile `index` reads of `loaded`, without its first `skip` rows."""
        tile, y, x = self.tiles[index], self.shape.y, self.shape.x
        rows = y.span(tile.y, tile.height).without_first(skip, y.memory_step)
        local = self.local(index, loaded, start)
        box = LocalBox(local.start + skip * local.row_words, local.row_words, local.plane_words)
        operand = self.operands[loaded.operand]
        if self.shape.pixel_bytes:
            word, words = self._packed_words(tile)
            padding = Padding(top=rows.before, bottom=rows.after)
            source = BlockBox(0, 1, rows.start, rows.size, word, words)
        else:
            columns = x.span(tile.x, tile.width)
            padding = Padding(rows.before, rows.after, columns.before, columns.after)
            blocks = loaded.end - loaded.first
            source = BlockBox(
                loaded.first, blocks, rows.start, rows.size, columns.start, columns.size
            )
        return load_activations(self.place, operand, source, box, padding, y.memory_step)

    def _packed_start(self, tile: Tile) -> int:
        """Element of a packed row in memory at which the first window of `tile` begins."""
        x = self.shape.x
        return (tile.x * x.stride + self.operands[0].left - x.before) * self.shape.pixel_bytes

    def _packed_words(self, tile: Tile) -> tuple[int, int]:
        """First word and count of what `tile` reads of a packed row in memory."""
        lanes, x = self.place.design.lanes, self.shape.x
        first = self._packed_start(tile)
        reach = (tile.width - 1) * x.stride * self.shape.pixel_bytes + self.shape.columns * lanes
        return first // lanes, blocks_of(first + reach, lanes) - first // lanes
