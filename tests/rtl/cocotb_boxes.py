"""Boxes of LOAD and STORE: random ones, their runs in memory and their words in a buffer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from intaglio.templates.npu.isa import Instruction, Opcode

ADDRESS_MASK = (1 << 40) - 1
LOCAL_MASK = (1 << 24) - 1


@dataclass(frozen=True, slots=True)
class Step:
    """One word of a padded box: its address in the buffer and whether memory holds it."""

    address: int
    inside: bool
    last: bool


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive beats in memory."""

    address: int
    beats: int
    last: bool


def random_box(opcode: Opcode, lanes: int, *, local_words: int, most: int = 4) -> Instruction:
    """A box of at most `most` planes, rows and words; now and then an empty one."""
    least = 0 if random.random() < 0.1 else 1
    fields = {name: random.randint(least, most) for name in ("planes", "rows", "words")}
    fields["contiguous"] = random.getrandbits(1)
    fields["memory_address"] = random.getrandbits(28) * lanes
    fields["memory_row_stride"] = random.getrandbits(12) * lanes
    fields["memory_plane_stride"] = random.getrandbits(14) * lanes
    fields["local_address"] = random.randrange(local_words)
    fields["local_row_stride"] = random.randrange(local_words)
    fields["local_plane_stride"] = random.randrange(local_words)
    if opcode is Opcode.LOAD:
        fields |= {f"pad_{side}": random.choice((0, 0, 1, 3)) for side in
                   ("top", "bottom", "left", "right")}  # fmt: skip
        fields["fill"] = random.getrandbits(8)
        fields["buffer"] = random.getrandbits(1)
    return Instruction(opcode, fields)


def is_empty(item: Instruction) -> bool:
    """Whether the box has nothing in memory."""
    return 0 in (item["planes"], item["rows"], item["words"])


def runs(item: Instruction, base: int, beats_per_word: int, word_bytes: int) -> list[Run]:
    """The runs of a box, in order: a row each, or a plane each when they are contiguous."""
    if is_empty(item):
        return []
    height = 1 if item["contiguous"] else item["rows"]
    words = item["words"] * (item["rows"] if item["contiguous"] else 1)
    starts = [
        base + item["memory_address"] + p * item["memory_plane_stride"]
        + y * item["memory_row_stride"]
        for p in range(item["planes"]) for y in range(height)
    ]  # fmt: skip
    beats = words * beats_per_word
    last = len(starts) - 1
    return [Run(start & ADDRESS_MASK, beats, at == last) for at, start in enumerate(starts)]


def steps(item: Instruction) -> list[Step]:
    """The words of a box in the order they are visited, padding included; none when empty."""
    height = item["pad_top"] + item["rows"] + item["pad_bottom"]
    width = item["pad_left"] + item["words"] + item["pad_right"]
    places = [(p, y, x) for p in range(item["planes"]) for y in range(height) for x in range(width)]
    rows = range(item["pad_top"], item["pad_top"] + item["rows"])
    cols = range(item["pad_left"], item["pad_left"] + item["words"])
    return [
        Step(
            (
                item["local_address"] + p * item["local_plane_stride"]
                + y * item["local_row_stride"] + x
            ) & LOCAL_MASK,
            y in rows and x in cols,
            at == len(places) - 1,
        )
        for at, (p, y, x) in enumerate(places)
    ]  # fmt: skip


def beat(address: int, beat_bytes: int) -> int:
    """What memory holds at `address`: a fixed scramble of it."""
    data = b""
    while len(data) < beat_bytes:
        mixed = (address + len(data)) * 0x9E3779B97F4A7C15 & (1 << 64) - 1
        data += (mixed ^ mixed >> 29).to_bytes(8, "little")
    return int.from_bytes(data[:beat_bytes], "little")
