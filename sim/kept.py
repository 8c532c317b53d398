"""Words that stay on the chip: from the unit that makes them to their place in a program's map.

A tensor that never goes to memory has an address after the last byte of memory.  Every word that
the vector unit writes into the activation buffer is seen in order, by the interpreter and at the
tap of the hardware alike, and `Program.kept` says which of its instructions make words of a tensor.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import VerificationError
from intaglio.sim.machine import Machine
from intaglio.sim.plan import ROWS, Plan
from intaglio.templates.npu.isa import Instruction, Opcode
from intaglio.templates.npu.program import Program

Bytes = NDArray[np.uint8]


def written_words(program: Program) -> NDArray[np.int64]:
    """How many words each instruction of the vector unit writes, int64 (instructions,)."""
    plan = Plan(program.instructions, program.design)
    words = np.zeros(plan.count, np.int64)
    for opcodes, loops in (((Opcode.DRAIN,), ("y", "x")), (ROWS, ("rows", "blocks"))):
        chosen, field = plan.work(*opcodes)
        words[chosen] = field(loops[0]) * field(loops[1])
    norms, field = plan.work(Opcode.NORM)
    words[norms] *= 1 + field("output_wide")
    return words


def places(program: Program) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of what stays on the chip: numbers among the vector unit's words, and byte addresses."""
    counts = written_words(program)
    ends = np.cumsum(counts)
    numbers = [np.arange(ends[i] - counts[i], ends[i]) for i in program.kept[:, 0]]
    lanes = program.design.lanes
    addresses = [first + lanes * np.arange(counts[i]) for i, first in program.kept.tolist()]
    empty = np.zeros(0, np.int64)
    return np.concatenate([empty, *numbers]), np.concatenate([empty, *addresses])


def whole(program: Program, memory: Bytes, tapped: Bytes, expected: Bytes) -> Bytes:
    """Memory, and after it the tensors that stayed on the chip, uint8 (program.map_bytes,).

    `tapped`, (words, lanes), is every word that the vector unit wrote; `expected`, like the result,
    tells which of several words for one place to show: one that differs, where there is one.
    Raises VerificationError when the unit wrote another number of words than its instructions say.
    """
    result = ~expected
    result[: program.memory_bytes] = memory[: program.memory_bytes]
    if not len(program.kept):
        return result
    total = int(written_words(program).sum())
    if len(tapped) != total:
        raise VerificationError(
            f"the vector unit wrote {len(tapped)} words, its instructions make {total}"
        )
    numbers, addresses = places(program)
    bytes_of = addresses[:, None] + np.arange(program.design.lanes)
    words = tapped[numbers]
    result[bytes_of] = words
    wrong = (words != expected[bytes_of]).any(axis=1)
    result[bytes_of[wrong]] = words[wrong]
    return result


class Keeping:
    """What the interpreter's vector unit makes of tensors that stay on the chip."""

    def __init__(self, program: Program) -> None:
        self._addresses: dict[int, int] = dict(program.kept.tolist())
        self._first = program.memory_bytes
        size = program.map_bytes - program.memory_bytes
        self._data = np.zeros(size, np.uint8)
        self._defined = np.zeros(size, bool)

    def note(self, machine: Machine, index: int, instruction: Instruction) -> slice:
        """Keep what instruction `index` has just written; the bytes of the map that it made.

        Raises VerificationError when it makes another word than an instruction before it did.
        """
        address = self._addresses.get(index)
        if address is None:
            return slice(0)
        starts = _output_words(instruction) * machine.activation.unit_bytes
        found = machine.activation.read(starts, machine.activation.unit_bytes)
        data, defined = (part.reshape(-1) for part in found)
        place = slice(address - self._first, address - self._first + data.size)
        if (self._defined[place] & (self._data[place] != data)).any():
            raise VerificationError(
                f"instruction {index} makes other words of a tensor than one before it"
            )
        self._data[place], self._defined[place] = data, defined
        return slice(address, address + data.size)

    def after(self, machine: Machine) -> tuple[Bytes, NDArray[np.bool_]]:
        """All of the map and its flags: memory, then the tensors that stayed on the chip."""
        memory = machine.memory
        return (
            np.concatenate([memory.data, self._data]),
            np.concatenate([memory.defined, self._defined]),
        )


def _output_words(instruction: Instruction) -> NDArray[np.int64]:
    """The words of the activation buffer that an instruction of the vector unit writes."""
    rows = (
        instruction["output_address"]
        + np.arange(instruction["y"]) * (instruction["output_row_stride"])
    )
    return (rows[:, None] + np.arange(instruction["x"])).reshape(-1)
