"""Simulated cycles against the RTL's own, instruction by instruction.

Every instruction is marked, so that the hardware reports each retirement.  The programs need not
make sense: only their time is looked at, so addresses, data and hazards do not matter.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intaglio.hw.npu_model import DRIVER, Job, MemoryModel, NpuModel
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model, build
from intaglio.sim.npu import simulate
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, Unit, decode
from intaglio.templates.npu.program import Program
from tests.sim.programs import double_buffered, make, marked

pytestmark = [pytest.mark.rtl, pytest.mark.slow]

DESIGN = NpuDesign(
    rows=8,
    cols=8,
    lanes=8,
    vector_lanes=8,
    row_lanes=4,
    activation_buffer_kib=16,
    weight_buffer_kib=16,
    accumulator_buffer_kib=16,
    memory_bytes_per_cycle=4,
    memory_latency_cycles=25,
    name="narrow",
)
MEMORY = 1 << 20
MARK = 1
"""Cycles from a retirement to its mark."""


@pytest.fixture(scope="module")
def library(model_cache: Path) -> Path:
    sizes = tuple(parameters(DESIGN).items())
    model = Model(rtl_sources("npu"), "npu_top", DRIVER, sizes)
    return build(model, cache=model_cache)


def run_rtl(library: Path, program: Program) -> Job:
    memory = MemoryModel(0, MEMORY, program.design.memory_latency_cycles)
    with NpuModel(library, memory) as npu:
        image = program.memory_image()
        npu.memory[: image.size] = image
        job = npu.run(program.program_address, program.count, max_cycles=1_000_000, watchdog=10_000)
    assert job.error == 0
    return job


def retirements(job: Job, program: Program) -> np.ndarray:
    """The cycle in which each instruction retired; each is a layer of its own."""
    cycles = dict(job.marks)
    return np.array([cycles[index] - MARK for index in range(program.count)])


def of_marked(program: Program) -> Program:
    return make(marked(decode(program.instructions)), program.design, memory_bytes=MEMORY)


def check(library: Path, program: Program) -> None:
    """Every cycle is that of the RTL: retirements, and what each unit counts."""
    job, trace = run_rtl(library, program), simulate(program)
    assert trace.bytes_read == job.read_beats * program.design.memory_bytes_per_cycle
    assert trace.bytes_written == job.write_beats * program.design.memory_bytes_per_cycle
    assert np.array_equal(trace.timeline.retired, retirements(job, program))
    assert trace.cycles == job.cycles
    assert tuple(unit.counters for unit in trace.units) == job.units


def test_overlapped_steps_take_the_cycles_of_the_rtl(library: Path) -> None:
    check(library, of_marked(double_buffered(DESIGN, 12)))


@pytest.mark.parametrize("seed", range(16))
def test_random_programs_take_the_cycles_of_the_rtl(library: Path, seed: int) -> None:
    chooser = random.Random(seed)
    program = make(marked(draw(chooser, 60)), DESIGN, memory_bytes=MEMORY)
    constants = np.zeros(64 * chooser.randrange(1, 128), np.uint8)
    check(library, replace(program, image=constants, program_address=constants.size))


def test_short_instructions_fill_queues_as_in_the_rtl(library: Path) -> None:
    """Most are tokens only, and stores of nothing: what bounds them are queues and headers."""
    chooser = random.Random(7)
    items = [item for item in draw(chooser, 1500) if item.opcode < Opcode.LOAD]
    items = [replace(item, pop=()) for item in items]
    items += [
        Instruction(
            Opcode.STORE,
            {"planes": chooser.randint(0, 1), "rows": 1, "words": 1, "memory_address": 1 << 18},
        )
        for _ in range(100)
    ]
    chooser.shuffle(items)
    check(library, make(marked(items), DESIGN, memory_bytes=MEMORY))


@pytest.mark.parametrize(
    "opcode",
    [
        Opcode.COMPUTE,
        Opcode.DRAIN,
        Opcode.WINDOW_MAC,
        Opcode.WINDOW_SUM,
        Opcode.SOFTMAX,
        Opcode.NORM,
    ],
)
def test_instructions_alone_take_the_cycles_of_the_rtl(library: Path, opcode: Opcode) -> None:
    chooser = random.Random(int(opcode))
    items = [Instruction(opcode, operation(chooser, opcode)) for _ in range(30)]
    check(library, make(marked(items), DESIGN, memory_bytes=MEMORY))


def draw(chooser: random.Random, count: int) -> list[Instruction]:
    """Random instructions; tokens are drawn so that the order of the text can take them."""
    counts = {(a, b): 0 for a in Unit for b in Unit if a != b}
    items = []
    for _ in range(count):
        opcode, fields = chooser.choices((box, work, sync), (5, 4, 1))[0](chooser)
        unit = opcode.unit
        others = [other for other in Unit if other != unit]
        pop = tuple(o for o in others if counts[o, unit] and chooser.random() < 0.7)
        push = tuple(o for o in others if counts[unit, o] < 200 and chooser.random() < 0.4)
        for other in pop:
            counts[other, unit] -= 1
        for other in push:
            counts[unit, other] += 1
        items.append(Instruction(opcode, fields, pop=pop, push=push))
    return items


def box(chooser: random.Random) -> tuple[Opcode, dict[str, int]]:
    """A LOAD or a STORE, padded or not."""
    opcode = chooser.choice([Opcode.LOAD, Opcode.LOAD, Opcode.STORE])
    words, rows = chooser.choice([1, 2, 5, 14, 28, 56]), chooser.choice([1, 1, 2, 3, 7, 14])
    fields = {
        "planes": chooser.choice([1, 1, 2, 4]),
        "rows": rows,
        "words": words,
        "contiguous": chooser.randint(0, 1),
        "memory_address": (1 << 18) + chooser.randrange(1 << 14) * DESIGN.word_bytes,
        "memory_row_stride": words * DESIGN.word_bytes * chooser.randint(1, 2),
        "memory_plane_stride": 2 * rows * words * DESIGN.word_bytes,
        "local_address": chooser.randrange(100),
        "local_row_stride": words + 6,
        "local_plane_stride": (words + 6) * (rows + 6),
    }
    if opcode == Opcode.LOAD:
        fields["buffer"] = chooser.choice(list(Buffer))
        if fields["buffer"] == Buffer.ACTIVATION and chooser.random() < 0.6:
            sides = ("pad_top", "pad_bottom", "pad_left", "pad_right")
            fields |= {side: chooser.randint(0, 3) for side in sides}
            fields["rows"] *= chooser.random() < 0.9
    return opcode, fields


def sync(chooser: random.Random) -> tuple[Opcode, dict[str, int]]:
    """Tokens only."""
    return Opcode(chooser.choice(list(Unit))), {}


def work(chooser: random.Random) -> tuple[Opcode, dict[str, int]]:
    """A COMPUTE or an instruction of the vector unit."""
    opcode = chooser.choice(
        [
            Opcode.COMPUTE,
            Opcode.DRAIN,
            Opcode.WINDOW_MAC,
            Opcode.WINDOW_SUM,
            Opcode.WINDOW_MAX,
            Opcode.SOFTMAX,
            Opcode.NORM,
        ]
    )
    return opcode, operation(chooser, opcode)


def operation(chooser: random.Random, opcode: Opcode) -> dict[str, int]:
    """The fields of a COMPUTE or of an instruction of the vector unit."""
    match opcode:
        case Opcode.COMPUTE:
            return compute(chooser)
        case Opcode.SOFTMAX | Opcode.NORM:
            return rows(chooser, opcode)
        case _:
            return vector(chooser, opcode)


def compute(chooser: random.Random) -> dict[str, int]:
    return {
        "blocks": chooser.choice([1, 1, 2, 4]),
        "fy": chooser.choice([1, 3]),
        "fx": chooser.choice([1, 3]),
        "y": chooser.choice([1, 2, 7]),
        "x": chooser.choice([1, 3, 7, 14]),
        "packing": chooser.choice([0, 0, 1, 2]),
    }


def rows(chooser: random.Random, opcode: Opcode) -> dict[str, int]:
    places = (
        "source_address", "source_block_stride", "source_row_stride", "source_high_offset",
        "output_address", "output_block_stride", "output_row_stride",
    )  # fmt: skip
    halves = {name: chooser.randint(0, 1) for name in ("output_wide", "again")}
    own = (
        {"mask": chooser.randint(0, 1), "entries": 9, "multiplier": 1, "shift": 1, "largest": 255}
        if opcode == Opcode.SOFTMAX
        else {"count": 7, "fraction": 20, **halves, "output_high_offset": chooser.randint(0, 60)}
    )
    return {
        **own,
        "blocks": chooser.choice([1, 2, 5, 20]),
        "rows": chooser.choice([1, 2, 9, 40]),
        "input_wide": chooser.randint(0, 1),
        **{name: chooser.randint(0, 60) for name in places},
    }


def vector(chooser: random.Random, opcode: Opcode) -> dict[str, int]:
    places = (
        "source_address", "source_y_stride", "window_y_stride", "residual_address",
        "residual_row_stride", "output_address", "output_row_stride",
    )  # fmt: skip
    wide = {
        "residual_wide": chooser.randint(0, 1),
        "residual_high_offset": chooser.randint(0, 60),
    }
    return {
        **(wide if opcode == Opcode.DRAIN else {}),
        "y": chooser.choice([1, 2, 5]),
        "x": chooser.choice([1, 3, 7, 14]),
        "window_y": chooser.randint(1, 3),
        "window_x": chooser.randint(1, 6),
        "window_x_stride": chooser.choice([1, 1, 1, 2, 7]),
        "source_x_stride": chooser.choice([0, 1, 1, 2, 3, 9]),
        "table": int(chooser.random() < 0.2),
        "residual": chooser.randint(0, 1),
        **{name: chooser.randint(0, 60) for name in places},
    }
