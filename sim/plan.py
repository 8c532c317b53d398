"""What the simulator has to know of each instruction, read once from the encoded Program."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intaglio.sim.compiled import Table, filled
from intaglio.sim.port import (
    BANKS,
    NORM_WRITE_DELAY,
    SOFTMAX_WRITE_DELAY,
    PortUse,
    Source,
    row_port,
    use_port,
)
from intaglio.sim.state import Box, Reads, Task, Tiles
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import FIELDS, HEADER, Field, Opcode, Unit

Column = NDArray[np.int64]

BOXES = Opcode.LOAD, Opcode.STORE
DRAINS = Opcode.DRAIN, Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX
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
        self.unit = self.opcode & 3
        self.sync = self.opcode < 4
        self.pop = column(instructions, HEADER["pop"])
        self.push = column(instructions, HEADER["push"])
        self.layer = column(instructions, HEADER["layer"])
        self.mark = column(instructions, HEADER["mark"])

    def work(self, *opcodes: Opcode) -> tuple[Column, Callable[[str], Column]]:
        """Indices of the instructions of `opcodes`, and the fields, by name, that they share."""
        chosen = np.flatnonzero(np.isin(self.opcode, opcodes))
        words, specs = self.words[chosen], FIELDS[opcodes[0]]
        return chosen, lambda name: column(words, specs[name])

    def tasks(self) -> Table[Task]:
        """The instructions, each with the row of its work in `tiles`, `reads` or `boxes`."""
        work = np.zeros(self.count, np.int64)
        for units in ((Unit.COMPUTE,), (Unit.VECTOR,), (Unit.LOAD, Unit.STORE)):
            chosen = np.flatnonzero(~self.sync & np.isin(self.unit, units))
            work[chosen] = np.arange(chosen.size)
        columns = {"unit": self.unit, "pop": self.pop, "push": self.push}
        return filled(Task, {**columns, "sync": self.sync, "work": work})

    def tiles(self) -> Table[Tiles]:
        """Tiles and pixels of every COMPUTE."""
        design = self.design
        _, field = self.work(Opcode.COMPUTE)
        columns = {
            "tiles": field("blocks") * field("fy") * field("fx"),
            "pixels": field("y") * field("x"),
            "bits": 8 >> field("packing"),
        }

        def work(field: dict[str, int]) -> Tiles:
            tiles, pixels, bits = field["tiles"], field["pixels"], field["bits"]
            period, fill = (
                timing.tile_period(design, pixels, bits),
                timing.fill_cycles(design, bits),
            )
            cycles = timing.compute_cycles(design, tiles, pixels, bits)
            return Tiles(tiles, pixels, fill, period, cycles)

        return filled(Tiles, _columns(Tiles, _of_each(work, columns)))

    def boxes(self) -> Table[Box]:
        """The words, beats and runs of every LOAD and STORE, and the fill around them."""
        chosen, field = self.work(*BOXES)
        loads = self.opcode[chosen] == Opcode.LOAD
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
        """Every vector instruction in time."""
        found = np.zeros((self.count, len(fields(Reads))))
        for opcodes, exact, banked, work in (
            (DRAINS, _EXACT, _BANKED, self._drain),
            (ROWS[:1], (*_ROW_EXACT, "mask"), (*_ROW_BANKED, *_MASK_BANKED), self._softmax),
            (ROWS[1:], _ROW_EXACT, _ROW_BANKED, self._norm),
        ):
            chosen, field = self.work(*opcodes)
            columns = {name: field(name) for name in exact}
            columns |= {name: field(name) % BANKS for name in banked}
            rows = _of_each(work, {"opcode": self.opcode[chosen]} | columns)
            found[chosen] = rows.reshape(-1, found.shape[1])
        found = found[~self.sync & (self.unit == Unit.VECTOR)]
        return filled(Reads, _columns(Reads, found))

    def _drain(self, field: dict[str, int]) -> Reads:
        """One instruction that requantises the sums of the array or of windows."""
        opcode = field["opcode"]
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
            return Reads(setup, outputs * max(len(asides), 1), port.stalls, port.share)
        reads = shape[0] * timing.row_reads(shape[1], source.shape, source.new)
        return Reads(setup, reads + outputs * len(asides), port.stalls, port.share)

    def _softmax(self, field: dict[str, int]) -> Reads:
        """One SOFTMAX; what it leaves of the port is spread evenly."""
        blocks, rows = field["blocks"], field["rows"]
        reads = 1 + field["input_wide"] + field["mask"]
        cycles = timing.softmax_cycles(self.design, blocks, rows, reads)
        walked = 3 * rows * blocks * timing.row_timing(self.design, reads).period
        reading = self._walks(field, "row", "block", None)
        made = self._walks(field, "row", "block", SOFTMAX_WRITE_DELAY)
        share = _diluted((2 * reading.share + made.share) / 3, walked, cycles)
        return Reads(0, cycles - timing.VECTOR_PIPELINE, made.stalls, share)

    def _norm(self, field: dict[str, int]) -> Reads:
        """One NORM; what either pass leaves of the port is spread evenly over it."""
        blocks, rows, reads = field["blocks"], field["rows"], 1 + field["input_wide"]
        cycles = timing.norm_cycles(self.design, blocks, rows, reads)
        sums = timing.norm_sum_cycles(self.design, blocks, rows, reads)
        walked = rows * blocks * timing.row_timing(self.design, reads).period
        reading = self._walks(field, "row", "block", None)
        made = self._walks(field, "block", "row", NORM_WRITE_DELAY)
        return Reads(
            setup=0,
            reads=cycles - timing.VECTOR_PIPELINE,
            stalls=made.stalls,
            share=_diluted(reading.share, walked, sums),
            results=sums,
            results_share=_diluted(made.share, walked, cycles - sums),
        )

    def _walks(self, field: dict[str, int], outer: str, inner: str, delay: int | None) -> PortUse:
        """Walks over the words of `inner`, a row or a block, one for each `outer`.

        Results come `delay` cycles behind what passes; without `delay` there are none.  Stalls of
        all walks, and the mean of what they leave to others.
        """
        places = [("source", 0)]
        if field["input_wide"]:
            places.append(("source", field["source_high_offset"]))
        if field.get("mask"):
            places.append(("mask", 0))
        period = timing.row_timing(self.design, len(places)).period
        passing = self.design.lanes // self.design.row_lanes
        count, stalls, share = field[f"{outer}s"], 0, 0.0
        for first in range(min(count, BANKS)):
            *reads, output = (
                (
                    (field[f"{kind}_address"] + offset + first * field[f"{kind}_{outer}_stride"])
                    % BANKS,
                    field[f"{kind}_{inner}_stride"],
                )
                for kind, offset in (*places, ("output", 0))
            )
            after = None if delay is None else delay + passing
            port = row_port(field[f"{inner}s"], tuple(reads), output, period, after)
            walks = len(range(first, count, BANKS))
            stalls += walks * port.stalls
            share += walks / count * port.share
        return PortUse(stalls, share)

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
_ROW_EXACT = "blocks", "rows", "input_wide"
_ROW_BANKED = (
    "source_address", "source_block_stride", "source_row_stride", "source_high_offset",
    "output_address", "output_block_stride", "output_row_stride",
)  # fmt: skip
_MASK_BANKED = "mask_address", "mask_block_stride", "mask_row_stride"
"""The same of SOFTMAX and NORM."""


def _diluted(share: float, walked: int, cycles: int) -> float:
    """What is left of a port of which `share` is left in `walked` of `cycles`, and else all."""
    return 1 - (1 - share) * walked / cycles


def _residual_reads(opcode: int, field: dict[str, int]) -> tuple[tuple[int, int], ...]:
    """Banks of address and row stride of an output's residual reads, in their order."""
    address, stride = field["residual_address"], field["residual_row_stride"]
    if not field["residual"]:
        return ()
    if opcode == Opcode.DRAIN and field["residual_wide"]:
        return (((address + field["residual_high_offset"]) % BANKS, stride), (address, stride))
    return ((address, stride),)


def _of_each(
    function: Callable[[dict[str, int]], Any], columns: dict[str, Column]
) -> NDArray[np.float64]:
    """Records of `function`, one a row, called once for every different row of `columns`."""
    rows = list(zip(*(each.tolist() for each in columns.values()), strict=True))
    known = {row: astuple(function(dict(zip(columns, row, strict=True)))) for row in set(rows)}
    return np.array([known[row] for row in rows], np.float64)


def _columns(kind: type[Any], rows: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """The columns of rows of records of the dataclass `kind`."""
    names = fields(kind)
    return {
        each.name: values.astype(np.int64 if each.type == "int" else np.float64)
        for each, values in zip(names, rows.reshape(-1, len(names)).T, strict=True)
    }
