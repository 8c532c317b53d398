"""Boxes of LOAD and STORE: random ones, their runs in memory and their words in a buffer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from intaglio.templates.npu.isa import Instruction, Opcode

ADDRESS_MASK = (1 << 40) - 1
LOCAL_MASK = (1 << 24) - 1
SIDES = ("top", "bottom", "left", "right")
PADS: dict[str, tuple[str, ...]] = {
    "planes": (),
    "rows": ("pad_top", "pad_bottom"),
    "words": ("pad_left", "pad_right"),
}
"""The directions of a box, and the pads of each."""


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
    """A box of at most `most` planes, rows and words; now and then an empty one.

    It is anywhere in memory; its strides take all bits, as often as few.
    """
    least = 0 if random.random() < 0.1 else 1
    fields = {name: random.randint(least, most) for name in ("planes", "rows", "words")}
    fields["contiguous"] = random.getrandbits(1)
    fields["memory_address"] = random.getrandbits(40) // lanes * lanes
    for stride in ("memory_row_stride", "memory_plane_stride"):
        fields[stride] = random.getrandbits(random.choice((12, 32))) // lanes * lanes
    fields["local_address"] = random.randrange(local_words)
    fields["local_row_stride"] = random.randrange(local_words)
    fields["local_plane_stride"] = random.randrange(local_words)
    if opcode is Opcode.LOAD:
        fields |= {f"pad_{side}": random.choice((0, 0, 1, 3)) for side in SIDES}
        fields["fill"] = random.getrandbits(8)
        fields["buffer"] = random.getrandbits(1)
    return Instruction(opcode, fields)


def huge_box(lanes: int) -> Instruction:
    """A box with counts up to the largest, too long to be walked to its end."""
    box = random_box(Opcode.LOAD, lanes, local_words=1 << 24, most=1)
    counts = {name: random.choice((1, 2, 1 << random.randrange(16) | random.getrandbits(4)))
              for name in ("planes", "rows", "words")}  # fmt: skip
    pads = {f"pad_{side}": random.choice((0, 1, random.getrandbits(8))) for side in SIDES}
    return Instruction(Opcode.LOAD, box.fields | counts | pads)


def long_box(lanes: int) -> Instruction:
    """A box that is long in one direction, padding included."""
    return longest_box(random.choice(tuple(PADS)), random.randrange(100, 2500), lanes)


def longest_box(long: str, count: int, lanes: int = 4) -> Instruction:
    """A box of `count` planes, rows or words (`long`), padded at both ends, and one of the rest."""
    box = random_box(Opcode.LOAD, lanes, local_words=1 << 24, most=1)
    fields = dict.fromkeys((*(f"pad_{side}" for side in SIDES), "contiguous"), 0)
    fields |= dict.fromkeys(PADS, 1) | {long: count}
    fields |= {side: random.randrange(256) for side in PADS[long]}
    return Instruction(Opcode.LOAD, box.fields | fields)


def is_empty(item: Instruction) -> bool:
    """Whether the box has nothing in memory."""
    return 0 in (item["planes"], item["rows"], item["words"])


def runs(item: Instruction, base: int, beats_per_word: int, most: int | None = None) -> list[Run]:
    """The runs of a box, in order: a row each, or a plane each when they are contiguous.

    With `most` only the first ones.
    """
    if is_empty(item):
        return []
    height = 1 if item["contiguous"] else item["rows"]
    words = item["words"] * (item["rows"] if item["contiguous"] else 1)
    count = item["planes"] * height
    start = base + item["memory_address"]
    return [
        Run(
            start + at // height * item["memory_plane_stride"]
            + at % height * item["memory_row_stride"] & ADDRESS_MASK,
            words * beats_per_word,
            at == count - 1,
        )
        for at in range(count if most is None else min(count, most))
    ]  # fmt: skip


def _size(item: Instruction) -> tuple[int, int]:
    """Rows and words of a padded plane."""
    height = item["pad_top"] + item["rows"] + item["pad_bottom"]
    return height, item["pad_left"] + item["words"] + item["pad_right"]


def len_steps(item: Instruction) -> int:
    """How many words a box has, padding included."""
    height, width = _size(item)
    return item["planes"] * height * width


def steps(item: Instruction, most: int | None = None, first: int = 0) -> list[Step]:
    """The words of a box in the order they are visited, padding included; none when empty.

    Begins with number `first`; with `most` only that many.
    """
    height, width = _size(item)
    count = len_steps(item)
    places = [
        (at // width // height, at // width % height, at % width)
        for at in range(first, count if most is None else min(count, first + most))
    ]
    rows = range(item["pad_top"], item["pad_top"] + item["rows"])
    cols = range(item["pad_left"], item["pad_left"] + item["words"])
    return [
        Step(
            (
                item["local_address"] + p * item["local_plane_stride"]
                + y * item["local_row_stride"] + x
            ) & LOCAL_MASK,
            y in rows and x in cols,
            first + at == count - 1,
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
