"""Every write of emitted hardware, on a network of every operator, beside the interpreter's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from intaglio.hw.npu_model import DRIVER, MemoryModel
from intaglio.hw.verilator import Model
from intaglio.sim import verify as proof
from intaglio.sim.localise import WAVEFORM, Replay, localise
from intaglio.sim.stimulus import stimulus
from intaglio.templates.npu import emit
from intaglio.templates.npu.isa import Opcode, decode
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.rtl.faults import with_fault
from tests.sim.test_verify_networks import WIDE
from tests.templates.npu.networks import cut

pytestmark = [pytest.mark.rtl, pytest.mark.slow]

FAULT = 50_000
"""The watchdog's limit that puts the fault to work."""
BASE, PAGE = 1 << 32, 4096


@pytest.fixture(scope="module")
def program() -> Program:
    return schedule(every_operator(), WIDE)


@pytest.fixture(scope="module")
def hardware(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The emitted hardware, with a fault: a DRAIN takes the columns of another group."""
    folder = tmp_path_factory.mktemp("emitted")
    emit.emit(program, folder)
    path = folder / "rtl" / "npu_vector.sv"
    fault = f"(intaglio_npu.u_npu.u_control.watchdog_q == 32'd{FAULT})"
    old, new = "(group_q == GroupBits'(g))", f"((group_q ^ GroupBits'({fault})) == GroupBits'(g))"
    path.write_text(with_fault(path.name, path.read_text(), old, new))
    names = (folder / "rtl" / "files.f").read_text().split()
    return Model(tuple(folder / "rtl" / name for name in names), emit.TOP, DRIVER)


@pytest.fixture(scope="module")
def job(program: Program, hardware: Model) -> Replay:
    """Two images of which the second is looked at."""
    drawn = stimulus(every_operator(), 2, None, seed=4)
    images = [{name: values[i : i + 1] for name, values in drawn.items()} for i in range(2)]
    size = -(-program.memory_bytes // PAGE) * PAGE
    return Replay(
        program=program,
        hardware=hardware,
        memory=MemoryModel(BASE, size, WIDE.memory_latency_cycles),
        seed=4,
        run=1,
        inputs=images[1],
        initial=lambda run: _memory(program, images[run], size),
        wrong_byte=None,
        max_cycles=1_000_000,
        watchdog=FAULT + 1,
    )


def _memory(
    program: Program, inputs: Mapping[str, NDArray[np.int64]], size: int
) -> NDArray[np.uint8]:
    memory = np.zeros(size, np.uint8)
    image = program.memory_image()
    memory[: image.size] = image
    for name, values in inputs.items():
        layout = program.tensors[name]
        memory[layout.address : layout.address + layout.bytes] = layout.pack(values)
    return memory


@pytest.mark.parametrize("stall_permille", [0, 300])
def test_sound_hardware_makes_every_write_of_the_interpreter(
    job: Replay, model_cache: Path, tmp_path: Path, stall_permille: int
) -> None:
    stalling = replace(job, memory=replace(job.memory, stall_permille=stall_permille))
    assert localise(stalling, tmp_path, cache=model_cache) is None
    assert list(tmp_path.iterdir()) == []


def test_a_fault_is_found_in_the_emitted_hardware(
    job: Replay, model_cache: Path, tmp_path: Path
) -> None:
    location = localise(replace(job, watchdog=FAULT), tmp_path, cache=model_cache)
    assert location is not None
    items = decode(job.program.instructions)
    first = next(index for index, item in enumerate(items) if item.opcode is Opcode.DRAIN)
    assert (location.image, location.index, location.unit) == (1, first, "vector")
    assert location.stage == "requantisation"
    assert location.instruction == " ".join(str(items[first]).split())
    assert location.layer == job.program.layers[items[first].layer].name
    assert (tmp_path / WAVEFORM).is_file()


def test_a_fault_in_a_cut_network_is_found_in_its_segment(
    hardware: Model, model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "WATCHDOG_CYCLES", FAULT)
    made = cut(every_operator(), WIDE, "stem", "average")
    bench = proof.Bench(made, hardware)
    report = proof.verify(bench, images=1, seed=4, cache=model_cache, diagnosis=tmp_path)
    location = report.location
    assert location is not None
    program = made.programs[0]
    items = decode(program.instructions)
    first = next(index for index, item in enumerate(items) if item.opcode is Opcode.DRAIN)
    assert (location.segment, location.index, location.unit) == (1, first, "vector")
    assert location.instructions == len(items)
    assert location.layer == program.layers[items[first].layer].name
    assert f", segment 1, layer '{location.layer}', image 0, cycle " in str(location)
    assert report.first is not None
    assert report.first.segment == 1
    assert (tmp_path / WAVEFORM).is_file()
