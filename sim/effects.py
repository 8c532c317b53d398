"""What an instruction writes, in the order in which the hardware does, by the interpreter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.hw.npu_observer import EventKind
from intaglio.sim.hazards import accesses, grid
from intaglio.sim.machine import Machine
from intaglio.sim.storage import Storage
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode


@dataclass(frozen=True, slots=True)
class Effect:
    """The writes of one instruction.

    `kind` names the memory; `addresses` int64 (writes,) are words of a buffer or bytes of memory.
    `data` and `defined`, (words, bytes), are the content and its flags after the last `words`
    writes: a COMPUTE goes over its accumulators once a weight tile, and the last pass counts.
    """

    kind: EventKind
    addresses: NDArray[np.int64]
    data: NDArray[np.uint8]
    defined: NDArray[np.bool_]

    @property
    def unchecked(self) -> int:
        """Writes before those whose data count."""
        return len(self.addresses) - len(self.data)


def execute(machine: Machine, instruction: Instruction) -> Effect | None:
    """Execute `instruction` and return its writes; None for a SYNC.

    Raises VerificationError as `Machine.execute` does.
    """
    machine.execute(instruction)
    match instruction.opcode:
        case Opcode.LOAD:
            weights = instruction["buffer"] == Buffer.WEIGHT
            kind = EventKind.WEIGHT_LOAD if weights else EventKind.ACTIVATION_LOAD
            storage = machine.weight if weights else machine.activation
            return _stored(kind, storage, _written(instruction, machine.design))
        case Opcode.STORE:
            beat = machine.design.memory_bytes_per_cycle
            addresses = _written(instruction, machine.design) * beat
            lines = addresses[:, None] + np.arange(beat)
            memory = machine.memory
            return Effect(
                EventKind.MEMORY_STORE, addresses, memory.data[lines], memory.defined[lines]
            )
        case Opcode.COMPUTE:
            return _accumulated(machine, instruction)
        case Opcode.DRAIN | Opcode.SOFTMAX | Opcode.NORM:
            words = _written(instruction, machine.design)
            return _stored(EventKind.ACTIVATION_VECTOR, machine.activation, words)
        case Opcode.WINDOW_MAC | Opcode.WINDOW_SUM | Opcode.WINDOW_MAX:
            words = _written(instruction, machine.design)
            return _stored(EventKind.ACTIVATION_WINDOW, machine.activation, words)
        case _:
            return None


def _written(instruction: Instruction, design: NpuDesign) -> NDArray[np.int64]:
    return next(access.places for access in accesses(instruction, design) if access.writes)


def _stored(kind: EventKind, storage: Storage, words: NDArray[np.int64]) -> Effect:
    lines = words[:, None] * storage.unit_bytes + np.arange(storage.unit_bytes)
    return Effect(kind, words, storage.data[lines], storage.defined[lines])


def _accumulated(machine: Machine, instruction: Instruction) -> Effect:
    words = tile_words(instruction)
    data = machine.accumulators[words].view(np.uint8)
    addresses = np.tile(words, tiles(instruction))
    return Effect(EventKind.ACCUMULATE, addresses, data, np.ones(data.shape, bool))


def tiles(compute: Instruction) -> int:
    """Weight tiles of a COMPUTE."""
    return compute["blocks"] * compute["fy"] * compute["fx"]


def tile_words(compute: Instruction) -> NDArray[np.int64]:
    """The accumulator words of a COMPUTE, one a pixel."""
    return compute["acc_address"] + np.arange(compute["y"] * compute["x"])


def tile_indices(compute: Instruction, tile: int) -> tuple[int, int, int]:
    """(block, fy, fx) of a weight tile of a COMPUTE."""
    rest, fx = divmod(tile, compute["fx"])
    block, fy = divmod(rest, compute["fy"])
    return block, fy, fx


def one_tile(compute: Instruction, tile: int, design: NpuDesign) -> Instruction:
    """The part of a COMPUTE that one of its weight tiles does, as an instruction of its own."""
    strides = ("block_stride", "fy_stride", "fx_stride")
    moved = sum(
        index * compute[stride]
        for index, stride in zip(tile_indices(compute, tile), strides, strict=True)
    )
    words = design.tile_rows(8 >> compute["packing"]) * design.groups
    fields = {
        **compute.fields,
        "blocks": 1,
        "fy": 1,
        "fx": 1,
        "act_address": compute["act_address"] + moved,
        "weight_address": compute["weight_address"] + tile * words,
        "accumulate": 1 if tile else compute["accumulate"],
    }
    return Instruction(Opcode.COMPUTE, fields)


def array_reads(compute: Instruction) -> NDArray[np.int64]:
    """The element addresses of the vectors that a COMPUTE multiplies, in order."""
    return grid(
        compute["act_address"],
        (compute["blocks"], compute["block_stride"]),
        *((compute[name], compute[f"{name}_stride"]) for name in ("fy", "fx", "y", "x")),
    )


def weight_rows(compute: Instruction, design: NpuDesign) -> NDArray[np.int64]:
    """The tile rows of the weight buffer that a COMPUTE brings into the array, in order."""
    rows = tiles(compute) * design.tile_rows(8 >> compute["packing"])
    return grid(compute["weight_address"] // design.groups, (rows, 1))
