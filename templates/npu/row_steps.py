"""The steps of a norm or softmax on the vector unit's row engines: tiles of whole rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

from intaglio.compiler.workload import Norm, Softmax, Workload
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import RECORD_WORDS, Opcode
from intaglio.templates.npu.mapping import RowMapping, Tile, cut
from intaglio.templates.npu.steps import (
    Item,
    Place,
    RegionNeed,
    Ring,
    Step,
    load_constants,
    load_tile,
    store_tile,
)
from intaglio.templates.npu.work import RowShape, RowWork


def row_regions(shape: RowShape, mapping: RowMapping, design: NpuDesign) -> tuple[RegionNeed, ...]:
    """What `mapping` takes of the buffers."""
    tile = shape.blocks * mapping.tile_rows
    needs = [
        RegionNeed("input", Space.ACTIVATION, mapping.input_slots, tile * shape.halves),
        RegionNeed("output", Space.ACTIVATION, mapping.output_slots, tile * shape.made),
    ]
    if shape.norm:
        needs.append(RegionNeed("constants", Space.WEIGHT, 1, shape.blocks * RECORD_WORDS))
    if shape.mask == 1:
        needs.append(RegionNeed("mask", Space.ACTIVATION, 1, shape.blocks))
    elif shape.mask:
        needs.append(RegionNeed("mask", Space.ACTIVATION, mapping.input_slots, tile))
    return tuple(needs)


def row_steps(work: RowWork, mapping: RowMapping, workload: Workload, place: Place) -> list[Step]:
    """The steps of `work`, from its first row on."""
    return list(RowSteps(work, mapping, workload, place).generate())


@dataclass(frozen=True, slots=True)
class RowSteps:
    """Generates the steps of one operator.

    The second of two norms of the same rows takes the input of the first, and its sums: its steps
    follow those of the first one by one.
    """

    work: RowWork
    mapping: RowMapping
    workload: Workload
    place: Place
    first: RowSteps | None = None
    rings: dict[str, Ring] = field(init=False)

    def __post_init__(self) -> None:
        made = {role: self.place.ring(role) for role in self.place.regions}
        if self.first is not None:
            made["input"] = self.first.rings["input"]
        object.__setattr__(self, "rings", made)

    def generate(self) -> Iterator[Step]:
        """A step for every tile of rows of a head."""
        shape, op, place = self.work.shape, self.work.op, self.place
        blocks = shape.blocks
        rings = self.rings
        pieces = product(range(shape.heads), cut(shape.rows, self.mapping.tile_rows))
        for head, (first, rows) in pieces:
            tile = Tile(0, first, 1, rows)
            source = rings["input"].get((head, tile), partial(self._load, op.input, head, tile))
            result = rings["output"].get((head, tile), lambda _: ())
            items = [source, result]
            if shape.norm:
                items.append(rings["constants"].get((), self._load_records))
            if isinstance(op, Softmax) and op.mask is not None:
                flags = head * shape.masks, tile if shape.mask > 1 else Tile(0, 0, 1, 1)
                items.append(rings["mask"].get(flags, partial(self._load, op.mask, *flags)))
            draft = self._instruction(rows, items)
            layout = place.layouts[op.output]
            store = store_tile(place, layout, tile, head * blocks, blocks, result.start)
            yield Step(tuple(items), (draft, store))

    def _load(self, name: str, head: int, tile: Tile, start: int) -> tuple[Draft, ...]:
        """Bring all blocks of the rows of a tile of one head to word `start`."""
        layout, blocks = self.place.layouts[name], self.work.shape.blocks
        return (load_tile(self.place, layout, tile, head * blocks, blocks, start),)

    def _load_records(self, start: int) -> tuple[Draft, ...]:
        words = self.work.shape.blocks * RECORD_WORDS
        return (load_constants(self.place, self.place.constants[0], words, start),)

    def _instruction(self, rows: int, items: list[Item]) -> Draft:
        """What makes a tile; `items` are input, output, and records or mask."""
        shape, op = self.work.shape, self.work.op
        source, target = items[0].start, items[1].start
        fields = {
            "input_signed": int(self.place.layouts[op.input].signed),
            "input_wide": int(shape.halves > 1),
            "source_address": source,
            "blocks": shape.blocks,
            "rows": rows,
            "source_block_stride": shape.halves * rows,
            "source_high_offset": rows if shape.halves > 1 else 0,
            "source_row_stride": 1,
            "output_address": target,
            "output_block_stride": shape.made * rows,
            "output_row_stride": 1,
        }
        reads = [Box.line(Space.ACTIVATION, source, shape.blocks * shape.halves * rows)]
        match op:
            case Norm():
                opcode = Opcode.NORM
                fields |= self._norm(op, items[2].start)
                if shape.made > 1:
                    fields |= {"output_wide": 1, "output_high_offset": rows}
                words = shape.blocks * RECORD_WORDS
                reads.append(Box.line(Space.WEIGHT, items[2].start, words))
            case Softmax():
                opcode = Opcode.SOFTMAX
                fields |= self._softmax(op)
                for mask in items[2:]:
                    count = rows if shape.mask > 1 else 1
                    fields |= {"mask": 1, "mask_address": mask.start, "mask_block_stride": count}
                    fields |= {"mask_row_stride": int(shape.mask > 1)}
                    reads.append(Box.line(Space.ACTIVATION, mask.start, shape.blocks * count))
        written = Box.line(Space.ACTIVATION, target, shape.blocks * shape.made * rows)
        return Draft(opcode, fields, self.place.layer, tuple(reads), (written,))

    def _norm(self, op: Norm, records: int) -> dict[str, int]:
        return {
            "centred": int(op.kind == "layer"),
            "again": int(self.first is not None),
            "count": self.work.features,
            "record_address": records,
            "epsilon_low": op.epsilon & 0xFFFFFFFF,
            "epsilon_high": op.epsilon >> 32,
            "fraction": op.fraction,
            "lo": op.epilogue.lo,
            "hi": op.epilogue.hi,
        }

    def _softmax(self, op: Softmax) -> dict[str, int]:
        return {
            "entries": self.work.features,
            "multiplier": op.multiplier,
            "shift": op.shift,
            "largest": self.workload.tensor(op.output).element.hi,
        }
