"""What the row engines do to a buffer, by the numerics, for their block tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.compiler import numerics
from intaglio.templates.npu.isa import Instruction


def row_words(item: Instruction, row: int, address: str, row_stride: str, stride: str) -> Any:
    """Addresses of the words of one row, int64 of shape (blocks,)."""
    return item[address] + row * item[row_stride] + np.arange(item["blocks"]) * item[stride]


def elements(activations: np.ndarray, item: Instruction) -> np.ndarray:
    """The rows of an instruction, int64 of shape (rows, blocks * lanes)."""
    rows = []
    for row in range(item["rows"]):
        words = row_words(item, row, "source_address", "source_row_stride", "source_block_stride")
        low = activations[words].astype(np.int64).ravel()
        bits = 8
        if item["input_wide"]:
            low |= activations[words + item["source_high_offset"]].astype(np.int64).ravel() << 8
            bits = 16
        if item["input_signed"]:
            low -= (low >> (bits - 1)) << bits
        rows.append(low)
    return np.stack(rows)


def write(activations: np.ndarray, item: Instruction, results: np.ndarray, offset: int = 0) -> None:
    """Put the rows of a result where an instruction wants them, or `offset` words further on."""
    for row, result in enumerate(results):
        words = row_words(item, row, "output_address", "output_row_stride", "output_block_stride")
        words = words + offset
        activations[words] = (result & 0xFF).astype(np.uint8).reshape(len(words), -1)


def softmax(activations: np.ndarray, item: Instruction) -> None:
    """Apply a SOFTMAX to a buffer of shape (words, lanes)."""
    values = elements(activations, item)
    kept = np.broadcast_to(np.arange(values.shape[1]) < item["entries"], values.shape)
    if item["mask"]:
        flags = [
            activations[
                row_words(item, row, "mask_address", "mask_row_stride", "mask_block_stride")
            ]
            for row in range(item["rows"])
        ]
        kept = kept & (np.stack(flags).reshape(values.shape) & 1).astype(bool)
    bits = item["largest"].bit_length()
    result = numerics.softmax(
        values, item["multiplier"], item["shift"], bits, mask=kept.astype(np.int64)
    )
    write(activations, item, result)


def norm(activations: np.ndarray, item: Instruction, records: dict[str, np.ndarray]) -> None:
    """Apply a NORM to a buffer of shape (words, lanes); records are int64 of shape (features,)."""
    values = elements(activations, item)
    count = item["count"]
    result = numerics.normalise(
        values[:, :count],
        (1,),
        item["epsilon_low"] | item["epsilon_high"] << 32,
        item["fraction"],
        records["multiplier"],
        records["shift"],
        records["bias"],
        item["lo"],
        item["hi"],
        centred=bool(item["centred"]),
    )
    beyond = np.full((len(values), values.shape[1] - count), np.clip(0, item["lo"], item["hi"]))
    whole = np.concatenate([result, beyond], axis=1)
    write(activations, item, whole)
    if item["output_wide"]:
        write(activations, item, whole >> 8, item["output_high_offset"])


def record_words(records: dict[str, np.ndarray], lanes: int) -> np.ndarray:
    """The records of a norm as words of the weight buffer, uint8 of shape (words, lanes)."""
    count = len(records["shift"])
    blocks = -(-count // lanes)
    words = np.zeros((blocks, 12, lanes), np.uint8)
    for index in range(count):
        record = int(records["bias"][index]).to_bytes(6, "little", signed=True)
        record += int(records["multiplier"][index]).to_bytes(3, "little", signed=True)
        record += bytes([0, 0, int(records["shift"][index])])
        words[index // lanes, :, index % lanes] = list(record)
    return words.reshape(-1, lanes)
