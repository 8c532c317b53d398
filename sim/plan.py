"""What the simulator has to know of each instruction, read once from the encoded Program."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from intaglio.sim.port import BANKS, PortUse, Source, use_port
from intaglio.templates.npu import timing
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import (
    FIELDS,
    HEADER,
    Buffer,
    Field,
    Opcode,
    Unit,
)

PAGE_BYTES = 4096
BURST_BEATS = 256


def column(words: np.ndarray, spec: Field) -> np.ndarray:
    """One field of every instruction, int64 of shape (count,)."""
    value: np.ndarray = words[:, spec.word].astype(np.int64) >> spec.lsb & ((1 << spec.width) - 1)
    return value


@dataclass(frozen=True, slots=True)
class Box:
    """A LOAD or STORE in time; the planes are alike but for their addresses.

    lead, inside, trail     words of a plane written to the buffer before, between and after the
                            first and the last word from memory (no lead and trail in a store)
    passing                 cycles that its beats take from the queue to the buffer, with the fill
                            words between them
    planes                  of each plane with words in memory, the runs of consecutive beats: byte
                            address and beats
    fill                    words written when nothing comes from memory
    """

    buffer: Buffer
    lead: int
    inside: int
    trail: int
    passing: int
    planes: tuple[tuple[tuple[int, int], ...], ...]
    fill: int = 0

    @property
    def beats(self) -> int:
        """Beats on the bus."""
        return sum(beats for runs in self.planes for _, beats in runs)

    @property
    def words(self) -> int:
        """Words moved at the buffer's side."""
        return self.fill + len(self.planes) * (self.lead + self.inside + self.trail)


def split_run(address: int, beats: int, beat_bytes: int) -> Iterator[int]:
    """Beats of each burst of a run: at most 256, never across 4 KiB."""
    while beats:
        room = (PAGE_BYTES - address % PAGE_BYTES) // beat_bytes
        count = min(beats, room, BURST_BEATS)
        yield count
        address += count * beat_bytes
        beats -= count


@dataclass(frozen=True, slots=True)
class VectorWork:
    """A vector instruction in time.

    setup       cycles that read its constants
    reads       cycles that issue its reads, when no port holds one up
    port        what it makes of the activation buffer's port from its first read on
    """

    setup: int
    reads: int
    port: PortUse


_FIELDS = tuple(FIELDS[op] for op in (Opcode.LOAD, Opcode.COMPUTE, Opcode.DRAIN, Opcode.STORE))
"""Fields by unit: the instructions of one unit share theirs."""


class Plan:
    """Columns of the Program as lists, and the work of each instruction on demand."""

    def __init__(self, instructions: np.ndarray, design: NpuDesign) -> None:
        self.design = design
        self.words = instructions
        self.count = len(instructions)
        self.opcode: list[int] = column(instructions, HEADER["opcode"]).tolist()
        self.unit: list[int] = [code & 3 for code in self.opcode]
        self.pop = _unit_lists(column(instructions, HEADER["pop"]))
        self.push = _unit_lists(column(instructions, HEADER["push"]))
        self.layer: list[int] = column(instructions, HEADER["layer"]).tolist()
        self.mark: list[int] = column(instructions, HEADER["mark"]).tolist()
        self._columns: dict[tuple[int, str], list[int]] = {}
        self._boxes: dict[int, Box] = {}

    def is_sync(self, index: int) -> bool:
        """Whether the instruction is tokens only."""
        return self.opcode[index] < 4

    def field(self, index: int, name: str) -> int:
        """One field of one instruction."""
        key = self.unit[index], name
        if key not in self._columns:
            self._columns[key] = column(self.words, _FIELDS[self.unit[index]][name]).tolist()
        return self._columns[key][index]

    def compute_work(self, index: int) -> tuple[int, int]:
        """Tiles and pixels of a COMPUTE."""
        field = self.field
        tiles = field(index, "blocks") * field(index, "fy") * field(index, "fx")
        return tiles, field(index, "y") * field(index, "x")

    def box(self, index: int) -> Box:
        """The box of a LOAD or STORE."""
        if index not in self._boxes:
            self._boxes[index] = self._box(index)
        return self._boxes[index]

    def _box(self, index: int) -> Box:
        words, rows, planes = (self.field(index, n) for n in ("words", "rows", "planes"))
        present = words and rows and planes
        runs = tuple(self._runs(index, plane) for plane in range(planes)) if present else ()
        if Opcode(self.opcode[index]) == Opcode.STORE:
            return Box(Buffer.ACTIVATION, 0, words * rows, 0, words * rows, runs)
        top, bottom, left, right = (
            self.field(index, f"pad_{side}") for side in ("top", "bottom", "left", "right")
        )
        buffer = Buffer(self.field(index, "buffer"))
        across = left + words + right
        plane = (top + rows + bottom) * across
        if not present:
            return Box(buffer, 0, 0, 0, 0, (), planes * plane)
        lead, trail = top * across + left, bottom * across + right
        beats = self.design.word_bytes // self.design.memory_bytes_per_cycle
        passing = beats * words * rows + (rows - 1) * max(left + right - beats + 1, 0)
        return Box(buffer, lead, plane - lead - trail, trail, passing, runs)

    def _runs(self, index: int, plane: int) -> tuple[tuple[int, int], ...]:
        field = self.field
        beats = field(index, "words") * self.design.word_bytes
        beats //= self.design.memory_bytes_per_cycle
        address = field(index, "memory_address") | field(index, "memory_address_high") << 32
        address += plane * field(index, "memory_plane_stride")
        rows, stride = field(index, "rows"), field(index, "memory_row_stride")
        if field(index, "contiguous"):
            return ((address, beats * rows),)
        return tuple((address + row * stride, beats) for row in range(rows))

    def vector_work(self, index: int) -> VectorWork:
        """Setup, reads and stalls of a vector instruction."""
        field, opcode = self.field, Opcode(self.opcode[index])
        asides = self._residual_reads(index)
        shape = field(index, "y"), field(index, "x")
        outputs = shape[0] * shape[1]
        output = self._banks(index, "output_address", "output_row_stride")
        mac, table = opcode == Opcode.WINDOW_MAC, bool(field(index, "table"))
        if opcode == Opcode.DRAIN:
            setup = timing.vector_cycles(self.design, 0, table=table) - timing.VECTOR_PIPELINE
            port = use_port(shape, None, asides, output)
            return VectorWork(setup, outputs * max(len(asides), 1), port)
        source = self._source(index)
        taps = source.shape[0] * source.shape[1]
        setup = timing.vector_cycles(self.design, 0, taps if mac else 0, table)
        setup -= timing.VECTOR_PIPELINE
        reads = shape[0] * timing.row_reads(shape[1], source.shape, source.new)
        port = use_port(shape, source, asides, output)
        return VectorWork(setup, reads + outputs * len(asides), port)

    def _residual_reads(self, index: int) -> tuple[tuple[int, int], ...]:
        """Banks of address and row stride of an output's residual reads, in their order."""
        address, stride = self._banks(index, "residual_address", "residual_row_stride")
        reads = ((address, stride),) if self.field(index, "residual") else ()
        drain = Opcode(self.opcode[index]) == Opcode.DRAIN
        if reads and drain and self.field(index, "residual_wide"):
            high = address + self.field(index, "residual_high_offset")
            return ((high % BANKS, stride), *reads)
        return reads

    def _source(self, index: int) -> Source:
        """How the windows of an instruction are read."""
        field = self.field
        window = field(index, "window_y"), field(index, "window_x")
        strides = field(index, "source_x_stride"), field(index, "window_x_stride")
        address, y_stride = self._banks(index, "source_address", "source_y_stride")
        return Source(
            shape=window,
            address=address,
            y_stride=y_stride,
            x_stride=strides[0] % BANKS,
            window_y_stride=field(index, "window_y_stride") % BANKS,
            window_x_stride=strides[1] % BANKS,
            by_columns=window[1] <= self.design.window_columns,
            new=timing.new_columns(self.design, window[1], *strides),
        )

    def _banks(self, index: int, address: str, stride: str) -> tuple[int, int]:
        """Two fields of one instruction, as far as banks go."""
        return self.field(index, address) % BANKS, self.field(index, stride) % BANKS


def _unit_lists(masks: np.ndarray) -> list[tuple[Unit, ...]]:
    table = [tuple(unit for unit in Unit if mask >> unit & 1) for mask in range(16)]
    return [table[mask] for mask in masks.tolist()]
