"""What SOFTMAX and NORM do to the buffers: docs/npu.md by the numerics, without time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import numerics
from intaglio.errors import VerificationError
from intaglio.sim.storage import Storage
from intaglio.templates.npu.isa import MAX_NORM_ROWS, RECORD_WORDS, Instruction

Words = NDArray[np.int64]
_SUMMED = "count", "centred", "epsilon_low", "epsilon_high", "fraction"
"""The fields of a NORM that its sums, beside the elements, depend on."""


def softmax(i: Instruction, activation: Storage) -> None:
    """Apply a SOFTMAX.

    Raises VerificationError when its rows have no entry or more than its blocks hold.
    """
    values = _elements(i, activation)
    entries = i["entries"]
    if not 0 < entries <= values.shape[1]:
        raise VerificationError(f"has rows of {entries} entries in {values.shape[1]} lanes")
    kept = np.broadcast_to(np.arange(values.shape[1]) < entries, values.shape).astype(np.int64)
    if i["mask"]:
        words = _row_words(i, "mask_address", "mask_row_stride", "mask_block_stride")
        kept &= _lanes(activation, words) & 1
    bits = i["largest"].bit_length()
    _write(i, activation, numerics.softmax(values, i["multiplier"], i["shift"], bits, mask=kept))


@dataclass(frozen=True, slots=True, eq=False)
class NormRows:
    """What the sums that the norm unit keeps are made of: rows, int64, and how they are summed."""

    values: Words
    settings: tuple[int, ...]

    def same(self, other: NormRows) -> bool:
        """Whether the sums of both are the same ones."""
        return self.settings == other.settings and np.array_equal(self.values, other.values)


def norm(i: Instruction, activation: Storage, weight: Storage, kept: NormRows | None) -> NormRows:
    """Apply a NORM; `kept` are the rows of the one before it.  Returns its own.

    Raises VerificationError when it has more rows than the hardware keeps sums of, when lanes
    beyond its elements are not 0, or when it goes again over rows that are not `kept`.
    """
    if i["rows"] > MAX_NORM_ROWS:
        raise VerificationError(f"has {i['rows']} rows, the norm unit keeps {MAX_NORM_ROWS}")
    values, count = _elements(i, activation), i["count"]
    if not 0 < count <= values.shape[1]:
        raise VerificationError(f"has rows of {count} elements in {values.shape[1]} lanes")
    if values[:, count:].any():
        raise VerificationError(f"has lanes beyond its {count} elements that are not 0")
    own = NormRows(values, tuple(i[name] for name in _SUMMED))
    if i["again"] and (kept is None or not own.same(kept)):
        raise VerificationError("goes again over rows that are not those of the NORM before it")
    multiplier, shift, bias = _records(i, weight)
    centred = numerics.standardise(
        values[:, :count],
        (1,),
        i["epsilon_low"] | i["epsilon_high"] << 32,
        i["fraction"],
        bool(i["centred"]),
    )
    standard = np.zeros(values.shape, np.int64)
    standard[:, :count] = centred
    made = np.clip((standard * multiplier + bias) >> shift, i["lo"], i["hi"])
    _write(i, activation, made)
    if i["output_wide"]:
        _write(i, activation, made >> 8, i["output_high_offset"])
    return own


def _row_words(i: Instruction, address: str, row_stride: str, block_stride: str) -> Words:
    """Addresses of words, of shape (rows, blocks)."""
    rows = np.arange(i["rows"])[:, None] * i[row_stride]
    words: Words = i[address] + rows + np.arange(i["blocks"]) * i[block_stride]
    return words


def _lanes(storage: Storage, words: Words) -> Words:
    """The bytes of words of shape (rows, blocks), side by side: (rows, blocks * lanes)."""
    data = storage.read_defined(words * storage.unit_bytes, storage.unit_bytes)
    return data.reshape(len(words), -1).astype(np.int64)


def _elements(i: Instruction, activation: Storage) -> Words:
    """The rows of an instruction, of shape (rows, blocks * lanes)."""
    words = _row_words(i, "source_address", "source_row_stride", "source_block_stride")
    values, bits = _lanes(activation, words), 8
    if i["input_wide"]:
        values |= _lanes(activation, words + i["source_high_offset"]) << 8
        bits = 16
    if i["input_signed"]:
        values -= values >> (bits - 1) << bits
    return values


def _records(i: Instruction, weight: Storage) -> tuple[Words, Words, Words]:
    """Multipliers, shifts and biases of all lanes, each of shape (blocks * lanes,)."""
    words = i["record_address"] + np.arange(i["blocks"] * RECORD_WORDS)
    raw = weight.read_defined(words * weight.unit_bytes, weight.unit_bytes).astype(np.int64)
    raw = raw.reshape(i["blocks"], RECORD_WORDS, -1).transpose(1, 0, 2).reshape(RECORD_WORDS, -1)
    bias = sum(raw[k] << 8 * k for k in range(6))
    multiplier = raw[6] | raw[7] << 8 | raw[8] << 16
    return _signed(multiplier, 24), raw[11] & 63, _signed(bias, 48)


def _signed(values: Words, bits: int) -> Words:
    """Unsigned numbers of `bits` bits as the signed ones they stand for."""
    return values - (values >> (bits - 1) << bits)


def _write(i: Instruction, activation: Storage, results: Words, offset: int = 0) -> None:
    """Put rows of shape (rows, blocks * lanes) where an instruction wants them, or further on."""
    words = _row_words(i, "output_address", "output_row_stride", "output_block_stride") + offset
    data = (results & 0xFF).astype(np.uint8).reshape(*words.shape, -1)
    activation.write(words * activation.unit_bytes, data, True)
