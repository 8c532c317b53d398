"""The npu's instruction set: version, opcodes, fields, and the binary form.

An instruction is 64 bytes, sixteen little-endian words of 32 bits.  `FIELDS` is the only definition
of its layout; the SystemVerilog package is rendered from it (`render_package`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from intaglio.errors import ArtifactError, DesignError

ISA_VERSION = 4
INSTRUCTION_WORDS = 16
INSTRUCTION_BYTES = 4 * INSTRUCTION_WORDS
TOKEN_LIMIT = 255
"""The largest count of a token counter; a push waits while its counter holds this many."""
RECORD_WORDS = 12
"""Words of the weight buffer that hold the requantisation records of one block of lanes."""
MAX_TAPS = 64
"""Taps of the largest depthwise window that the window unit holds."""
MAX_NORM_ROWS = 64
"""Rows that one NORM normalises: their means and deviations are kept between its two passes."""
TABLE_ENTRIES = 256
MEMORY_BITS = 40
"""Bits of an address in memory."""


class Unit(IntEnum):
    """The five units, in the order of token masks, queues and counters."""

    LOAD = 0
    COMPUTE = 1
    VECTOR = 2
    STORE = 3
    WINDOW = 4


UNIT_BITS = 3
"""Low bits of an opcode, which name its unit."""


class Buffer(IntEnum):
    """Destination of a load."""

    ACTIVATION = 0
    WEIGHT = 1


class Opcode(IntEnum):
    """What an instruction does; the low `UNIT_BITS` bits are its unit."""

    SYNC_LOAD = 0 << UNIT_BITS | Unit.LOAD
    SYNC_COMPUTE = 0 << UNIT_BITS | Unit.COMPUTE
    SYNC_VECTOR = 0 << UNIT_BITS | Unit.VECTOR
    SYNC_STORE = 0 << UNIT_BITS | Unit.STORE
    SYNC_WINDOW = 0 << UNIT_BITS | Unit.WINDOW
    LOAD = 1 << UNIT_BITS | Unit.LOAD
    COMPUTE = 1 << UNIT_BITS | Unit.COMPUTE
    STORE = 1 << UNIT_BITS | Unit.STORE
    DRAIN = 1 << UNIT_BITS | Unit.VECTOR
    SOFTMAX = 2 << UNIT_BITS | Unit.VECTOR
    NORM = 3 << UNIT_BITS | Unit.VECTOR
    WINDOW_MAC = 1 << UNIT_BITS | Unit.WINDOW
    WINDOW_SUM = 2 << UNIT_BITS | Unit.WINDOW
    WINDOW_MAX = 3 << UNIT_BITS | Unit.WINDOW

    @property
    def unit(self) -> Unit:
        """The queue it is sorted into."""
        return Unit(self & ((1 << UNIT_BITS) - 1))


@dataclass(frozen=True, slots=True)
class Field:
    """Bits `[lsb + width - 1 : lsb]` of 32-bit word `word`."""

    word: int
    lsb: int
    width: int
    signed: bool = False

    @property
    def lo(self) -> int:
        """The smallest value that fits."""
        return -(1 << (self.width - 1)) if self.signed else 0

    @property
    def hi(self) -> int:
        """The largest value that fits."""
        return (1 << (self.width - 1 if self.signed else self.width)) - 1


HEADER = {
    "opcode": Field(0, 0, 8),
    "pop": Field(0, 8, len(Unit)),
    "layer": Field(0, 16, 16),
    "version": Field(1, 0, 8),
    "mark": Field(1, 8, 1),
    "push": Field(1, 9, len(Unit)),
}
_DMA = {
    "buffer": Field(1, 16, 1),
    "contiguous": Field(1, 17, 1),
    "fill": Field(1, 24, 8),
    "memory_address": Field(2, 0, 32),
    "memory_address_high": Field(3, 0, 8),
    "words": Field(3, 16, 16),
    "memory_row_stride": Field(4, 0, 32),
    "memory_plane_stride": Field(5, 0, 32),
    "planes": Field(6, 0, 16),
    "rows": Field(6, 16, 16),
    "local_address": Field(7, 0, 24),
    "local_row_stride": Field(8, 0, 24),
    "local_plane_stride": Field(9, 0, 24),
    "pad_top": Field(10, 0, 8),
    "pad_bottom": Field(10, 8, 8),
    "pad_left": Field(10, 16, 8),
    "pad_right": Field(10, 24, 8),
}
_COMPUTE = {
    "accumulate": Field(1, 16, 1),
    "input_signed": Field(1, 17, 1),
    "input_high": Field(1, 18, 1),
    "fill_columns": Field(1, 19, 1),
    "packing": Field(1, 20, 2),
    "act_address": Field(2, 0, 32),
    "weight_address": Field(3, 0, 24),
    "acc_address": Field(4, 0, 16),
    "blocks": Field(5, 0, 12),
    "fy": Field(5, 12, 10),
    "fx": Field(5, 22, 10),
    "y": Field(6, 0, 16),
    "x": Field(6, 16, 16),
    "block_stride": Field(7, 0, 32),
    "fy_stride": Field(8, 0, 32),
    "fx_stride": Field(9, 0, 32),
    "y_stride": Field(10, 0, 32),
    "x_stride": Field(11, 0, 32),
}
_VECTOR = {
    "input_signed": Field(1, 16, 1),
    "residual": Field(1, 17, 1),
    "residual_signed": Field(1, 18, 1),
    "table": Field(1, 19, 1),
    "output_high": Field(1, 20, 1),
    "source_address": Field(2, 0, 24),
    "record_address": Field(3, 0, 24),
    "tap_address": Field(4, 0, 24),
    "table_address": Field(5, 0, 24),
    "residual_address": Field(6, 0, 24),
    "output_address": Field(7, 0, 24),
    "y": Field(8, 0, 16),
    "x": Field(8, 16, 16),
    "window_y": Field(9, 0, 8),
    "window_x": Field(9, 8, 8),
    "group": Field(9, 16, 8),
    "source_y_stride": Field(10, 0, 24),
    "source_x_stride": Field(11, 0, 16),
    "window_x_stride": Field(11, 16, 16),
    "window_y_stride": Field(12, 0, 24),
    "residual_row_stride": Field(13, 0, 16),
    "output_row_stride": Field(13, 16, 16),
    "lo": Field(14, 0, 16, signed=True),
    "hi": Field(14, 16, 16, signed=True),
}
_DRAIN = {
    "residual_wide": Field(1, 21, 1),
    "residual_high_offset": Field(15, 0, 24),
}
"""What a DRAIN has beside the fields of every vector instruction."""
_ROW = {
    "input_signed": Field(1, 16, 1),
    "input_wide": Field(1, 17, 1),
    "source_address": Field(2, 0, 24),
    "blocks": Field(3, 0, 16),
    "rows": Field(3, 16, 16),
    "source_block_stride": Field(4, 0, 24),
    "source_high_offset": Field(5, 0, 24),
    "source_row_stride": Field(6, 0, 16),
    "output_row_stride": Field(6, 16, 16),
    "output_address": Field(7, 0, 24),
    "output_block_stride": Field(8, 0, 24),
}
_SOFTMAX = {
    "mask": Field(1, 18, 1),
    "largest": Field(1, 24, 8),
    "entries": Field(9, 0, 17),
    "mask_address": Field(10, 0, 24),
    "mask_row_stride": Field(11, 0, 16),
    "mask_block_stride": Field(12, 0, 24),
    "multiplier": Field(13, 0, 24),
    "shift": Field(13, 24, 6),
}
_NORM = {
    "centred": Field(1, 18, 1),
    "again": Field(1, 19, 1),
    "output_wide": Field(1, 20, 1),
    "count": Field(9, 0, 21),
    "record_address": Field(10, 0, 24),
    "epsilon_low": Field(11, 0, 32),
    "epsilon_high": Field(12, 0, 30),
    "fraction": Field(13, 0, 6),
    "lo": Field(14, 0, 16, signed=True),
    "hi": Field(14, 16, 16, signed=True),
    "output_high_offset": Field(15, 0, 24),
}
FIELDS: dict[Opcode, dict[str, Field]] = {
    Opcode.SYNC_LOAD: {},
    Opcode.SYNC_COMPUTE: {},
    Opcode.SYNC_VECTOR: {},
    Opcode.SYNC_STORE: {},
    Opcode.SYNC_WINDOW: {},
    Opcode.LOAD: _DMA,
    Opcode.STORE: _DMA,
    Opcode.COMPUTE: _COMPUTE,
    Opcode.DRAIN: _VECTOR | _DRAIN,
    Opcode.WINDOW_MAC: _VECTOR,
    Opcode.WINDOW_SUM: _VECTOR,
    Opcode.WINDOW_MAX: _VECTOR,
    Opcode.SOFTMAX: _ROW | _SOFTMAX,
    Opcode.NORM: _ROW | _NORM,
}
"""Every opcode's own fields; what is in no field is reserved and zero."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction in symbolic form; `memory_address` is one number of 40 bits here.

    Raises DesignError at construction when a field is unknown or its value does not fit.
    """

    opcode: Opcode
    fields: dict[str, int] = field(default_factory=dict)
    pop: tuple[Unit, ...] = ()
    push: tuple[Unit, ...] = ()
    layer: int = 0
    mark: bool = False

    def __post_init__(self) -> None:
        known = FIELDS[self.opcode]
        for name, value in self.fields.items():
            if name not in known or name == "memory_address_high":
                raise DesignError(f"{self.opcode.name} has no field '{name}'")
            hi = (1 << MEMORY_BITS) - 1 if name == "memory_address" else known[name].hi
            if not known[name].lo <= value <= hi:
                raise DesignError(
                    f"{self.opcode.name}: field '{name}' is {value}, "
                    f"outside {known[name].lo} to {hi}; use smaller tiles"
                )

    def __getitem__(self, name: str) -> int:
        return self.fields.get(name, 0)

    @property
    def unit(self) -> Unit:
        """The unit that executes it."""
        return self.opcode.unit

    def __str__(self) -> str:
        parts = [f"{self.layer:3d} {self.opcode.name.lower():12s}"]
        parts += [f"pop={'+'.join(u.name.lower() for u in self.pop)}"] if self.pop else []
        parts += [f"push={'+'.join(u.name.lower() for u in self.push)}"] if self.push else []
        parts += [f"{name}={value}" for name, value in self.fields.items() if value]
        return " ".join(parts + (["mark"] if self.mark else []))


def _mask(units: Iterable[Unit]) -> int:
    return sum(1 << unit for unit in units)


def encode(instructions: Iterable[Instruction]) -> np.ndarray:
    """Instructions -> uint32 array of shape (count, 16)."""
    items = tuple(instructions)
    words = np.zeros((len(items), INSTRUCTION_WORDS), dtype=np.uint32)
    for row, item in zip(words, items, strict=True):
        values = {
            "opcode": int(item.opcode),
            "pop": _mask(item.pop),
            "push": _mask(item.push),
            "layer": item.layer,
            "version": ISA_VERSION,
            "mark": int(item.mark),
        }
        _place(row, HEADER, values)
        own = dict(item.fields)
        if "memory_address" in own:
            own["memory_address_high"] = own["memory_address"] >> 32
            own["memory_address"] &= 0xFFFFFFFF
        _place(row, FIELDS[item.opcode], own)
    return words


def _place(row: np.ndarray, fields: dict[str, Field], values: dict[str, int]) -> None:
    for name, value in values.items():
        spec = fields[name]
        row[spec.word] |= np.uint32((value & ((1 << spec.width) - 1)) << spec.lsb)


def _extract(row: np.ndarray, spec: Field) -> int:
    value = int(row[spec.word]) >> spec.lsb & ((1 << spec.width) - 1)
    return value - (1 << spec.width) if spec.signed and value > spec.hi else value


def decode(words: np.ndarray) -> tuple[Instruction, ...]:
    """uint32 array of shape (count, 16) -> instructions, every field present.

    Raises ArtifactError on an unknown opcode or another ISA version.
    """
    return tuple(_decode_one(index, row) for index, row in enumerate(words))


def _decode_one(index: int, row: np.ndarray) -> Instruction:
    head = {name: _extract(row, spec) for name, spec in HEADER.items()}
    if head["version"] != ISA_VERSION:
        raise ArtifactError(
            f"instruction {index} is of ISA version {head['version']}, this intaglio speaks "
            f"{ISA_VERSION}; compile the model again"
        )
    if head["opcode"] not in Opcode._value2member_map_:
        raise ArtifactError(f"instruction {index} has the unknown opcode {head['opcode']}")
    opcode = Opcode(head["opcode"])
    values = {name: _extract(row, spec) for name, spec in FIELDS[opcode].items()}
    if "memory_address_high" in values:
        values["memory_address"] |= values.pop("memory_address_high") << 32
    return Instruction(
        opcode,
        values,
        pop=tuple(unit for unit in Unit if head["pop"] >> unit & 1),
        push=tuple(unit for unit in Unit if head["push"] >> unit & 1),
        layer=head["layer"],
        mark=bool(head["mark"]),
    )


def render_package() -> str:
    """The SystemVerilog package with every constant that the hardware decodes by."""
    lines = [
        "// SPDX-License-Identifier: Apache-2.0",
        "// Instruction set of the npu: opcodes and bit positions of the fields of an instruction.",
        "// Rendered from templates/npu/isa.py; edit that file, not this one.",
        "",
        "/* verilator lint_off UNUSEDPARAM */",
        "package npu_isa_pkg;",
        f"  localparam int ISA_VERSION = {ISA_VERSION};",
        f"  localparam int INSTRUCTION_BITS = {32 * INSTRUCTION_WORDS};",
        f"  localparam int INSTRUCTION_BYTES = {INSTRUCTION_BYTES};",
        f"  localparam int RECORD_WORDS = {RECORD_WORDS};",
        f"  localparam int MAX_TAPS = {MAX_TAPS};",
        f"  localparam int MAX_NORM_ROWS = {MAX_NORM_ROWS};",
        f"  localparam int TABLE_ENTRIES = {TABLE_ENTRIES};",
        "",
        f"  localparam int UNITS = {len(Unit)};",
        f"  localparam int UNIT_BITS = {UNIT_BITS};",
        *(f"  localparam int UNIT_{unit.name} = {unit.value};" for unit in Unit),
        "",
        *(f"  localparam logic [7:0] OP_{op.name} = 8'd{op.value};" for op in Opcode),
    ]
    groups = {
        "": HEADER,
        "DMA_": _DMA,
        "COMPUTE_": _COMPUTE,
        "VECTOR_": _VECTOR,
        "DRAIN_": _DRAIN,
        "ROW_": _ROW,
        "SOFTMAX_": _SOFTMAX,
        "NORM_": _NORM,
    }
    for prefix, fields in groups.items():
        lines.append("")
        for name, spec in fields.items():
            lines.append(
                f"  localparam int {prefix}{name.upper()}_LSB = {32 * spec.word + spec.lsb};"
            )
            lines.append(f"  localparam int {prefix}{name.upper()}_BITS = {spec.width};")
    return "\n".join([*lines, "endpackage", "/* verilator lint_on UNUSEDPARAM */", ""])
