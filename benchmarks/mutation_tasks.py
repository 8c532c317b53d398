"""The programs that mutants of the npu run, and what memory must hold after them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.hw.npu_model import Job, MemoryModel, NpuModel
from intaglio.sim.machine import Machine
from intaglio.sim.verify import MEMORY_BASE
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Instruction, Opcode, Unit, encode
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder, draw_inputs

Bytes = NDArray[np.uint8]
DESIGN = NpuDesign(
    rows=8,
    cols=16,
    lanes=8,
    vector_lanes=8,
    row_lanes=2,
    activation_buffer_kib=2,
    weight_buffer_kib=4,
    accumulator_buffer_kib=2,
    memory_bytes_per_cycle=4,
    memory_latency_cycles=20,
    name="mutated",
)
"""Small, and with every module: two groups of columns, and two beats of memory in a word."""
PAGE_BYTES = 4096
WATCHDOG, SHORT_WATCHDOG = 2000, 150
TOKENS, COPIES, OVERFLOW = 130, 36, 258
LONG = (8, 16, 32, 64)
FAR_BYTES = 1 << 22
SIDES = ("pad_top", "pad_bottom", "pad_left", "pad_right")


@dataclass(frozen=True, slots=True)
class Task:
    """A program in memory; `after` is the memory that the reference expects, if it does.

    `count` instructions stand at `address`; `latency` and `stall_permille` are the memory's.
    """

    address: int
    count: int
    before: Bytes
    after: Bytes | None
    latency: int
    stall_permille: int = 0
    watchdog: int = WATCHDOG

    def model(self, library: Path) -> NpuModel:
        """A new npu with the task in its memory."""
        memory = MemoryModel(MEMORY_BASE, self.before.size, self.latency, self.stall_permille)
        npu = NpuModel(library, memory, seed=1)
        npu.memory[:] = self.before
        return npu

    def run(self, npu: NpuModel, max_cycles: int) -> Job:
        """The job that a fault-free npu ends within `max_cycles`."""
        return npu.run(self.address, self.count, max_cycles=max_cycles, watchdog=self.watchdog)


def network(workload: Workload, seed: int = 0) -> Task:
    """The task of `workload`, with seeded inputs and everything that must be written inverted."""
    program = schedule(workload, DESIGN)
    values = reference.run(workload, draw_inputs(workload, seed))
    after = np.zeros(-(-program.memory_bytes // PAGE_BYTES) * PAGE_BYTES, np.uint8)
    image = program.memory_image()
    after[: image.size] = image
    before = after.copy()
    stored = {n: t for n, t in program.tensors.items() if t.address < program.memory_bytes}
    for name, layout in stored.items():
        span = slice(layout.address, layout.address + layout.bytes)
        after[span] = layout.pack(values[name])
        before[span] = after[span]
    for layout in stored.values():
        if all(layout.address != program.tensors[given].address for given in program.inputs):
            span = slice(layout.address, layout.address + layout.bytes)
            before[span] = ~after[span]
    return Task(program.program_address, program.count, before, after, DESIGN.memory_latency_cycles)


def deep() -> Workload:
    """Larger numbers of everything: channels, rows, columns, kernels, strides and pads."""
    b = Builder(7)
    x = b.tensor("x", (1, 3, 21, 19))
    y = b.conv("wide", x, 20, (5, 3), (1, 2), (2, 2, 1, 0))
    y = b.conv("far", y, 12, (3, 3), (2, 1), (3, 1, 0, 3), dilation=(2, 3))
    z = b.conv("point", y, 12, (1, 1), residual=y)
    z = b.pool("most", z, "max", (2, 3), (1, 2), (0, 1, 1, 1))
    size = b.tensors[z].shape
    z = b.pool("mean", z, "average", (2, 2), (2, 2))
    size = b.tensors[z].shape
    flat = b.reshape("flat", z, (1, int(np.prod(size))))
    return b.build((x,), (b.matmul("head", flat, 37),))


def failing() -> tuple[Task, ...]:
    """Programs that must end in an error: 1 to 4, and for every pair no token and too many."""
    outside = {
        "planes": 1, "rows": 1, "words": 4, "contiguous": 1, "memory_address": 1 << 30,
    }  # fmt: skip
    good = encode([Instruction(Opcode.SYNC_LOAD)])
    own = good.copy()
    own[0] = encode([Instruction(Opcode.SYNC_VECTOR, push=(Unit.VECTOR,))])[0]
    programs = [own]
    for bit in range(8):
        version, unknown = good.copy(), good.copy()
        version[0, 1] ^= 1 << bit
        programs.append(version)
        for known in Opcode:
            unknown[0, 0] = known ^ 1 << bit
            if int(unknown[0, 0]) not in set(Opcode):
                programs.append(unknown.copy())
    programs += [encode([Instruction(opcode, outside)]) for opcode in (Opcode.LOAD, Opcode.STORE)]
    for unit in Unit:
        others = [other for other in Unit if other != unit]
        opcode = Opcode[f"SYNC_{unit.name}"]
        programs += [encode([Instruction(opcode, pop=(other,))]) for other in others]
        programs += [encode([Instruction(opcode, push=(other,))] * OVERFLOW) for other in others]
    return tuple(_bare(words) for words in programs)


def counting() -> Task:
    """Every unit pushes 130 tokens to every other and then takes them; layers of many numbers."""
    random = np.random.default_rng(3)
    layers = random.integers(0, 1 << 16, (TOKENS, len(Unit)))
    syncs = {unit: Opcode[f"SYNC_{unit.name}"] for unit in Unit}
    order = [(step, unit) for step in range(TOKENS) for unit in Unit]
    others = {unit: tuple(other for other in Unit if other != unit) for unit in Unit}
    push = [
        Instruction(syncs[unit], push=others[unit], layer=int(layers[step, unit]), mark=True)
        for step, unit in order
    ]
    pop = [Instruction(syncs[unit], pop=others[unit], mark=True) for _, unit in order]
    return _bare(encode([*push, *pop]))


def copies() -> Task:
    """Random boxes of memory through both scratchpads' addresses and back, far apart."""
    random = np.random.default_rng(4)
    machine = Machine(DESIGN, FAR_BYTES)
    items = []
    for step in range(COPIES):
        items += _copy(random, step)
    bare = _bare(encode(items), FAR_BYTES)
    machine.memory.write(np.array([0]), bare.before[None], True)
    for item in items:
        machine.execute(item)
    return replace(bare, after=machine.memory.data[: bare.before.size].copy())


def _copy(random: np.random.Generator, step: int) -> list[Instruction]:
    """A LOAD of a random box and a STORE of it elsewhere; each waits for the other.

    The later boxes are long in one direction: a power of two, one by one.
    """
    shape = [int(n) for n in random.integers(1, (4, 5, 8))]
    sides = {side: int(random.integers(0, 3)) for side in SIDES}
    farthest = 1 << 15
    if step >= COPIES - len(LONG) * 3:
        shape = [1, 1, 1]
        shape[step % 3] = LONG[step % len(LONG)]
        sides, farthest = {}, 1 << 10
    planes, rows, words = shape
    local = {
        "local_address": int(random.integers(0, 40)),
        "local_row_stride": words + 4,
        "local_plane_stride": (words + 4) * (rows + 4) if sides else words,
    }
    if not sides:
        local["local_row_stride"] = words
    load, store = (
        {
            "planes": planes,
            "rows": rows,
            "words": words,
            "memory_address": half + 8 * int(random.integers(0, 1 << 14)),
            "memory_row_stride": 8 * int(random.integers(8, farthest)),
            "memory_plane_stride": 8 * int(random.integers(8, farthest)),
            **local,
        }
        for half in (1 << 19, FAR_BYTES // 2)
    )
    load |= sides | {"fill": int(random.integers(0, 256))}
    after = (Unit.STORE,) if step else ()
    return [
        Instruction(Opcode.LOAD, load, pop=after, push=(Unit.STORE,), layer=step),
        Instruction(
            Opcode.STORE, store, pop=(Unit.LOAD,), push=(Unit.LOAD,), layer=step, mark=True
        ),
    ]


def _bare(words: NDArray[np.uint32], size: int = 128 * 1024) -> Task:
    before = np.random.default_rng(5).integers(0, 256, size, np.uint8)
    raw = words.astype("<u4").tobytes()
    before[PAGE_BYTES : PAGE_BYTES + len(raw)] = np.frombuffer(raw, np.uint8)
    return Task(PAGE_BYTES, len(words), before, None, latency=9, watchdog=SHORT_WATCHDOG)
