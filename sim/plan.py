"""What the simulator has to know of each instruction, read once from the encoded Program."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from intaglio.sim import patterns
from intaglio.sim.compiled import Table, filled
from intaglio.sim.patterns import Pattern
from intaglio.sim.port import BANKS
from intaglio.sim.state import Box, Gather, Reads, Task, Tiles
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import FIELDS, HEADER, UNIT_BITS, Field, Opcode, Unit

Column = NDArray[np.int64]

COMPUTES = (Opcode.COMPUTE,)
BOXES = Opcode.LOAD, Opcode.STORE
DRAINS = (Opcode.DRAIN,)
WINDOWS = Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX
ROWS = Opcode.SOFTMAX, Opcode.NORM


def column(words: np.ndarray, spec: Field) -> Column:
    """One field of every instruction, int64 of shape (count,)."""
    value: Column = words[:, spec.word].astype(np.int64) >> spec.lsb & ((1 << spec.width) - 1)
    return value


class Plan:
    """Columns of the Program, int64 of shape (count,), and the work of its instructions.

    `sync` are the instructions that are tokens only.
    """

    def __init__(self, instructions: np.ndarray, design: NpuDesign) -> None:
        self.design = design
        self.words = instructions
        self.count = len(instructions)
        self.opcode = column(instructions, HEADER["opcode"])
        self.unit = self.opcode & ((1 << UNIT_BITS) - 1)
        self.sync = self.opcode >> UNIT_BITS == 0
        self.pop = column(instructions, HEADER["pop"])
        self.push = column(instructions, HEADER["push"])
        self.layer = column(instructions, HEADER["layer"])
        self.mark = column(instructions, HEADER["mark"])

    def work(self, *opcodes: Opcode) -> tuple[Column, Callable[[str], Column]]:
        """Indices of the instructions of `opcodes`, and the fields, by name, that they share."""
        chosen = np.flatnonzero(_are(opcodes)[self.opcode])
        words, specs = self.words[chosen], FIELDS[opcodes[0]]
        return chosen, lambda name: column(words, specs[name])

    def tasks(self) -> Table[Task]:
        """The instructions, each with the row of its work in its unit's table."""
        work = np.zeros(self.count, np.int64)
        for opcodes in (COMPUTES, DRAINS + ROWS, WINDOWS, BOXES):
            chosen = _are(opcodes)[self.opcode]
            work[chosen] = np.arange(np.count_nonzero(chosen))
        columns = {name: getattr(self, name) for name in ("unit", "pop", "push", "sync", "mark")}
        return filled(Task, columns | {"work": work})

    def tiles(self) -> Table[Tiles]:
        """Every COMPUTE in time."""
        _, field = self.work(Opcode.COMPUTE)
        tiles, pixels = field("blocks") * field("fy") * field("fx"), field("y") * field("x")
        bits = 8 >> field("packing")
        kinds, place = _kinds({"tiles": tiles, "pixels": pixels, "weight_bits": bits})
        found = [
            (
                timing.fill_cycles(self.design, kind["weight_bits"]),
                timing.tile_period(self.design, kind["pixels"], kind["weight_bits"]),
                timing.compute_cycles(self.design, **kind),
            )
            for kind in kinds
        ]
        fill, period, cycles = np.array(found, np.int64).reshape(-1, 3)[place].T
        columns = {"tiles": tiles, "pixels": pixels, "fill": fill, "period": period}
        return filled(Tiles, columns | {"cycles": cycles})

    def boxes(self) -> Table[Box]:
        """Every LOAD and STORE, and behind them a box of nothing."""
        chosen, field = self.work(*BOXES)
        loads = self.opcode[chosen] == Opcode.LOAD
        planes, rows, words = field("planes"), field("rows"), field("words")
        whole = field("contiguous") == 1
        present = (words > 0) & (rows > 0) & (planes > 0)
        beats = words * self.design.word_bytes // self.design.memory_bytes_per_cycle
        columns = {
            "buffer": field("buffer"),
            "planes": planes,
            "rows": rows,
            "words": words,
            **{side: field(f"pad_{side}") * loads for side in ("top", "bottom", "left", "right")},
            "runs": np.where(whole, 1, rows) * present,
            "beats": np.where(whole, beats * rows, beats),
            "address": field("memory_address") | field("memory_address_high") << 32,
            "run_stride": field("memory_row_stride"),
            "plane_stride": field("memory_plane_stride"),
            "local": field("local_address"),
            "local_row_stride": field("local_row_stride"),
            "local_plane_stride": field("local_plane_stride"),
        }
        return filled(Box, {name: np.append(each, 0) for name, each in columns.items()})

    def reads(self) -> tuple[Table[Reads], NDArray[np.uint8]]:
        """Every vector instruction in time, and the patterns that they refer to."""
        found: list[Pattern] = []
        places = np.zeros(self.count, np.int64)
        for opcodes, exact, banked, sliced, pattern in _PATTERNS:
            chosen, field = self.work(*opcodes)
            columns = {name: field(name) for name in exact}
            columns |= {name: field(name) % BANKS for name in banked}
            columns |= {name: field(name) % self.design.groups for name in sliced}
            kinds, place = _kinds({"opcode": self.opcode[chosen]} | columns)
            places[chosen] = place + len(found)
            found += [pattern(self.design, kind) for kind in kinds]
        sizes = np.array([each.taken.size for each in found], np.int64)
        columns = {
            "cycles": np.array([each.cycles for each in found], np.int64),
            "stalls": np.array([each.stalls for each in found], np.int64),
            "pattern": np.cumsum(sizes) - sizes,
            "watched": sizes,
        }
        chosen = places[~self.sync & (self.unit == Unit.VECTOR)]
        taken = [np.zeros(1, np.uint8), *(each.taken for each in found)]
        columns["pattern"] += 1
        reads = filled(Reads, {name: each[chosen] for name, each in columns.items()})
        return reads, np.concatenate(taken)

    def gathers(self, before: int = 0) -> tuple[Table[Gather], NDArray[np.uint16]]:
        """Every window, and the steps that they refer to, with `before` numbers before them."""
        chosen, field = self.work(*WINDOWS)
        columns = {name: field(name) for name in patterns.EXACT}
        columns |= {name: field(name) % BANKS for name in patterns.BANKED}
        columns |= {name: field(name) % self.design.groups for name in patterns.SLICED}
        kinds, place = _kinds({"opcode": self.opcode[chosen]} | columns)
        found = [np.zeros(1, np.uint16), *(patterns.window(self.design, kind) for kind in kinds)]
        ends = before + np.cumsum([each.size for each in found])
        gathers = filled(Gather, {"first": ends[place], "end": ends[place + 1]})
        return gathers, np.concatenate(found)


_PATTERNS = (
    (
        DRAINS,
        (*patterns.EXACT, patterns.DRAIN_EXACT),
        (*patterns.BANKED, patterns.DRAIN_BANKED),
        patterns.SLICED,
        patterns.drain,
    ),
    (
        ROWS[:1],
        (*patterns.ROW_EXACT, "mask"),
        (*patterns.ROW_BANKED, *patterns.MASK_BANKED),
        (),
        patterns.softmax,
    ),
    (
        ROWS[1:],
        (*patterns.ROW_EXACT, *patterns.NORM_EXACT),
        (*patterns.ROW_BANKED, patterns.NORM_BANKED),
        patterns.SLICED[-1:],
        patterns.norm,
    ),
)
"""Of opcodes: the fields that say what they take of the ports, exactly or by banks or slices, and
the function that says it."""


@cache
def _are(opcodes: tuple[Opcode, ...]) -> NDArray[np.bool_]:
    """Of every number that an opcode can have, whether it is one of `opcodes`."""
    return np.isin(np.arange(1 << HEADER["opcode"].width), opcodes)


def _kinds(columns: dict[str, Column]) -> tuple[list[dict[str, int]], Column]:
    """The different rows of `columns`, and for each row which of them it is."""
    rows = list(zip(*(each.tolist() for each in columns.values()), strict=True))
    known = {row: place for place, row in enumerate(dict.fromkeys(rows))}
    kinds = [dict(zip(columns, row, strict=True)) for row in known]
    return kinds, np.array([known[row] for row in rows], np.int64)
