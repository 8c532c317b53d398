"""What LOAD and STORE mean, one instruction at a time, and random programs of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, Unit

LINE = 64
"""Memory regions are handed out in multiples of this many bytes."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Words are of `lanes` bytes; the program and the sources lie below `output` in memory."""

    lanes: int
    act_words: int
    source: int
    output: int
    memory: int


@dataclass(frozen=True, slots=True)
class Box:
    """Planes, rows and words of a box."""

    planes: int
    rows: int
    words: int


def execute(memory: np.ndarray, instructions: tuple[Instruction, ...], sizes: Sizes) -> np.ndarray:
    """Memory (uint8) after the instructions, in program order; both buffers start with zeros."""
    memory = memory.copy()
    buffers = {
        buffer: np.zeros((sizes.act_words, sizes.lanes), dtype=np.uint8) for buffer in Buffer
    }
    for item in instructions:
        if item.opcode is Opcode.LOAD:
            _load(memory, buffers[Buffer(item["buffer"])], item, sizes.lanes)
        elif item.opcode is Opcode.STORE:
            _store(memory, buffers[Buffer.ACTIVATION], item, sizes.lanes)
    return memory


def _row_address(item: Instruction, plane: int, row: int, lanes: int) -> int:
    stride = item["words"] * lanes if item["contiguous"] else item["memory_row_stride"]
    return item["memory_address"] + plane * item["memory_plane_stride"] + row * stride


def _load(memory: np.ndarray, buffer: np.ndarray, item: Instruction, lanes: int) -> None:
    inner = Box(item["planes"], item["rows"], item["words"])
    for plane in range(inner.planes):
        padded = np.pad(
            np.zeros((inner.rows, inner.words, lanes), dtype=np.uint8),
            (
                (item["pad_top"], item["pad_bottom"]),
                (item["pad_left"], item["pad_right"]),
                (0, 0),
            ),
            constant_values=item["fill"],
        )
        for row in range(inner.rows):
            start = _row_address(item, plane, row, lanes)
            data = memory[start : start + inner.words * lanes].reshape(inner.words, lanes)
            left = item["pad_left"]
            padded[item["pad_top"] + row, left : left + inner.words] = data
        for row, words in enumerate(padded):
            start = item["local_address"] + plane * item["local_plane_stride"]
            start += row * item["local_row_stride"]
            buffer[start : start + len(words)] = words


def _store(memory: np.ndarray, buffer: np.ndarray, item: Instruction, lanes: int) -> None:
    for plane in range(item["planes"]):
        for row in range(item["rows"]):
            local = item["local_address"] + plane * item["local_plane_stride"]
            local += row * item["local_row_stride"]
            start = _row_address(item, plane, row, lanes)
            data = buffer[local : local + item["words"]].reshape(-1)
            memory[start : start + data.size] = data


def random_program(rng: np.random.Generator, sizes: Sizes, pairs: int) -> tuple[Instruction, ...]:
    """`pairs` of a LOAD with padding and a STORE of what it wrote; the two halves alternate."""
    items: list[Instruction] = []
    free = sizes.output
    for index in range(pairs):
        half = index % 2 * (sizes.act_words // 2)
        load, written = _random_load(rng, sizes, half, after_store=index >= 2)
        items.append(load)
        store, free = _random_store(rng, sizes, load, written, free)
        items.append(store)
        if free + sizes.act_words * sizes.lanes > sizes.memory:
            break
    return tuple(items)


def _random_box(rng: np.random.Generator, words: int) -> Box:
    planes = int(rng.integers(0 if rng.random() < 0.1 else 1, 4))
    rows = int(rng.integers(0 if rng.random() < 0.1 else 1, 7))
    width = words // max(planes * rows, 1)
    limit = width if rng.random() < 0.2 else min(width, 12)
    return Box(planes, rows, int(rng.integers(0 if rng.random() < 0.1 else 1, limit + 1)))


def _random_load(
    rng: np.random.Generator, sizes: Sizes, half: int, *, after_store: bool
) -> tuple[Instruction, Box]:
    room = sizes.act_words // 2
    inner = _random_box(rng, room // 2)
    pads = [int(p) for p in rng.integers(0, 3, 4)] if rng.random() < 0.7 else [0] * 4
    outer = Box(inner.planes, inner.rows + pads[0] + pads[1], inner.words + pads[2] + pads[3])
    if outer.planes * outer.rows * outer.words > room:
        inner, outer, pads = Box(1, 1, 1), Box(1, 1, 1), [0] * 4
    contiguous = bool(rng.random() < 0.5)
    gap = 0 if contiguous else int(rng.integers(0, 5))
    row_stride = (inner.words + gap) * sizes.lanes
    plane_stride = row_stride * max(inner.rows, 1) + int(rng.integers(0, 3)) * sizes.lanes
    span = plane_stride * max(inner.planes, 1)
    steps = (sizes.output - sizes.source - span) // sizes.lanes
    fields = {
        "buffer": int(Buffer.ACTIVATION),
        "contiguous": int(contiguous),
        "fill": int(rng.integers(0, 256)),
        "memory_address": sizes.source + int(rng.integers(0, steps)) * sizes.lanes,
        "words": inner.words,
        "rows": inner.rows,
        "planes": inner.planes,
        "memory_row_stride": row_stride,
        "memory_plane_stride": plane_stride,
        "local_address": half,
        "local_row_stride": outer.words,
        "local_plane_stride": outer.words * outer.rows,
        "pad_top": pads[0],
        "pad_bottom": pads[1],
        "pad_left": pads[2],
        "pad_right": pads[3],
    }
    pop = (Unit.STORE,) if after_store else ()
    return Instruction(Opcode.LOAD, fields, pop=pop, push=(Unit.STORE,)), outer


def _random_store(
    rng: np.random.Generator, sizes: Sizes, load: Instruction, box: Box, free: int
) -> tuple[Instruction, int]:
    contiguous = bool(rng.random() < 0.5)
    gap = 0 if contiguous else int(rng.integers(0, 3))
    row_stride = (box.words + gap) * sizes.lanes
    start = free + int(rng.integers(0, 4)) * sizes.lanes
    fields = {
        "contiguous": int(contiguous),
        "memory_address": start,
        "words": box.words,
        "rows": box.rows,
        "planes": box.planes,
        "memory_row_stride": row_stride,
        "memory_plane_stride": row_stride * box.rows,
        "local_address": load["local_address"],
        "local_row_stride": load["local_row_stride"],
        "local_plane_stride": load["local_plane_stride"],
    }
    end = start + row_stride * box.rows * box.planes
    layer = int(rng.integers(0, 1 << 16))
    store = Instruction(
        Opcode.STORE, fields, pop=(Unit.LOAD,), push=(Unit.LOAD,), layer=layer, mark=True
    )
    return store, -(-end // LINE) * LINE
