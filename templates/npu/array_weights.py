"""Activations as the weights of the array: loads that lay them out as tiles in the weight buffer.

Of a product `x[m, k] * w[k, n]` a tile has rows k and columns n.  A word of memory holds `lanes`
features of one row of w: with features n it is part of a tile's row, and the array is filled by
rows; with features k (w is stored as [n, k]) it is part of a tile's column, and the array is filled
by columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import Buffer, Opcode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import Chunk
from intaglio.templates.npu.steps import Place
from intaglio.templates.npu.work import ArrayShape, blocks_of


@dataclass(frozen=True, slots=True)
class _Words:
    """Words of memory for one group of columns: `planes` channel blocks of `rows` rows each.

    Rows that are missing in the buffer's `room` rows are 0.
    """

    block: int
    planes: int
    row: int
    rows: int
    room: int


@dataclass(frozen=True, slots=True)
class FilledWeights:
    """The weights of a product of activations; `layout` is that of the operand that they are."""

    shape: ArrayShape
    layout: TensorLayout
    place: Place

    def loads(self, output: int, chunk: Chunk, start: int) -> tuple[Draft, ...]:
        """Bring the tiles of `chunk` of an output block to word `start`."""
        groups = range(self.place.design.groups)
        return tuple(self._load(self._words(output, chunk, g), start + g) for g in groups)

    def _words(self, output: int, chunk: Chunk, group: int) -> _Words:
        """What becomes the columns `group * lanes` ... of the tiles."""
        design, shape = self.place.design, self.shape
        head, index = divmod(output, blocks_of(shape.outputs, design.cols))
        first, lanes = index * design.groups + group, design.lanes
        block, count = chunk.blocks
        if shape.filled == "column":
            rows = min(max(shape.outputs - first * lanes, 0), lanes)
            return _Words(block, count, first * lanes, rows, lanes)
        if first >= self.layout.head_blocks:
            return _Words(0, count, 0, 0, lanes)
        row = chunk.tile * lanes
        rows = min(self.layout.plane_words - row, count * lanes)
        return _Words(head * self.layout.head_blocks + first, 1, row, rows, count * lanes)

    def _load(self, words: _Words, local: int) -> Draft:
        """One LOAD; the words of a tile's group of columns are `groups` words apart."""
        design, layout = self.place.design, self.layout
        plane = layout.plane_words
        first = layout.address // layout.lanes + words.block * plane + words.row
        tile, step = design.rows * design.groups, design.groups
        fields = {
            "buffer": Buffer.WEIGHT,
            "contiguous": int(words.rows > 1),
            "memory_address": first * layout.lanes if words.rows else layout.address,
            "memory_row_stride": layout.lanes,
            "memory_plane_stride": plane * layout.lanes,
            "planes": words.planes,
            "rows": words.rows,
            "words": 1,
            "local_address": local,
            "local_row_stride": step,
            "local_plane_stride": tile,
            "pad_bottom": words.room - words.rows,
        }
        read = Box(Space.MEMORY, first, (words.planes, words.rows, 1), (plane, 1))
        written = Box(Space.WEIGHT, local, (words.planes, words.room, 1), (tile, step))
        reads = (read,) if words.rows else ()
        return Draft(Opcode.LOAD, fields, self.place.layer, reads, (written,), relocate=True)
