"""The job driver and its memory model, against a small AXI master that can break every rule."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from intaglio.errors import ToolError, VerificationError
from intaglio.hw.npu_model import DRIVER, HUNG, Job, MemoryModel, NpuModel
from intaglio.hw.npu_registers import IDENTITY, Register
from intaglio.hw.verilator import Model, build

SOURCE = Path(__file__).parent / "inverter.sv"
BASE = 0x12_3456_7000
BYTES = 1 << 18
FAULT = 0x030
UP = 1 << 16
"""How far above the source the inverter writes."""
BURST = 8 * 16


@pytest.fixture(scope="module")
def library(model_cache: Path) -> Path:
    return build(Model((SOURCE,), "inverter", DRIVER, (("MemBytes", 16),)), cache=model_cache)


@pytest.fixture
def npu(library: Path) -> Iterator[NpuModel]:
    with NpuModel(library, MemoryModel(BASE, BYTES, latency=40)) as model:
        yield model


def _fill(model: NpuModel) -> np.ndarray:
    model.memory[:UP] = np.random.default_rng(5).integers(0, 256, UP)
    return model.memory[:UP].copy()


def _run(model: NpuModel, bursts: int, address: int = 0, max_cycles: int = 100_000) -> Job:
    return model.run(address, bursts, max_cycles=max_cycles, watchdog=0)


def test_a_job_moves_data(npu: NpuModel) -> None:
    source = _fill(npu)
    assert npu.read(Register.ID) == IDENTITY
    job = _run(npu, 16)
    assert job.error == 0
    np.testing.assert_array_equal(npu.memory[UP : UP + 16 * BURST], ~source[: 16 * BURST])
    assert not npu.memory[UP + 16 * BURST :].any()
    assert [layer for layer, _ in job.marks] == list(range(16))


def test_jobs_follow_each_other(npu: NpuModel) -> None:
    source = _fill(npu)
    first = _run(npu, 3)
    second = _run(npu, 3, address=BURST)
    assert second.cycles == first.cycles
    assert second.marks == first.marks
    np.testing.assert_array_equal(npu.memory[UP : UP + 4 * BURST], ~source[: 4 * BURST])


@pytest.mark.parametrize("latency", [1, 40])
def test_memory_timing(library: Path, latency: int) -> None:
    # Of each burst: an address, the latency, eight beats; and the same for its write.
    with NpuModel(library, MemoryModel(BASE, BYTES, latency)) as model:
        job = _run(model, 5)
    ends = [cycle for _, cycle in job.marks]
    period = 2 * (latency + 8) + 1
    assert set(np.diff(ends)) == {period}
    assert job.cycles == 5 * period


def test_stalls_change_the_time_and_not_the_data(library: Path) -> None:
    cycles = set()
    for seed in range(3):
        memory = MemoryModel(BASE, BYTES, latency=8, stall_permille=400)
        with NpuModel(library, memory, seed) as model:
            source = _fill(model)
            cycles.add(_run(model, 64).cycles)
            np.testing.assert_array_equal(model.memory[UP : UP + 64 * BURST], ~source[: 64 * BURST])
    assert len(cycles) == 3
    assert min(cycles) > 64 * (2 * 16 + 1)


def test_progress_is_reported(library: Path) -> None:
    seen: list[int] = []
    with NpuModel(library, MemoryModel(BASE, BYTES, latency=1000)) as model:
        model.run(0, 200, max_cycles=10**6, watchdog=0, progress=seen.append)
    assert seen == [100_000, 200_000, 300_000, 400_000]


def test_address_outside_memory_is_an_error_response(npu: NpuModel) -> None:
    npu.memory[-BURST:] = 0
    _run(npu, 1, address=BYTES - UP)
    assert npu.read(Register.STATUS) & 4


def test_hang_is_bounded(npu: NpuModel) -> None:
    npu.write(FAULT, 10)
    assert _run(npu, 2, max_cycles=2000).error == HUNG


def _use(model: NpuModel) -> None:
    _run(model, 64)
    for _ in range(100):
        model.read(Register.ID)


BROKEN = {
    1: "AR dropped valid before it was accepted",
    2: "AW changed while it waited to be accepted",
    3: "W changed while it waited to be accepted",
    4: "WLAST is 1 on beat 7 of 8",
    5: f"AR burst of 128 bytes at address {BASE + 4096 - 64} crosses 4 KiB",
    6: f"AR address {BASE + 1} is not a multiple of the beat",
    7: "control R changed while it waited to be accepted",
    8: "AR is not an INCR burst",
    9: "AR has beats of 1 bytes on a port of 16",
    11: "a register access was answered before it was accepted",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_broken_protocol_is_reported(library: Path, fault: int) -> None:
    memory = MemoryModel(BASE, BYTES, latency=8, stall_permille=500)
    with NpuModel(library, memory, seed=1) as model:
        model.write(FAULT, fault)
        with pytest.raises(VerificationError) as caught:
            _use(model)
    sentence = re.sub(r"cycle \d+", "cycle N", str(caught.value))
    assert sentence == f"the hardware breaks the AXI protocol at cycle N: {BROKEN[fault]}"


def test_valid_during_reset_is_reported(model_cache: Path) -> None:
    model = Model((SOURCE,), "inverter", DRIVER, (("ResetFault", 1),))
    library = build(model, cache=model_cache)
    with pytest.raises(VerificationError) as caught:
        NpuModel(library, MemoryModel(BASE, BYTES, latency=8))
    assert str(caught.value) == (
        "the hardware breaks the AXI protocol at cycle 1: AR is valid during reset"
    )


def test_a_file_that_is_no_library_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model.so"
    path.write_text("nothing")
    with pytest.raises(ToolError) as caught:
        NpuModel(path, MemoryModel(BASE, BYTES, latency=8))
    assert str(caught.value) == (f"cannot load the hardware model '{path}': {path}: file too short")
