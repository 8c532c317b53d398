"""Proof that a Program means the same in every order that its tokens allow.

Every unit carries a clock: of each unit, the last instruction that has surely retired.  A token
hands the clock of its producer on, and tokens of one pair come in the order they were pushed.  An
instruction may touch a word only when every conflicting access of another unit is inside its
clock.  Then any interleaving computes what the order of the text computes, and since that order
never waits for a token, no interleaving deadlocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from intaglio.errors import VerificationError
from intaglio.sim.isa import describe, program_order
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import (
    RECORD_WORDS,
    TABLE_ENTRIES,
    Buffer,
    Instruction,
    Opcode,
    Unit,
    decode,
)
from intaglio.templates.npu.program import Program

_NEVER = -1


@dataclass(frozen=True, slots=True)
class Access:
    """Places that an instruction reads or writes: words of a space, or halves of the accumulators.

    Spaces are `memory` (in beats), `activation`, `weight` and `accumulator`.
    """

    space: str
    places: np.ndarray
    writes: bool


def accesses(instruction: Instruction, design: NpuDesign) -> Iterator[Access]:
    """Everything that `instruction` touches."""
    match instruction.opcode:
        case Opcode.LOAD:
            buffer = Buffer(instruction["buffer"]).name.lower()
            yield Access("memory", _beats(instruction, design), writes=False)
            yield Access(buffer, box_words(instruction), writes=True)
        case Opcode.STORE:
            yield Access("activation", box_words(instruction), writes=False)
            yield Access("memory", _beats(instruction, design), writes=True)
        case Opcode.COMPUTE:
            yield from _compute(instruction, design)
        case Opcode.DRAIN | Opcode.WINDOW_MAC | Opcode.WINDOW_SUM | Opcode.WINDOW_MAX:
            yield from _vector(instruction, design)
        case Opcode.SOFTMAX | Opcode.NORM:
            yield from _rows(instruction)
        case _:
            return


def grid(first: int, *loops: tuple[int, int]) -> np.ndarray:
    """All `first + sum of index * stride` over loops of (count, stride), as a flat int64 array."""
    places = np.array([first], dtype=np.int64)
    for count, stride in loops:
        places = (places[:, None] + np.arange(count) * stride).reshape(-1)
    return places


def _beats(i: Instruction, design: NpuDesign) -> np.ndarray:
    size = design.memory_bytes_per_cycle
    row = i["words"] * design.word_bytes
    stride = row if i["contiguous"] else i["memory_row_stride"]
    rows = (i["rows"], stride)
    beats = (row // size, size)
    return grid(i["memory_address"], (i["planes"], i["memory_plane_stride"]), rows, beats) // size


def box_words(i: Instruction) -> np.ndarray:
    """The words of a buffer that a LOAD writes or a STORE reads, in order."""
    rows = i["pad_top"] + i["rows"] + i["pad_bottom"]
    words = i["pad_left"] + i["words"] + i["pad_right"]
    planes = (i["planes"], i["local_plane_stride"])
    return grid(i["local_address"], planes, (rows, i["local_row_stride"]), (words, 1))


def _compute(i: Instruction, design: NpuDesign) -> Iterator[Access]:
    loops = [(i[name], i[f"{name}_stride"]) for name in ("block", "fy", "fx", "y", "x")[1:]]
    elements = grid(i["act_address"], (i["blocks"], i["block_stride"]), *loops)
    first, last = elements // design.lanes, (elements + design.lanes - 1) // design.lanes
    rows = design.tile_rows(8 >> i["packing"])
    tiles = i["blocks"] * i["fy"] * i["fx"] * rows * design.groups
    yield Access("activation", np.concatenate([first, last]), writes=False)
    yield Access("weight", grid(i["weight_address"], (tiles, 1)), writes=False)
    yield _half(i["acc_address"], design, writes=True)


def _vector(i: Instruction, design: NpuDesign) -> Iterator[Access]:
    y, x = i["y"], i["x"]
    yield Access("weight", grid(i["record_address"], (RECORD_WORDS, 1)), writes=False)
    if i["table"]:
        words = TABLE_ENTRIES // design.lanes
        yield Access("weight", grid(i["table_address"], (words, 1)), writes=False)
    if i["residual"]:
        halves = (1 + i["residual_wide"], i["residual_high_offset"])
        read = grid(i["residual_address"], halves, (y, i["residual_row_stride"]), (x, 1))
        yield Access("activation", read, writes=False)
    if i.opcode == Opcode.DRAIN:
        yield _half(i["source_address"], design, writes=False)
    else:
        outputs = ((y, i["source_y_stride"]), (x, i["source_x_stride"]))
        window = (
            (i["window_y"], i["window_y_stride"]),
            (i["window_x"], i["window_x_stride"]),
        )
        yield Access("activation", grid(i["source_address"], *outputs, *window), writes=False)
    if i.opcode == Opcode.WINDOW_MAC:
        taps = i["window_y"] * i["window_x"]
        yield Access("weight", grid(i["tap_address"], (taps, 1)), writes=False)
    written = grid(i["output_address"], (y, i["output_row_stride"]), (x, 1))
    yield Access("activation", written, writes=True)


def _rows(i: Instruction) -> Iterator[Access]:
    blocks = (i["blocks"], i["source_block_stride"])
    halves = (1 + i["input_wide"], i["source_high_offset"])
    read = grid(i["source_address"], (i["rows"], i["source_row_stride"]), blocks, halves)
    yield Access("activation", read, writes=False)
    if i["mask"]:
        flags = (i["rows"], i["mask_row_stride"]), (i["blocks"], i["mask_block_stride"])
        yield Access("activation", grid(i["mask_address"], *flags), writes=False)
    if i.opcode == Opcode.NORM:
        records = grid(i["record_address"], (i["blocks"] * RECORD_WORDS, 1))
        yield Access("weight", records, writes=False)
    yield Access("activation", row_results(i), writes=True)


def row_results(i: Instruction) -> np.ndarray:
    """The words that a SOFTMAX or NORM writes, in order: row by row, or block by block."""
    rows, blocks = (i["rows"], i["output_row_stride"]), (i["blocks"], i["output_block_stride"])
    if i.opcode == Opcode.SOFTMAX:
        return grid(i["output_address"], rows, blocks)
    halves = (1 + i["output_wide"], i["output_high_offset"])
    return grid(i["output_address"], blocks, rows, halves)


def _half(address: int, design: NpuDesign, writes: bool) -> Access:
    """The half of the accumulators that holds `address`: it has one owner at a time."""
    half = np.array([address // design.accumulator_words])
    return Access("accumulator", half, writes)


class _Places:
    """Of one space, the last instruction of every unit that read and that wrote each place."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = np.full((len(Unit), count), _NEVER, dtype=np.int32)
        self.written = np.full((len(Unit), count), _NEVER, dtype=np.int32)

    def conflict(self, access: Access, unit: Unit, clock: list[int]) -> tuple[int, int] | None:
        """Another unit's access outside `clock`: its instruction's index, and the place."""
        rivals = (self.written, self.read) if access.writes else (self.written,)
        for last in rivals:
            for other in Unit:
                if other == unit:
                    continue
                seen = last[other, access.places]
                if seen.size and int(seen.max()) > clock[other]:
                    worst = int(seen.argmax())
                    return int(seen[worst]), int(access.places[worst])
        return None

    def note(self, access: Access, unit: Unit, index: int) -> None:
        """Remember that instruction `index` made `access`."""
        target = self.written if access.writes else self.read
        target[unit, access.places] = index


def check_tokens(program: Program) -> None:
    """Prove that every order which the tokens allow computes what the order of the text does.

    Raises VerificationError naming the two instructions, and the place, that no token orders; the
    instruction that waits for a token which nothing pushes; or one that touches no place there is.
    """
    design = program.design
    instructions = decode(program.instructions)
    spaces = {
        "memory": _Places(-(-program.memory_bytes // design.memory_bytes_per_cycle)),
        "activation": _Places(design.activation_words + 2),
        "weight": _Places(design.weight_words),
        "accumulator": _Places(2),
    }
    clocks = {unit: [_NEVER] * len(Unit) for unit in Unit}
    tokens: dict[tuple[Unit, Unit], deque[list[int]]] = {
        (a, b): deque() for a in Unit for b in Unit
    }
    for index in program_order(program, instructions):
        instruction = instructions[index]
        unit = instruction.unit
        clock = clocks[unit]
        for source in instruction.pop:
            handed = tokens[source, unit].popleft()
            clock[:] = map(max, clock, handed)
        clock[unit] = index
        for access in accesses(instruction, design):
            places = spaces[access.space]
            if access.places.max(initial=0) >= places.count:
                raise VerificationError(_outside(program, instructions, index, access))
            rival = places.conflict(access, unit, clock)
            if rival is not None:
                raise VerificationError(_race(program, instructions, index, access, rival))
            places.note(access, unit, index)
        for target in instruction.push:
            tokens[unit, target].append(list(clock))


_UNITS = {
    "memory": "beat {} of memory",
    "activation": "word {} of the activation buffer",
    "weight": "word {} of the weight buffer",
    "accumulator": "half {} of the accumulators",
}


def _outside(
    program: Program,
    instructions: Sequence[Instruction],
    index: int,
    access: Access,
) -> str:
    verb, place = "writes" if access.writes else "reads", int(access.places.max())
    return (
        f"{describe(program, instructions, index)} {verb} {_UNITS[access.space].format(place)}, "
        "which is not there"
    )


def _race(
    program: Program,
    instructions: Sequence[Instruction],
    index: int,
    access: Access,
    rival: tuple[int, int],
) -> str:
    other, place = rival
    verb = "writes" if access.writes else "reads"
    return (
        f"{describe(program, instructions, index)} {verb} {_UNITS[access.space].format(place)} "
        f"with no token that it comes after {describe(program, instructions, other)}, which uses "
        "it too"
    )
