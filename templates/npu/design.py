"""`NpuDesign`: the parameters of one npu, legal by construction."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from intaglio.errors import DesignError, UsageError

_SIZES = (4, 8, 16, 32, 64)
_MAX_COLS = 64
_WINDOW_COLUMNS = tuple(range(1, 9))
_ROW_LANES = (0, 1, 2, 4, 8)
PACKED_BITS = (2, 4, 8)
"""Bits that a weight of the array can take; four, two or one of them are in a byte."""
_TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    "name": (str, "a text"),
    "clock_mhz": ((int, float), "a number"),
}
"""The fields that hold something else than whole numbers, and how errors name it."""


@dataclass(frozen=True, slots=True)
class NpuDesign:
    """One npu.  Buffers are in KiB, the clock in MHz, memory in bytes and cycles.

    rows                     multipliers along the reduction (input channels)
    cols                     multipliers along the outputs (output channels)
    lanes                    elements of a word of the activation buffer; equal to `rows`
    vector_lanes             elements the vector unit handles a cycle; equal to `lanes`
    window_columns           columns of a window (depthwise, pooling) that it multiplies at once
    row_lanes                elements of a row that softmax and norms handle a cycle; 0 for none
                             of their engines
    activation_bits          width of an activation in its container (narrower values fit in it)
    weight_bits              fewest bits that a weight of the array takes in memory and in its
                             buffer: 2, 4 or 8
    activation_buffer_kib    activation scratchpad
    weight_buffer_kib        weight scratchpad (weights, requantisation records, tables)
    accumulator_buffer_kib   accumulators, both halves
    memory_bytes_per_cycle   width of the AXI4 port
    memory_latency_cycles    cycles of the memory from a read request to its first beat
    clock_mhz                used to turn cycles into time

    Raises DesignError with the field, its value and what is legal.
    """

    rows: int = 16
    cols: int = 16
    lanes: int = 16
    vector_lanes: int = 16
    window_columns: int = 5
    row_lanes: int = 0
    activation_bits: int = 8
    weight_bits: int = 2
    activation_buffer_kib: int = 128
    weight_buffer_kib: int = 64
    accumulator_buffer_kib: int = 64
    memory_bytes_per_cycle: int = 16
    memory_latency_cycles: int = 40
    clock_mhz: float = 200.0
    name: str = "npu"

    def __post_init__(self) -> None:
        self._one_of("rows", _SIZES)
        self._one_of("lanes", (self.rows,))
        self._one_of("vector_lanes", (self.lanes,))
        self._one_of("cols", tuple(c for c in _SIZES if self.lanes <= c <= _MAX_COLS))
        self._one_of("activation_bits", (8,))
        self._one_of("weight_bits", PACKED_BITS)
        self._one_of("memory_bytes_per_cycle", tuple(b for b in _SIZES if b <= self.lanes))
        for key in ("activation_buffer_kib", "weight_buffer_kib", "accumulator_buffer_kib"):
            self._one_of(key, tuple(1 << i for i in range(13)))
        if self.window_columns not in _WINDOW_COLUMNS:
            self._refuse("window_columns", "1 to 8")
        self._one_of("row_lanes", tuple(n for n in _ROW_LANES if n <= self.lanes))
        if not 1 <= self.memory_latency_cycles <= 4096:
            self._refuse("memory_latency_cycles", "1 to 4096")
        if not 1 <= self.clock_mhz <= 10_000:
            self._refuse("clock_mhz", "1 to 10000")
        if not 16 <= self.accumulator_words <= 1 << 15:
            self._refuse("accumulator_buffer_kib", "16 to 32768 words of cols x 32 bits a half")

    def _one_of(self, key: str, legal: tuple[int, ...]) -> None:
        if getattr(self, key) not in legal:
            self._refuse(key, " or ".join(map(str, legal)) if legal else "none with these lanes")

    def _refuse(self, key: str, legal: str) -> None:
        raise DesignError(f"design '{self.name}': {key} is {getattr(self, key)}, legal is {legal}")

    @property
    def groups(self) -> int:
        """Words of `lanes` columns across the array."""
        return self.cols // self.lanes

    @property
    def word_bytes(self) -> int:
        """Bytes of a word of the activation and weight buffers."""
        return self.lanes

    @property
    def activation_words(self) -> int:
        """Words of the activation buffer."""
        return self.activation_buffer_kib * 1024 // self.word_bytes

    @property
    def weight_words(self) -> int:
        """Words of the weight buffer (a tile takes rows * groups of them)."""
        return self.weight_buffer_kib * 1024 // self.word_bytes

    @property
    def accumulator_words(self) -> int:
        """Pixels of one accumulator half."""
        return self.accumulator_buffer_kib * 1024 // (4 * self.cols) // 2

    def packed_bits(self, lo: int, hi: int) -> int:
        """The fewest bits of a weight of the array that hold `lo` to `hi`, which 8 bits do."""
        legal = (bits for bits in PACKED_BITS if bits >= self.weight_bits)
        return next(bits for bits in legal if -1 << bits - 1 <= lo and hi < 1 << bits - 1)

    def tile_rows(self, weight_bits: int) -> int:
        """Rows of `cols` bytes that a tile of such weights takes: of 8, 4 or 2 bits."""
        return self.rows * weight_bits // 8

    @property
    def multipliers(self) -> int:
        """Multiply-accumulates the array does in a cycle."""
        return self.rows * self.cols

    @property
    def window_multipliers(self) -> int:
        """Products of a window that the vector unit makes in a cycle."""
        return self.lanes * self.window_columns

    @classmethod
    def space(cls) -> dict[str, tuple[int, ...]]:
        """The fields that a search may choose, each with every value that some design has."""
        kib = tuple(1 << i for i in range(13))
        return {
            "rows": _SIZES,
            "cols": _SIZES,
            "window_columns": _WINDOW_COLUMNS,
            "row_lanes": _ROW_LANES,
            "activation_buffer_kib": kib,
            "weight_buffer_kib": kib,
            "accumulator_buffer_kib": kib,
            "memory_bytes_per_cycle": _SIZES,
        }

    @classmethod
    def repaired(cls, values: Mapping[str, int | float | str]) -> NpuDesign:
        """The design of `values`, of which each in `space()` is moved to its nearest legal value.

        Columns rise to the rows, memory and row engines narrow to the rows, and the accumulators
        grow or shrink to the words that a half may have.  Raises as `from_dict` does for everything
        else.
        """
        wanted = {**cls().to_dict(), **values}
        rows, cols, memory, accumulators = (
            int(wanted[key])
            for key in ("rows", "cols", "memory_bytes_per_cycle", "accumulator_buffer_kib")
        )
        cols = max(cols, rows)
        least, most = -(-16 * 8 * cols // 1024), (8 * cols << 15) // 1024
        moved = {
            "lanes": rows,
            "vector_lanes": rows,
            "cols": cols,
            "row_lanes": min(int(wanted["row_lanes"]), rows),
            "memory_bytes_per_cycle": min(memory, rows),
            "accumulator_buffer_kib": min(max(accumulators, least), most),
        }
        return cls.from_dict({**wanted, **moved})

    def to_dict(self) -> dict[str, int | float | str]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, object], where: str = "design") -> NpuDesign:
        """From plain values; `lanes` and `vector_lanes` follow `rows` when not given.

        Raises UsageError on an unknown key (with the nearest known one) or a value of a wrong type,
        and DesignError on an illegal value.
        """
        known = {f.name: f for f in fields(cls)}
        for key, value in values.items():
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(known)}"
                raise UsageError(f"{where}: unknown key '{key}'; {hint}")
            expected, legal = _TYPES.get(key, (int, "a whole number"))
            if not isinstance(value, expected) or isinstance(value, bool):
                raise UsageError(f"{where}: {key} is {value!r}, legal is {legal}")
        merged = dict(values)
        rows = merged.get("rows", cls().rows)
        merged.setdefault("lanes", rows)
        merged.setdefault("vector_lanes", merged["lanes"])
        return cls(**merged)  # type: ignore[arg-type]

    @classmethod
    def from_toml(cls, path: Path) -> NpuDesign:
        """From a TOML file of the fields above; its stem is the default name.

        Raises UsageError when the file is missing, not TOML, has an unknown key, or a value of a
        wrong type or that is not legal.
        """
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise UsageError(f"cannot read design file '{path}': {error.strerror}") from error
        except ValueError as error:  # not TOML, or not even UTF-8
            raise UsageError(f"design file '{path}' is not TOML: {error}") from error
        named = {"name": path.stem, **values}
        try:
            return cls.from_dict(named, where=str(path))
        except DesignError as error:
            reason = str(error).removeprefix(f"design '{named['name']}': ")
            raise UsageError(f"{path}: {reason}") from error
