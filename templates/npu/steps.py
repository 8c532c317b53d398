"""Steps: the pieces of a layer in execution order, each with what it needs in the buffers.

A step brings in its items (inputs, weights, residuals, tables), works, and stores what is finished.
The builder emits the loads of later steps early; a step itself knows nothing of time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import FIELDS, Buffer, Opcode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import Tile

Role = str
"""What a region of a buffer is for: `input`, `weight`, `residual`, `output`, `table`."""


@dataclass(frozen=True, slots=True)
class RegionNeed:
    """Space that a layer asks of a buffer for one role: `slots` of `slot_words` each."""

    role: Role
    space: Space
    slots: int
    slot_words: int

    @property
    def words(self) -> int:
        """Words in all."""
        return self.slots * self.slot_words


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """Something that a step needs in a buffer: words `start` to `end - 1`, and how it gets there.

    `slot` tells items of one role apart that may not be there at the same time; an item without
    loads is room for results.
    """

    role: Role
    slot: int
    space: Space
    start: int
    end: int
    loads: tuple[Draft, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Items that have to be in the buffers, then instructions in order."""

    items: tuple[Item, ...]
    work: tuple[Draft, ...]


@dataclass(slots=True)
class Ring:
    """The slots of one role, used in turn; a piece that is still there is not loaded again."""

    need: RegionNeed
    base: int
    kept: dict[Hashable, Item] = field(default_factory=dict)
    used: int = 0

    def get(self, key: Hashable, make: Callable[[int], tuple[Draft, ...]]) -> Item:
        """The item called `key`; `make` gives its loads for the slot's first word."""
        if key in self.kept:
            return self.kept[key]
        slot = self.used % self.need.slots
        start = self.base + slot * self.need.slot_words
        end = start + self.need.slot_words
        item = Item(self.need.role, slot, self.need.space, start, end, make(start))
        if len(self.kept) == self.need.slots:
            del self.kept[next(iter(self.kept))]
        self.kept[key] = item
        self.used += 1
        return item


@dataclass(frozen=True, slots=True)
class Place:
    """Where a layer's steps find things: regions by role, constants in memory, tensors.

    `half` is the accumulator half that its first tile uses; `constants` are the byte addresses of
    its pieces of constants, `table` that of its table.
    """

    design: NpuDesign
    layer: int
    layouts: Mapping[str, TensorLayout]
    regions: Mapping[Role, tuple[RegionNeed, int]]
    constants: tuple[int, ...]
    table: int
    half: int = 0

    def ring(self, role: Role) -> Ring:
        """A fresh ring over the region of `role`."""
        need, base = self.regions[role]
        return Ring(need, base)

    def base(self, role: Role) -> int:
        """First word of the region of `role`."""
        return self.regions[role][1]


def load_constants(place: Place, address: int, words: int, local: int) -> Draft:
    """Bring `words` words of constants at byte `address` to the weight buffer."""
    return Draft(
        Opcode.LOAD,
        {
            "buffer": Buffer.WEIGHT,
            "memory_address": address,
            "words": words,
            "planes": 1,
            "rows": 1,
            "local_address": local,
        },
        place.layer,
        (),
        (Box.line(Space.WEIGHT, local, words),),
    )


def table_item(place: Place) -> Item:
    """The table of a layer, loaded once."""
    need, base = place.regions["table"]
    draft = load_constants(place, place.table, need.words, base)
    return Item(need.role, 0, Space.WEIGHT, base, base + need.words, (draft,))


@dataclass(frozen=True, slots=True)
class BlockBox:
    """A box of a blocked tensor: `blocks` channel blocks, rows and words (pixels) of each half."""

    block: int
    blocks: int
    row: int
    rows: int
    word: int
    words: int


def tile_box(tile: Tile, block: int, blocks: int) -> BlockBox:
    """The pixels of `tile` in `blocks` blocks from `block`."""
    return BlockBox(block, blocks, tile.y, tile.height, tile.x, tile.width)


def _memory_fields(
    layout: TensorLayout, box: BlockBox, row_step: int
) -> tuple[dict[str, int], Box]:
    """The memory side of a LOAD or STORE, and the words it touches."""
    packed = layout.kind == "packed"
    width = layout.row_words if packed else layout.map[2]
    plane = width * layout.map[1]
    planes = box.blocks * layout.halves
    first = (box.block * layout.halves * layout.map[1] + box.row) * width + box.word
    contiguous = row_step == 1 and box.words == width
    fields = {
        "memory_address": layout.address + first * layout.lanes,
        "memory_row_stride": width * row_step * layout.lanes,
        "memory_plane_stride": plane * layout.lanes,
        "planes": planes,
        "rows": box.rows,
        "words": box.words,
        "contiguous": int(contiguous and box.rows > 1),
    }
    counts = (planes, box.rows, box.words)
    start = layout.address // layout.lanes + first
    return fields, Box(Space.MEMORY, start, counts, (plane, width * row_step))


def _in_one_run(fields: dict[str, int], lanes: int) -> dict[str, int]:
    """One row in place of rows and planes that lie end to end, in memory and in the buffer."""
    rows, words = fields["rows"], fields["words"]
    plane = rows * words
    whole = fields["planes"] * plane
    dense = rows == 1 or (fields["contiguous"] and fields["local_row_stride"] == words)
    ends = fields["memory_plane_stride"], fields["local_plane_stride"]
    if not dense or ends != (plane * lanes, plane) or whole > FIELDS[Opcode.LOAD]["words"].hi:
        return fields
    kept = {name: value for name, value in fields.items() if not name.endswith("stride")}
    return kept | {"planes": 1, "rows": 1, "words": whole, "contiguous": 0}


@dataclass(frozen=True, slots=True)
class LocalBox:
    """Where a box lies in the activation buffer: first word, words of a row and of a plane."""

    start: int
    row_words: int
    plane_words: int


@dataclass(frozen=True, slots=True)
class Padding:
    """Fill around every plane of a LOAD: rows above and below, words left and right."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    value: int = 0


def load_activations(
    place: Place,
    layout: TensorLayout,
    box: BlockBox,
    local: LocalBox,
    padding: Padding,
    row_step: int = 1,
) -> Draft:
    """Bring a box of a tensor to the activation buffer; rows are `row_step` apart in memory."""
    fields, read = _memory_fields(layout, box, row_step)
    fields |= {
        "buffer": Buffer.ACTIVATION,
        "fill": padding.value,
        "local_address": local.start,
        "local_row_stride": local.row_words,
        "local_plane_stride": local.plane_words,
        "pad_top": padding.top,
        "pad_bottom": padding.bottom,
        "pad_left": padding.left,
        "pad_right": padding.right,
    }
    counts = (
        box.blocks * layout.halves,
        padding.top + box.rows + padding.bottom,
        padding.left + box.words + padding.right,
    )
    written = Box(Space.ACTIVATION, local.start, counts, (local.plane_words, local.row_words))
    reads = (read,) if all(read.counts) else ()
    if padding == Padding(value=padding.value):
        fields = _in_one_run(fields, layout.lanes)
    return Draft(Opcode.LOAD, fields, place.layer, reads, (written,), relocate=True)


def store_tile(
    place: Place, layout: TensorLayout, tile: Tile, block: int, blocks: int, start: int
) -> Draft:
    """Send `blocks` blocks of a finished tile at word `start` to memory."""
    fields, written = _memory_fields(layout, tile_box(tile, block, blocks), 1)
    fields |= {
        "local_address": start,
        "local_row_stride": tile.width,
        "local_plane_stride": tile.pixels,
    }
    read = Box.line(Space.ACTIVATION, start, blocks * layout.halves * tile.pixels)
    fields = _in_one_run(fields, layout.lanes)
    return Draft(Opcode.STORE, fields, place.layer, (read,), (written,), relocate=True)


def load_tile(
    place: Place, layout: TensorLayout, tile: Tile, block: int, blocks: int, start: int
) -> Draft:
    """Bring `blocks` blocks of the pixels of `tile` to word `start`: a residual."""
    local = LocalBox(start, tile.width, tile.pixels)
    return load_activations(place, layout, tile_box(tile, block, blocks), local, Padding())
