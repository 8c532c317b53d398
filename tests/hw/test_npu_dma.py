"""The npu's DMA, queues, tokens and control, on programs of LOAD, STORE and SYNC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intaglio.hw.npu_model import DRIVER, Job, MemoryModel, NpuModel, Register
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model, build
from intaglio.templates.npu.isa import (
    INSTRUCTION_BYTES,
    Instruction,
    Opcode,
    Unit,
    encode,
)
from tests.hw.dma_model import Sizes, execute, random_program

BASE = 0x40_0000_0000 >> 4
ACT_WORDS = 512
PROGRAM = 0x100
WATCHDOG = 2000
SHAPES = [(4, 4), (16, 16), (16, 4)]
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


def start(model: NpuModel, program: tuple[Instruction, ...], max_cycles: int = 200_000) -> Job:
    code = encode(program).view(np.uint8).reshape(-1)
    model.memory[PROGRAM : PROGRAM + code.size] = code
    return model.run(PROGRAM, len(program), max_cycles=max_cycles, watchdog=WATCHDOG)


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
        code = encode(program).view(np.uint8).reshape(-1)
        model.memory[PROGRAM : PROGRAM + code.size] = code
        before = model.memory.copy()
        job = start(model, program)
        after = model.memory.copy()
    assert job.error == 0
    np.testing.assert_array_equal(after, execute(before, program, sizes))
    assert [layer for layer, _ in job.marks] == [
        item.layer for item in program if item.opcode is Opcode.STORE
    ]
    loads = [item for item in program if item.opcode is Opcode.LOAD]
    assert [unit.instructions for unit in job.units] == [len(loads), 0, 0, len(loads)]
    assert job.waiting == 0
