"""Chooses how a pair of operators shares the activation buffer: strips, tiles and slots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

from intaglio.templates.npu.allocator import fits
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.fused_mapping import FusedMapping, FusedShape, fused_cost, fusible
from intaglio.templates.npu.fused_steps import MOST_PADDING, fused_regions
from intaglio.templates.npu.mapper import cheapest, chunks, even, splits
from intaglio.templates.npu.mapping import (
    ArrayMapping,
    WindowMapping,
    constant_words,
    table_words,
    window_row_words,
)
from intaglio.templates.npu.work import blocks_of


@lru_cache(maxsize=1024)
def map_fused(shape: FusedShape, design: NpuDesign, least: int = 1) -> FusedMapping | None:
    """The cheapest mapping of a pair to `least` strips or more; None when no buffer holds one."""
    if not fusible(shape):
        return None
    fitting = []
    for alike in _candidates(shape, design, least):
        fits_best = (c for c in alike if fits(fused_regions(shape, c, design), design))
        fitting += list(islice(fits_best, 1))
    if not fitting:
        return None
    return cheapest(fused_cost(shape, candidate, design) for candidate in fitting)


def _candidates(shape: FusedShape, design: NpuDesign, least: int) -> Iterator[list[FusedMapping]]:
    """Lists of candidates that differ in slots alone, those with more slots first."""
    y, width = shape.consumer.y, shape.producer.x.outputs
    row = window_row_words(shape.consumer, shape.consumer.x.outputs, design)
    if width > design.accumulator_words or row > MOST_PADDING:
        return
    for strip in splits(y.outputs, max(y.outputs // least, 1)):
        rows = max(
            y.span(first, min(strip, y.outputs - first)).size
            for first in range(0, y.outputs, strip)
        )
        if y.loaded(strip) > MOST_PADDING:
            continue
        tile = even(rows, design.accumulator_words // width)
        yield from _slots(shape, design, strip, tile, blocks_of(rows, tile))


def _slots(
    shape: FusedShape, design: NpuDesign, strip: int, tile: int, tiles: int
) -> Iterator[list[FusedMapping]]:
    """The candidates for strips of `strip` rows, each made by `tiles` tiles of `tile` rows."""
    touch = shape.producer.touched[0][0]
    loaded, outputs = touch.end - touch.first, len(shape.producer.touched)
    blocks = min(design.groups, shape.consumer.blocks)
    constants = blocks * constant_words(shape.consumer)
    for kept in sorted({outputs, min(2, outputs)}):
        reserved = kept * constants + table_words(shape.consumer.table, design) + 2 * design.groups
        for weight_slots, chunk in chunks(shape.producer, loaded, design, reserved):
            alike = []
            for middle, results in ((2, 2), (2, 1), (1, 1)):
                consumer = WindowMapping(
                    strip, shape.consumer.x.outputs, blocks, False, middle, kept, results
                )
                for inputs in (2 * tiles, tiles + 1, tiles):
                    producer = ArrayMapping(
                        tile, shape.producer.x.outputs, loaded, *chunk, False, False, inputs,
                        weight_slots, middle,
                    )  # fmt: skip
                    alike.append(FusedMapping(producer, consumer))
            yield alike
