"""The steps of a layer or RMS norm on the vector unit's row engines."""

from __future__ import annotations

from functools import partial

from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import RECORD_WORDS, Opcode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.mapping import NormMapping, Tile, cut
from intaglio.templates.npu.steps import (
    Item,
    Place,
    RegionNeed,
    Step,
    load_constants,
    load_tile,
    store_tile,
)
from intaglio.templates.npu.work import NormShape, NormWork


def norm_regions(
    shape: NormShape, mapping: NormMapping, design: NpuDesign
) -> tuple[RegionNeed, ...]:
    """What `mapping` takes of the buffers."""
    tile = shape.blocks * mapping.tile_rows
    return (
        RegionNeed("constants", Space.WEIGHT, 1, shape.blocks * RECORD_WORDS),
        RegionNeed("input", Space.ACTIVATION, mapping.input_slots, tile * shape.halves),
        RegionNeed("output", Space.ACTIVATION, mapping.output_slots, tile * shape.made),
    )


def norm_steps(work: NormWork, mapping: NormMapping, place: Place) -> list[Step]:
    """The steps of `work`: a tile of rows each, from the first on."""
    sources, results, records = place.ring("input"), place.ring("output"), _records(place)
    layouts = place.layouts[work.op.input], place.layouts[work.op.output]
    steps = []
    for first, rows in cut(work.shape.rows, mapping.tile_rows):
        tile = Tile(0, first, 1, rows)
        load = partial(_load, place, layouts[0], tile)
        source, result = sources.get(tile, load), results.get(tile, lambda _: ())
        drafts = [
            _norm(work, place, rows, half, (source.start, records.start, result.start))
            for half in range(work.shape.made)
        ]
        store = store_tile(place, layouts[1], tile, 0, work.shape.blocks, result.start)
        steps.append(Step((source, records, result), (*drafts, store)))
    return steps


def _load(place: Place, layout: TensorLayout, tile: Tile, start: int) -> tuple[Draft, ...]:
    """Bring all blocks of a tile's rows to word `start`."""
    return (load_tile(place, layout, tile, 0, layout.blocks, start),)


def _records(place: Place) -> Item:
    """The records of all blocks, loaded once."""
    need, base = place.regions["constants"]
    load = load_constants(place, place.constants[0], need.words, base)
    return Item(need.role, 0, Space.WEIGHT, base, base + need.words, (load,))


def _norm(
    work: NormWork,
    place: Place,
    rows: int,
    half: int,
    starts: tuple[int, int, int],
) -> Draft:
    """The NORM that makes one half of a tile; `starts` are those of input, records and output."""
    shape, op, (source, records, output) = work.shape, work.op, starts
    target = output + half * rows
    fields = {
        "input_signed": int(place.layouts[op.input].signed),
        "input_wide": int(shape.halves > 1),
        "centred": int(op.kind == "layer"),
        "output_high": half,
        "source_address": source,
        "blocks": shape.blocks,
        "rows": rows,
        "source_block_stride": shape.halves * rows,
        "source_high_offset": rows if shape.halves > 1 else 0,
        "source_row_stride": 1,
        "output_address": target,
        "output_block_stride": shape.made * rows,
        "output_row_stride": 1,
        "count": work.features,
        "record_address": records,
        "epsilon_low": op.epsilon & 0xFFFFFFFF,
        "epsilon_high": op.epsilon >> 32,
        "fraction": op.fraction,
        "lo": op.epilogue.lo,
        "hi": op.epilogue.hi,
    }
    reads = (
        Box.line(Space.ACTIVATION, source, shape.blocks * shape.halves * rows),
        Box.line(Space.WEIGHT, records, shape.blocks * RECORD_WORDS),
    )
    counts = (1, shape.blocks, rows)
    written = Box(Space.ACTIVATION, target, counts, (0, shape.made * rows))
    return Draft(Opcode.NORM, fields, place.layer, reads, (written,))
