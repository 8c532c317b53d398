"""What each instruction of the npu does to the memories: docs/npu.md in numpy, without time.

A `Machine` holds main memory and the three buffers.  Beside every byte stands whether anything
defined it: loads and stores carry that along, and an instruction whose result depends on an
undefined byte is refused, so a missing dependency cannot pass by luck.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import numerics
from intaglio.errors import VerificationError
from intaglio.sim import rows
from intaglio.sim.storage import Storage
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import (
    MAX_TAPS,
    RECORD_WORDS,
    TABLE_ENTRIES,
    Buffer,
    Instruction,
    Opcode,
)

_GATHER_ELEMENTS = 1 << 22
"""Array operands that one step of a COMPUTE gathers at most; bounds the memory it takes."""
_EXACT_PRODUCTS = (1 << 24) // (255 * 128)
"""Products of 8 bits whose sum is exact in float32, in any order."""


@dataclass(frozen=True, slots=True)
class _Records:
    """Requantisation of one block of lanes; every array is int64 of shape (lanes,)."""

    bias: np.ndarray
    multiplier: np.ndarray
    residual_multiplier: np.ndarray
    shift: np.ndarray


_EXTENTS = {
    Opcode.COMPUTE: ("blocks", "fy", "fx", "y", "x"),
    Opcode.DRAIN: ("y", "x"),
    Opcode.WINDOW_MAC: ("y", "x", "window_y", "window_x"),
    Opcode.WINDOW_SUM: ("y", "x", "window_y", "window_x"),
    Opcode.WINDOW_MAX: ("y", "x", "window_y", "window_x"),
    Opcode.SOFTMAX: ("rows", "blocks"),
    Opcode.NORM: ("rows", "blocks"),
}


def _refuse_empty(i: Instruction) -> None:
    for name in _EXTENTS.get(i.opcode, ()):
        if not i[name]:
            raise VerificationError(f"has the extent '{name}' of 0, the least is 1")


def _unpacked(packed: NDArray[np.uint8], bits: int) -> NDArray[np.int8]:
    """Bytes (words, cols) of weights of `bits` bits as int8 (words * 8 / bits, cols)."""
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)[:, None]
    high = (packed[:, None] << shifts).view(np.int8) >> 8 - bits
    return high.reshape(-1, packed.shape[1])


class Machine:
    """Memories of one npu, and the effect of one instruction on them.

    `memory` is main memory in bytes, `activation` and `weight` are the scratchpads in bytes, and
    `accumulators` has shape (2 * half, cols) of int32.
    """

    def __init__(self, design: NpuDesign, memory_bytes: int) -> None:
        word = design.word_bytes
        self.design = design
        self.memory = Storage("memory", memory_bytes, "byte", 1)
        self.activation = Storage(
            "activation buffer", design.activation_words * word, "word", word, overhang=word
        )
        self.weight = Storage("weight buffer", design.weight_words * word, "word", word)
        shape = (2 * design.accumulator_words, design.cols)
        self.accumulators = np.random.default_rng(1).integers(
            -(1 << 31), 1 << 31, shape, dtype=np.int32
        )
        self.accumulated = np.zeros(shape[0], dtype=bool)
        self.norm_rows: rows.NormRows | None = None

    def execute(self, instruction: Instruction) -> None:
        """Apply one instruction.

        Raises VerificationError, its message without the instruction's name, when an address is
        out of range, a tile crosses an accumulator half, or the result depends on undefined data.
        """
        _refuse_empty(instruction)
        match instruction.opcode:
            case Opcode.LOAD:
                self._load(instruction)
            case Opcode.STORE:
                self._store(instruction)
            case Opcode.COMPUTE:
                self._compute(instruction)
            case Opcode.DRAIN:
                self._drain(instruction)
            case Opcode.WINDOW_MAC | Opcode.WINDOW_SUM | Opcode.WINDOW_MAX:
                self._window(instruction)
            case Opcode.SOFTMAX:
                rows.softmax(instruction, self.activation)
            case Opcode.NORM:
                self.norm_rows = rows.norm(
                    instruction, self.activation, self.weight, self.norm_rows
                )
            case _:
                return

    # DMA

    def _memory_lines(self, i: Instruction) -> np.ndarray:
        """First byte of every row of the box in memory, of shape (planes, rows)."""
        row_stride = i["memory_row_stride"]
        if i["contiguous"]:
            row_stride = i["words"] * self.design.word_bytes
        return (
            i["memory_address"]
            + np.arange(i["planes"])[:, None] * i["memory_plane_stride"]
            + np.arange(i["rows"])[None, :] * row_stride
        )

    def _local_lines(self, i: Instruction, rows: int) -> np.ndarray:
        """First byte of every row of the box in a buffer, of shape (planes, rows)."""
        words = (
            i["local_address"]
            + np.arange(i["planes"])[:, None] * i["local_plane_stride"]
            + np.arange(rows)[None, :] * i["local_row_stride"]
        )
        return words * self.design.word_bytes

    def _load(self, i: Instruction) -> None:
        word = self.design.word_bytes
        buffer = self.activation if i["buffer"] == Buffer.ACTIVATION else self.weight
        data, defined = self.memory.read(self._memory_lines(i), i["words"] * word)
        edges = (
            (0, 0),
            (i["pad_top"], i["pad_bottom"]),
            (i["pad_left"] * word, i["pad_right"] * word),
        )
        data = np.pad(data, edges, constant_values=i["fill"])
        defined = np.pad(defined, edges, constant_values=True)
        buffer.write(self._local_lines(i, data.shape[1]), data, defined)

    def _store(self, i: Instruction) -> None:
        count = i["words"] * self.design.word_bytes
        data, defined = self.activation.read(self._local_lines(i, i["rows"]), count)
        self.memory.write(self._memory_lines(i), data, defined)

    # Array

    def _compute(self, i: Instruction) -> None:
        design = self.design
        pixels = i["y"] * i["x"]
        tiles = i["blocks"] * i["fy"] * i["fx"]
        target = self._accumulator_tile(i["acc_address"], pixels)
        if i["weight_address"] % design.groups:
            raise VerificationError(
                f"takes weights from word {i['weight_address']}, which is no multiple of the "
                f"{design.groups} words of a tile row"
            )
        sums = np.zeros((pixels, design.cols))
        step = min(_EXACT_PRODUCTS, _GATHER_ELEMENTS // pixels) // design.rows
        step = max(1, step)
        for first in range(0, tiles, step):
            chosen = np.arange(first, min(tiles, first + step))
            sums += self._products(i, chosen)
        exact = sums.astype(np.int64) << 8 * i["input_high"]
        if i["accumulate"]:
            if not self.accumulated[target].all():
                raise VerificationError("adds to accumulators that nothing has written")
            exact += self.accumulators[target]
        self.accumulators[target] = exact.astype(np.int32)
        self.accumulated[target] = True

    def _products(self, i: Instruction, tiles: np.ndarray) -> np.ndarray:
        """Sums of a few `tiles` (indices in execution order) in float32, of shape (pixels, cols).

        Exact: every partial sum is an integer below 2**24.
        """
        rows, cols = self.design.rows, self.design.cols
        bits = self._weight_bits(i)
        starts = self._pixel_offsets(i)[:, None] + self._tile_offsets(i, tiles)[None, :]
        vectors, defined = self.activation.read(starts, rows)
        size = self.design.tile_rows(bits) * cols
        first = i["weight_address"] * self.design.word_bytes
        packed = self.weight.read_defined(first + tiles * size, size)
        weights = _unpacked(packed.reshape(-1, cols), bits).reshape(len(tiles), rows, cols)
        if i["fill_columns"]:
            weights = self._by_columns(weights)
        used = (weights != 0).any(axis=2)
        if not (defined | ~used).all():
            self.activation.refuse_undefined(starts, defined | ~used)
        if i["input_signed"]:
            vectors = vectors.view(np.int8)
        left = vectors.reshape(len(starts), -1).astype(np.float32)
        product: np.ndarray = left @ weights.reshape(-1, cols).astype(np.float32)
        return product

    def _weight_bits(self, i: Instruction) -> int:
        """Bits of a weight of a COMPUTE.

        Raises VerificationError when the array has no weights of so few, or is filled by columns.
        """
        bits, least = 8 >> i["packing"], self.design.weight_bits
        if bits < least:
            raise VerificationError(
                f"takes weights of {bits} bits, the array's have {least} or more"
            )
        if bits < 8 and i["fill_columns"]:
            raise VerificationError(f"fills by columns with weights of {bits} bits, not 8")
        return bits

    def _by_columns(self, tiles: np.ndarray) -> np.ndarray:
        """Tiles (count, rows, cols) of those whose word `r * groups + g` is column `g * lanes + r`.

        Raises VerificationError when the array is filled by rows only.
        """
        design = self.design
        if not design.row_lanes:
            raise VerificationError(
                "fills by columns, an array beside no engines of rows is filled by rows"
            )
        words = tiles.reshape(len(tiles), design.lanes, design.groups, design.lanes)
        return words.transpose(0, 3, 2, 1).reshape(tiles.shape)

    @staticmethod
    def _pixel_offsets(i: Instruction) -> np.ndarray:
        """Element address of every output pixel, before the tile's offset."""
        y, x = np.divmod(np.arange(i["y"] * i["x"]), i["x"])
        offsets: np.ndarray = i["act_address"] + y * i["y_stride"] + x * i["x_stride"]
        return offsets

    @staticmethod
    def _tile_offsets(i: Instruction, tiles: np.ndarray) -> np.ndarray:
        """Element offset of every weight tile."""
        rest, fx = np.divmod(tiles, i["fx"])
        block, fy = np.divmod(rest, i["fy"])
        offsets: np.ndarray = block * i["block_stride"] + fy * i["fy_stride"] + fx * i["fx_stride"]
        return offsets

    def _accumulator_tile(self, first: int, pixels: int) -> slice:
        """Accumulator words of a tile; refused when they leave their half."""
        half = self.design.accumulator_words
        if first + pixels > 2 * half:
            raise VerificationError(
                f"reaches accumulator word {first + pixels - 1}, the last is {2 * half - 1}"
            )
        if first // half != (first + pixels - 1) // half:
            raise VerificationError(
                f"tile of accumulator words {first} to {first + pixels - 1} crosses the half "
                f"at {half}"
            )
        return slice(first, first + pixels)

    # Vector unit

    def _drain(self, i: Instruction) -> None:
        design = self.design
        if i["group"] >= design.groups:
            raise VerificationError(f"drains group {i['group']}, the array has {design.groups}")
        source = self._accumulator_tile(i["source_address"], i["y"] * i["x"])
        if not self.accumulated[source].all():
            raise VerificationError("drains accumulators that nothing has written")
        first = i["group"] * design.lanes
        sums = self.accumulators[source, first : first + design.lanes]
        self._requantise(i, sums.astype(np.int64))

    def _window(self, i: Instruction) -> None:
        taps = i["window_y"] * i["window_x"]
        if i.opcode == Opcode.WINDOW_MAC and taps > MAX_TAPS:
            raise VerificationError(f"has {taps} taps, the window unit holds {MAX_TAPS}")
        y, x = np.divmod(np.arange(i["y"] * i["x"]), i["x"])
        wy, wx = np.divmod(np.arange(taps), i["window_x"])
        outputs = i["source_address"] + y * i["source_y_stride"] + x * i["source_x_stride"]
        inside = wy * i["window_y_stride"] + wx * i["window_x_stride"]
        values = self._activations(outputs[:, None] + inside, bool(i["input_signed"]))
        match i.opcode:
            case Opcode.WINDOW_MAX:
                result = values.max(axis=1)
            case Opcode.WINDOW_SUM:
                result = values.sum(axis=1)
            case _:
                weights = self._weight_words(i["tap_address"] + np.arange(taps))
                result = (values * weights.view(np.int8)).sum(axis=1)
        self._requantise(i, result)

    def _activations(self, words: np.ndarray, signed: bool) -> np.ndarray:
        """Words of the activation buffer as int64, of shape (*words.shape, lanes)."""
        count = self.design.word_bytes
        data = self.activation.read_defined(words * count, count)
        return data.view(np.int8 if signed else np.uint8).astype(np.int64)

    def _weight_words(self, words: np.ndarray) -> np.ndarray:
        """Words of the weight buffer as bytes, of shape (*words.shape, lanes)."""
        count = self.design.word_bytes
        return self.weight.read_defined(words * count, count)

    def _requantise(self, i: Instruction, accumulated: np.ndarray) -> None:
        """Requantise int64 `accumulated` of shape (pixels, lanes) and write it."""
        y, x = np.divmod(np.arange(i["y"] * i["x"]), i["x"])
        residual = table = None
        if i["residual"]:
            words = i["residual_address"] + y * i["residual_row_stride"] + x
            residual = self._residual(i, words)
        if i["table"]:
            count = TABLE_ENTRIES // self.design.lanes
            words = self._weight_words(i["table_address"] + np.arange(count))
            table = words.reshape(-1).astype(np.int64)
        records = self._records(i["record_address"])
        result = numerics.requantise(
            accumulated,
            records.multiplier,
            records.shift + 8 * i["output_high"],
            records.bias,
            i["lo"],
            i["hi"],
            residual,
            records.residual_multiplier,
            table,
        )
        words = i["output_address"] + y * i["output_row_stride"] + x
        self.activation.write(
            words * self.design.word_bytes, (result & 0xFF).astype(np.uint8), True
        )

    def _residual(self, i: Instruction, words: np.ndarray) -> np.ndarray:
        """The residual of every pixel; a wide one has its high bytes further on, always signed."""
        if not i["residual_wide"]:
            return self._activations(words, bool(i["residual_signed"]))
        high = self._activations(words + i["residual_high_offset"], signed=True)
        whole: np.ndarray = high << 8 | self._activations(words, signed=False)
        return whole

    def _records(self, address: int) -> _Records:
        raw = self._weight_words(address + np.arange(RECORD_WORDS)).astype(np.int64)
        bias = sum(raw[k] << 8 * k for k in range(6))
        bias = np.where(bias >> 47 & 1, bias - (1 << 48), bias)
        magnitude = raw[9] | raw[10] << 8
        return _Records(
            bias=bias,
            multiplier=raw[6] | raw[7] << 8,
            residual_multiplier=np.where(raw[11] >> 6 & 1, -magnitude, magnitude),
            shift=raw[11] & 63,
        )
