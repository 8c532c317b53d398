"""The npu's DMA, queues, tokens and errors, on programs of LOAD, STORE and SYNC."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from intaglio.hw.npu_model import DRIVER, HUNG, Job, MemoryModel, NpuModel
from intaglio.hw.npu_registers import UNIT_WAITS
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model, build
from intaglio.templates.npu.isa import TOKEN_LIMIT, Instruction, Opcode, Unit, encode
from tests.hw.dma_model import Sizes, execute, random_program

pytestmark = pytest.mark.rtl

BASE = 0x40_0000_0000 >> 4
ACT_WORDS = 512
PROGRAM = 0x100
WATCHDOG = 2000
SHAPES = [
    (4, 4),
    (8, 4),
    pytest.param((16, 16), marks=pytest.mark.slow),
    pytest.param((16, 4), marks=pytest.mark.slow),
]
"""Lanes and bytes of a memory beat."""


@pytest.fixture(scope="module", params=SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")
def hardware(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Sizes]:
    lanes, mem_bytes = request.param
    parameters = {
        "Lanes": lanes,
        "Groups": 1,
        "ActWords": ACT_WORDS,
        "WeightWords": ACT_WORDS,
        "AccWords": 16,
        "MemBytes": mem_bytes,
    }
    model = Model(rtl_sources("npu"), "npu_top", DRIVER, tuple(parameters.items()))
    library = build(model, cache=tmp_path_factory.mktemp("cache"))
    sizes = Sizes(lanes, ACT_WORDS, source=0x10000, output=0x20000, memory=0x80000)
    return library, sizes


def place(model: NpuModel, program: Sequence[Instruction]) -> None:
    code = encode(program).view(np.uint8).reshape(-1)
    model.memory[PROGRAM : PROGRAM + code.size] = code


def run(model: NpuModel, count: int, max_cycles: int = 200_000) -> Job:
    return model.run(PROGRAM, count, max_cycles=max_cycles, watchdog=WATCHDOG)


def check_boxes(model: NpuModel, program: tuple[Instruction, ...], sizes: Sizes) -> Job:
    """Runs `program` and compares all of memory with its meaning."""
    place(model, program)
    before = model.memory.copy()
    job = run(model, len(program))
    assert job.error == 0
    np.testing.assert_array_equal(model.memory, execute(before, program, sizes))
    return job


def randomise(model: NpuModel, rng: np.random.Generator, sizes: Sizes) -> None:
    model.memory[sizes.source :] = rng.integers(0, 256, sizes.memory - sizes.source)


@pytest.mark.parametrize("stalls", [0, 100, 500])
@pytest.mark.parametrize("seed", range(4))
def test_random_boxes(hardware: tuple[Path, Sizes], stalls: int, seed: int) -> None:
    library, sizes = hardware
    rng = np.random.default_rng([seed, stalls])
    program = random_program(rng, sizes, pairs=60)
    memory = MemoryModel(
        BASE, sizes.memory, latency=int(rng.integers(1, 60)), stall_permille=stalls
    )
    with NpuModel(library, memory, seed) as model:
        randomise(model, rng, sizes)
        job = check_boxes(model, program, sizes)
    assert [layer for layer, _ in job.marks] == [
        item.layer for item in program if item.opcode is Opcode.STORE
    ]
    loads = [item for item in program if item.opcode is Opcode.LOAD]
    assert [unit.instructions for unit in job.units] == [len(loads), 0, 0, len(loads), 0]
    assert job.waiting == 0


SYNC = {unit: Opcode(int(unit)) for unit in Unit}


def random_syncs(rng: np.random.Generator, count: int) -> tuple[Instruction, ...]:
    """Marked SYNC instructions with random tokens that are legal in program order."""
    tokens = {(a, b): 0 for a in Unit for b in Unit if a is not b}
    items = []
    for index in range(count):
        unit = Unit(int(rng.integers(0, 4)))
        others = [other for other in Unit if other is not unit]
        pop = tuple(o for o in others if tokens[o, unit] and rng.random() < 0.6)
        push = tuple(o for o in others if tokens[unit, o] < TOKEN_LIMIT and rng.random() < 0.4)
        for other in pop:
            tokens[other, unit] -= 1
        for other in push:
            tokens[unit, other] += 1
        items.append(Instruction(SYNC[unit], {}, pop=pop, push=push, layer=index, mark=True))
    return tuple(items)


def check_token_order(program: tuple[Instruction, ...], retired: list[int]) -> None:
    """An instruction that takes a token retires after the one that gave it."""
    assert sorted(retired) == list(range(len(program)))
    position = {index: place for place, index in enumerate(retired)}
    for giver in Unit:
        for taker in Unit:
            given = [i for i, x in enumerate(program) if x.unit is giver and taker in x.push]
            taken = [i for i, x in enumerate(program) if x.unit is taker and giver in x.pop]
            for source, sink in zip(given, taken, strict=False):
                assert position[source] < position[sink]


@pytest.mark.parametrize("seed", range(3))
def test_syncs_retire_in_the_order_of_their_tokens(hardware: tuple[Path, Sizes], seed: int) -> None:
    library, sizes = hardware
    program = random_syncs(np.random.default_rng(seed), 800)
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency=20), seed) as model:
        place(model, program)
        job = run(model, len(program))
    assert job.error == 0
    check_token_order(program, [layer for layer, _ in job.marks])


def test_a_push_waits_while_its_counter_is_full(hardware: tuple[Path, Sizes]) -> None:
    library, sizes = hardware
    over = TOKEN_LIMIT + 5
    program = (
        *(Instruction(SYNC[Unit.LOAD], push=(Unit.STORE,)) for _ in range(over)),
        Instruction(SYNC[Unit.COMPUTE], push=(Unit.STORE,)),
        Instruction(SYNC[Unit.STORE], pop=(Unit.LOAD, Unit.COMPUTE)),
        *(Instruction(SYNC[Unit.STORE], pop=(Unit.LOAD,)) for _ in range(over - 1)),
    )
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency=20)) as model:
        place(model, program)
        assert run(model, len(program)).error == 0
        place(model, program[:over])
        stuck = run(model, over)
    assert stuck.error == 4
    assert stuck.units[Unit.LOAD].instructions == TOKEN_LIMIT


def test_a_missing_token_is_reported(hardware: tuple[Path, Sizes]) -> None:
    library, sizes = hardware
    program = (
        Instruction(SYNC[Unit.COMPUTE], push=(Unit.VECTOR,)),
        Instruction(SYNC[Unit.VECTOR], pop=(Unit.COMPUTE, Unit.LOAD, Unit.STORE)),
    )
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency=20)) as model:
        place(model, program)
        job = run(model, len(program))
    assert job.error == 4
    missing = 1 << Unit.LOAD | 1 << Unit.STORE
    assert job.waiting == (UNIT_WAITS | missing) << 8 * Unit.VECTOR
    assert job.units[Unit.VECTOR].token >= WATCHDOG


BAD_WORDS = {"version": (1, 0x7F), "opcode": (0, 0x40), "own token": (0, 1 << 8)}


@pytest.mark.parametrize("kind", BAD_WORDS)
def test_an_illegal_instruction_stops_the_machine(hardware: tuple[Path, Sizes], kind: str) -> None:
    library, sizes = hardware
    rng = np.random.default_rng(3)
    program = random_program(rng, sizes, pairs=10)
    word, flip = BAD_WORDS[kind]
    code = encode([*program, Instruction(Opcode.SYNC_LOAD)])
    code[-1, word] ^= flip
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency=20)) as model:
        randomise(model, rng, sizes)
        model.memory[PROGRAM : PROGRAM + code.nbytes] = code.view(np.uint8).reshape(-1)
        assert run(model, len(code)).error == 1
        check_boxes(model, program, sizes)


def test_errors_of_memory_are_reported_and_forgotten(hardware: tuple[Path, Sizes]) -> None:
    library, sizes = hardware
    rng = np.random.default_rng(4)
    program = random_program(rng, sizes, pairs=12)
    outside = {"memory_address": sizes.memory, "words": 3, "rows": 2, "planes": 2}
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency=20)) as model:
        randomise(model, rng, sizes)
        for opcode, error in ((Opcode.LOAD, 2), (Opcode.STORE, 3)):
            place(model, (*program[:10], Instruction(opcode, outside), *program[10:]))
            assert run(model, len(program) + 1).error == error
            check_boxes(model, program, sizes)


@pytest.mark.parametrize("stalls", [0, 300])
def test_a_soft_reset_ends_what_is_outstanding(hardware: tuple[Path, Sizes], stalls: int) -> None:
    # Wherever a job is cut off, nothing but its own words has reached memory, and the next works.
    library, sizes = hardware
    rng = np.random.default_rng(5)
    program = random_program(rng, sizes, pairs=20)
    memory = MemoryModel(BASE, sizes.memory, latency=30, stall_permille=stalls)
    with NpuModel(library, memory, seed=1) as model:
        randomise(model, rng, sizes)
        model.memory[sizes.output :] = 0
        whole = check_boxes(model, program, sizes).cycles
        done = model.memory.copy()
        for cut in rng.integers(1, whole // 2, 30):
            model.memory[sizes.output :] = 0
            assert run(model, len(program), max_cycles=int(cut)).error == HUNG
            assert run(model, 0).error == 0
            assert not np.any((model.memory != done) & (model.memory != 0))
            check_boxes(model, program, sizes)


def test_an_empty_program_is_done(hardware: tuple[Path, Sizes]) -> None:
    library, sizes = hardware
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency=20)) as model:
        job = run(model, 0)
    assert (job.error, job.read_beats, job.write_beats) == (0, 0, 0)


@pytest.mark.parametrize("latency", [10, 100])
def test_cycles_of_a_load_and_a_store(hardware: tuple[Path, Sizes], latency: int) -> None:
    # Both contracts hold to the cycle: `latency + beats + 7` from issue to retirement, one more
    # when words have several beats; bursts follow each other without a gap.
    library, sizes = hardware
    box = {"memory_address": sizes.source, "words": ACT_WORDS, "rows": 1, "planes": 1}
    program = (
        Instruction(Opcode.LOAD, box, push=(Unit.STORE,), mark=True),
        Instruction(Opcode.STORE, box | {"memory_address": sizes.output}, pop=(Unit.LOAD,)),
    )
    with NpuModel(library, MemoryModel(BASE, sizes.memory, latency)) as model:
        randomise(model, np.random.default_rng(6), sizes)
        job = check_boxes(model, program, sizes)
    beats = job.write_beats
    beat_bytes = ACT_WORDS * sizes.lanes // beats
    fetched = encode(program).nbytes // beat_bytes
    assert job.read_beats == beats + fetched
    load = store = latency + beats + 7 + (beat_bytes < sizes.lanes)
    first_issue = latency + fetched // 2 + 7
    assert job.cycles == first_issue + load + 1 + store + 2
    assert [unit.busy for unit in job.units] == [load, 0, 0, store, 0]
