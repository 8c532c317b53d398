"""What the simulator has to know of each instruction, read once from the encoded Program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.sim.compiled import Table, filled
from intaglio.sim.port import BANKS, Source, use_port
from intaglio.sim.state import Box, Reads, Task, Tiles
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import FIELDS, HEADER, Field, Opcode, Unit

Column = NDArray[np.int64]

_FIELDS = tuple(FIELDS[op] for op in (Opcode.LOAD, Opcode.COMPUTE, Opcode.DRAIN, Opcode.STORE))
"""Fields by unit: the instructions of one unit share theirs."""


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
        self.unit = self.opcode & 3
        self.sync = self.opcode < 4
        self.pop = column(instructions, HEADER["pop"])
        self.push = column(instructions, HEADER["push"])
        self.layer = column(instructions, HEADER["layer"])
        self.mark = column(instructions, HEADER["mark"])

    def work(self, *units: Unit) -> tuple[Column, Callable[[str], Column]]:
        """Of the instructions of `units` that do more than tokens: indices, and fields by name.

        The units are one, or those that move boxes.
        """
        chosen = np.flatnonzero(~self.sync & np.isin(self.unit, units))
        words, specs = self.words[chosen], _FIELDS[units[0]]
        return chosen, lambda name: column(words, specs[name])

    def tasks(self) -> Table[Task]:
        """The instructions, each with the row of its work in `tiles`, `reads` or `boxes`."""
        work = np.zeros(self.count, np.int64)
        for units in ((Unit.COMPUTE,), (Unit.VECTOR,), (Unit.LOAD, Unit.STORE)):
            chosen, _ = self.work(*units)
            work[chosen] = np.arange(chosen.size)
        columns = {"unit": self.unit, "pop": self.pop, "push": self.push}
        return filled(Task, {**columns, "sync": self.sync, "work": work})

    def tiles(self) -> Table[Tiles]:
        """Tiles and pixels of every COMPUTE."""
        design = self.design
        _, field = self.work(Unit.COMPUTE)
        tiles, pixels = field("blocks") * field("fy") * field("fx"), field("y") * field("x")
        times = _of_each(
            lambda t, p: (timing.tile_period(design, p), timing.compute_cycles(design, t, p)),
            (tiles, pixels),
        )
        period, cycles = times.reshape(-1, 2).T.astype(np.int64)
        return filled(Tiles, {"tiles": tiles, "pixels": pixels, "period": period, "cycles": cycles})

    def boxes(self) -> Table[Box]:
        """The words, beats and runs of every LOAD and STORE, and the fill around them."""
        chosen, field = self.work(Unit.LOAD, Unit.STORE)
        loads = self.unit[chosen] == Unit.LOAD
        words, rows, planes = field("words"), field("rows"), field("planes")
        top, bottom, left, right = (
            field(f"pad_{side}") * loads for side in ("top", "bottom", "left", "right")
        )
        across = left + words + right
        plane = (top + rows + bottom) * across
        present = (words > 0) & (rows > 0) & (planes > 0)
        lead, trail = top * across + left, bottom * across + right
        beats = self.design.word_bytes // self.design.memory_bytes_per_cycle
        turns = (rows - 1) * np.maximum(left + right - beats + 1, 0)
        whole = field("contiguous") == 1
        row_beats = words * self.design.word_bytes // self.design.memory_bytes_per_cycle
        return filled(
            Box,
            {
                "buffer": field("buffer"),
                "lead": lead,
                "inside": plane - lead - trail,
                "trail": trail,
                "passing": beats * words * rows + turns,
                "fill": np.where(present | ~loads, 0, planes * plane),
                "planes": np.where(present, planes, 0),
                "runs": np.where(whole, 1, rows),
                "beats": np.where(whole, row_beats * rows, row_beats),
                "address": field("memory_address") | field("memory_address_high") << 32,
                "run_stride": field("memory_row_stride"),
                "plane_stride": field("memory_plane_stride"),
            },
        )

    def reads(self) -> Table[Reads]:
        """Setup, reads and stalls of every vector instruction."""
        chosen, field = self.work(Unit.VECTOR)
        banked = [field(name) % BANKS for name in _BANKED]
        columns = (self.opcode[chosen], *map(field, _EXACT), *banked)
        setup, reads, stalls, share = _of_each(self._vector_work, columns).reshape(-1, 4).T
        whole = {"setup": setup, "reads": reads, "stalls": stalls}
        return filled(
            Reads, {name: each.astype(np.int64) for name, each in whole.items()} | {"share": share}
        )

    def _vector_work(self, opcode: int, *values: int) -> tuple[int, int, int, float]:
        """Setup, reads, stalls and share of one instruction."""
        field = dict(zip(_EXACT + _BANKED, values, strict=True))
        asides = _residual_reads(opcode, field)
        shape = field["y"], field["x"]
        outputs = shape[0] * shape[1]
        output = field["output_address"], field["output_row_stride"]
        table, drain = bool(field["table"]), opcode == Opcode.DRAIN
        source = None if drain else self._source(field)
        taps = field["window_y"] * field["window_x"] if opcode == Opcode.WINDOW_MAC else 0
        setup = timing.vector_cycles(self.design, 0, taps, table) - timing.VECTOR_PIPELINE
        port = use_port(shape, source, asides, output)
        if source is None:
            return setup, outputs * max(len(asides), 1), port.stalls, port.share
        reads = shape[0] * timing.row_reads(shape[1], source.shape, source.new)
        return setup, reads + outputs * len(asides), port.stalls, port.share

    def _source(self, field: dict[str, int]) -> Source:
        """How the windows of an instruction are read."""
        window = field["window_y"], field["window_x"]
        strides = field["source_x_stride"], field["window_x_stride"]
        return Source(
            shape=window,
            address=field["source_address"],
            y_stride=field["source_y_stride"],
            x_stride=strides[0] % BANKS,
            window_y_stride=field["window_y_stride"],
            window_x_stride=strides[1] % BANKS,
            by_columns=window[1] <= self.design.window_columns,
            new=timing.new_columns(self.design, window[1], *strides),
        )


_EXACT = (
    "y", "x", "table", "residual", "residual_wide", "window_y", "window_x", "source_x_stride",
    "window_x_stride",
)  # fmt: skip
"""Fields whose value says how a vector instruction reads."""
_BANKED = (
    "residual_address", "residual_row_stride", "residual_high_offset", "output_address",
    "output_row_stride", "source_address", "source_y_stride", "window_y_stride",
)  # fmt: skip
"""Fields that matter as far as banks go."""


def _residual_reads(opcode: int, field: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """Banks of address and row stride of an output's residual reads, in their order."""
    address, stride = field["residual_address"], field["residual_row_stride"]
    if not field["residual"]:
        return ()
    if opcode == Opcode.DRAIN and field["residual_wide"]:
        return (((address + field["residual_high_offset"]) % BANKS, stride), (address, stride))
    return ((address, stride),)


def _of_each(function: Callable[..., Sequence[Any]], columns: Sequence[Column]) -> NDArray[Any]:
    """Rows of results of `function`, called once for every different row of `columns`."""
    rows = list(zip(*(each.tolist() for each in columns), strict=True))
    known = {row: function(*row) for row in set(rows)}
    return np.array([known[row] for row in rows], np.float64)
