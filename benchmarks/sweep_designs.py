"""The designs of the sweep: every legal shape of the array, every other parameter spread evenly."""

from __future__ import annotations

import random
from collections.abc import Sequence

from intaglio.templates.npu.design import PACKED_BITS, NpuDesign

SIZES = (4, 8, 16, 32, 64)
MOST_MULTIPLIERS = 1024
"""Of the sweep that CI runs; larger designs have one of their own."""
DESIGNS, LARGE_DESIGNS = 40, 8
_SEED = 2026


def designs(large: bool) -> tuple[NpuDesign, ...]:
    """The sweep's designs of at most `MOST_MULTIPLIERS`, or the `large` ones; always the same."""
    shapes = [
        (rows, cols)
        for rows in SIZES
        for cols in SIZES
        if cols >= rows and (rows * cols > MOST_MULTIPLIERS) == large
    ]
    return _drawn(shapes, LARGE_DESIGNS if large else DESIGNS, random.Random(_SEED + large))


def _drawn(
    shapes: Sequence[tuple[int, int]], count: int, chooser: random.Random
) -> tuple[NpuDesign, ...]:
    """Each value of each parameter in about as many designs, in an order drawn for each parameter.

    Buffers are drawn in what they hold: words, tiles of weights, pixels.
    """

    def spread(values: Sequence[int]) -> list[int]:
        many = [values[index % len(values)] for index in range(count)]
        chooser.shuffle(many)
        return many

    beats = spread(range(len(SIZES)))
    words = spread((64, 256, 512, 1024, 4096))
    tiles = spread((2, 8, 32, 128, 256))
    pixels = spread((16, 32, 64, 256, 1024))
    latencies = spread((1, 7, 20, 40, 150, 300, 600))
    columns = spread(range(1, 9))
    row_lanes = spread((0, 1, 2, 4))
    weight_bits = spread(PACKED_BITS)
    made = []
    for index in range(count):
        rows, cols = shapes[index % len(shapes)]
        narrower = [size for size in SIZES if size <= rows]
        made.append(
            NpuDesign.repaired(
                {
                    "name": f"{'large' if rows * cols > MOST_MULTIPLIERS else 'design'} {index}",
                    "rows": rows,
                    "cols": cols,
                    "window_columns": columns[index],
                    "row_lanes": row_lanes[index],
                    "weight_bits": weight_bits[index],
                    "activation_buffer_kib": _kib(words[index] * rows),
                    "weight_buffer_kib": _kib(tiles[index] * rows * cols),
                    "accumulator_buffer_kib": _kib(2 * pixels[index] * 4 * cols),
                    "memory_bytes_per_cycle": narrower[beats[index] % len(narrower)],
                    "memory_latency_cycles": latencies[index],
                }
            )
        )
    return tuple(made)


def _kib(size: int) -> int:
    """`size` bytes, a power of two, in KiB of which there is at least 1."""
    return max(1, size // 1024)
