"""The C of an artifact's `host/` drives the RTL: its outputs are the reference's, or it says why.

Register accesses clock a Verilated npu, whose memory the C program shares.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import intaglio
from intaglio.compiler import reference
from intaglio.compiler.workload import Workload
from intaglio.examples.mnist import load_digits
from intaglio.examples.networks import lenet5
from intaglio.hw.npu_model import DRIVER, MemoryModel, NpuModel
from intaglio.hw.npu_registers import ErrorCode
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model, build
from intaglio.sim.npu import simulate
from intaglio.templates import artifact
from intaglio.templates.deployment import whole
from intaglio.templates.npu.driver import fields
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import (
    draw_inputs,
    every_operator,
    every_product,
    every_row_operator,
    every_wide_operator,
)
from tests.hw.c_host import (
    BENCH,
    FLAGS,
    Host,
    Npu,
    Segment,
    TensorInMemory,
    compile_host,
    gcc,
    layouts,
    must,
)
from tests.nets import Model as NetModel
from tests.nets import shuffled, transformer
from tests.sim.test_verify_networks import WIDE
from tests.templates.npu.networks import cut
from tests.test_tiny import DESIGN

pytestmark = pytest.mark.rtl

BASE = 0x12_3456_7000
LATENCY = DESIGN.memory_latency_cycles
FINE = "no error"


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    return load_digits().test_images[:64].numpy()


@pytest.fixture(scope="module")
def lenet(
    images: NDArray[np.float32], tmp_path_factory: pytest.TempPathFactory
) -> intaglio.Artifact:
    folder = tmp_path_factory.mktemp("lenet") / "artifact"
    return intaglio.compile(
        *lenet5(), design=DESIGN, calibration={"images": images}, output=folder, name="lenet5"
    )


@pytest.fixture(scope="module")
def model(lenet: intaglio.Artifact, model_cache: Path) -> Path:
    return build(Model(lenet.rtl_files, lenet.top, DRIVER), cache=model_cache)


@pytest.fixture(scope="module")
def host(lenet: intaglio.Artifact, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    output = tmp_path_factory.mktemp("c") / "lenet.so"
    return Host(compile_host(lenet.directory / "host", model, output), lenet.workload)


def memory(host: Host, stall_permille: int = 0, pages: int = 256) -> MemoryModel:
    return MemoryModel(BASE, 4096 * pages, LATENCY, stall_permille)


@pytest.fixture
def npu(model: Path, host: Host) -> Iterator[NpuModel]:
    with NpuModel(model, memory(host)) as instance:
        yield instance


def digit(host: Host, images: NDArray[np.float32], index: int) -> dict[str, NDArray[np.int64]]:
    return digits(host, images[index : index + 1])


def digits(host: Host, images: NDArray[np.float32]) -> dict[str, NDArray[np.int64]]:
    return reference.quantise_inputs(host.workload, {"images": images})


def agree(host: Host, npu: Npu, inputs: dict[str, NDArray[np.int64]]) -> int:
    """Run, compare every output element, and return the cycles."""
    expected = reference.run(host.workload, inputs)
    answer = host.run(npu, inputs)
    assert answer.status == FINE
    for name, found in answer.outputs.items():
        np.testing.assert_array_equal(found, expected[name], err_msg=name)
    assert host.refused() == 0
    return answer.cycles


@pytest.mark.parametrize("stall_permille", [0, 200])
@pytest.mark.parametrize("idle_cycles", [0, 100_000], ids=["polling", "interrupt"])
def test_lenet_on_real_digits(
    model: Path, host: Host, images: NDArray[np.float32], stall_permille: int, idle_cycles: int
) -> None:
    with NpuModel(model, memory(host, stall_permille), seed=4) as instance:
        npu = host.attach(instance, BASE, idle_cycles=idle_cycles)
        assert host.load(npu) == FINE
        cycles = [agree(host, npu, digit(host, images, index)) for index in range(3)]
    if not stall_permille:
        assert len(set(cycles)) == 1


def test_the_interrupt_ends_its_sleep(
    npu: NpuModel, host: Host, model: Path, images: NDArray[np.float32]
) -> None:
    now = ctypes.CDLL(str(model)).npu_now
    now.restype = ctypes.c_uint64
    attached = host.attach(npu, BASE, idle_cycles=100_000)
    host.load(attached)
    before = now(npu.handle)
    cycles = agree(host, attached, digit(host, images, 0))
    assert cycles < now(npu.handle) - before < cycles + 1000


def test_its_cycles_are_those_that_verify_measures(
    npu: NpuModel, host: Host, lenet: intaglio.Artifact, images: NDArray[np.float32], model: Path
) -> None:
    attached = host.attach(npu, BASE)
    host.load(attached)
    cycles = agree(host, attached, digit(host, images, 0))
    (program,) = lenet.deployment.programs
    with NpuModel(model, memory(host)) as other:
        image = program.memory_image()
        other.memory[: image.size] = image
        job = other.run(program.program_address, program.count, max_cycles=10**6, watchdog=10**4)
    assert cycles == job.cycles


def test_a_whole_c_program(
    host: Host,
    lenet: intaglio.Artifact,
    model: Path,
    images: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    folder, program = lenet.directory / "host", tmp_path / "lenet5"
    sources = ("network.c", "npu_driver.c", "images.S", BENCH, BENCH.with_name("c_main.c"))
    sizes = ("-DINPUT=NETWORK_IN_IMAGES_ELEMENTS", "-DOUTPUT=NETWORK_OUT_FC3_ELEMENTS")
    hosted = [flag for flag in FLAGS if flag != "-ffreestanding"]
    flags = (*hosted, "-O2", "-I.", "-DNPU_CUSTOM_ACCESS", *sizes)
    must(gcc(folder, *flags, *sources, model, "-o", program))
    inputs = reference.quantise_inputs(host.workload, {"images": images[:3]})
    given = inputs["images"].astype(np.int8).tobytes()
    done = subprocess.run(
        [program, str(LATENCY)], input=given, capture_output=True, timeout=60, check=True
    )
    *rows, last = done.stdout.decode().splitlines()
    logits = [[int(word) for word in row.split(" in ")[0].split()] for row in rows]
    np.testing.assert_array_equal(logits, reference.run(host.workload, inputs)["fc3"])
    assert len({row.split(" in ")[1] for row in rows}) == 1
    assert last == FINE


def test_images_in_runs_of_three_and_a_rest(
    lenet: intaglio.Artifact, model: Path, images: NDArray[np.float32], tmp_path: Path
) -> None:
    program = schedule(lenet.workload, DESIGN, images=3)
    made = artifact.write(tmp_path / "out", whole(lenet.workload, program), info={})
    host = Host(compile_host(made.directory / "host", model, tmp_path / "c.so"), made.workload)
    with NpuModel(model, memory(host), seed=2) as instance:
        npu = host.attach(instance, BASE)
        assert host.load(npu) == FINE
        runs = [agree(host, npu, digits(host, images[:count])) for count in (3, 4, 1, 0)]
    assert runs == [runs[0], 2 * runs[0], runs[0], 0]
    assert runs[0] == simulate(program).cycles


@pytest.mark.parametrize("make", [every_operator, every_wide_operator])
def test_every_operator(make: Callable[[], Workload], model: Path, tmp_path: Path) -> None:
    _every_operator(make(), DESIGN, model, tmp_path)


@pytest.mark.parametrize("make", [every_row_operator, every_product])
def test_every_row_operator(
    make: Callable[[], Workload], model_cache: Path, tmp_path: Path
) -> None:
    values = tuple(parameters(WIDE).items())
    model = build(Model(rtl_sources("npu"), "npu_top", DRIVER, values), cache=model_cache)
    _every_operator(make(), WIDE, model, tmp_path)


def _every_operator(
    workload: Workload, design: intaglio.NpuDesign, model: Path, tmp_path: Path
) -> None:
    made = artifact.write(tmp_path / "out", whole(workload, schedule(workload, design)), info={})
    host = Host(compile_host(made.directory / "host", model, tmp_path / "c.so"), workload)
    with NpuModel(model, memory(host)) as instance:
        npu = host.attach(instance, BASE)
        assert host.load(npu) == FINE
        for seed in range(3):
            agree(host, npu, draw_inputs(workload, seed))


@pytest.mark.parametrize("network", [shuffled, transformer])
def test_operators_on_the_host_between_segments(
    network: Callable[[], NetModel], model: Path, tmp_path: Path
) -> None:
    made = intaglio.compile(
        *network(), design=DESIGN, output=tmp_path / "out", name="cut", allow_host=True
    )
    assert len(made.deployment.programs) >= 3
    host = Host(compile_host(made.directory / "host", model, tmp_path / "c.so"), made.workload)
    with NpuModel(model, memory(host)) as instance:
        npu = host.attach(instance, BASE)
        assert host.load(npu) == FINE
        for seed in range(3):
            agree(host, npu, draw_inputs(made.workload, seed))


@pytest.mark.parametrize(
    ("hosted", "at_once"), [(("add", "max"), 1), (("grouped", "concat", "average", "head"), 2)]
)
def test_any_operator_on_the_host(
    model: Path, tmp_path: Path, hosted: tuple[str, ...], at_once: int
) -> None:
    workload = every_operator()
    made = artifact.write(tmp_path / "out", cut(workload, DESIGN, *hosted, images=at_once), info={})
    host = Host(compile_host(made.directory / "host", model, tmp_path / "c.so"), workload)
    with NpuModel(model, memory(host)) as instance:
        npu = host.attach(instance, BASE)
        assert host.load(npu) == FINE
        agree(host, npu, draw_inputs(workload, 5, images=3))


# What goes wrong, as a status.


def test_a_damaged_instruction_is_illegal_until_the_program_is_loaded_again(
    npu: NpuModel, host: Host, lenet: intaglio.Artifact, images: NDArray[np.float32]
) -> None:
    attached, inputs = host.attach(npu, BASE), digit(host, images, 0)
    host.load(attached)
    npu.memory[lenet.deployment.programs[0].program_address] = 0xFF
    sentence = "the npu met an illegal instruction: load the program again"
    assert host.run(attached, inputs).status == sentence
    host.load(attached)
    agree(host, attached, inputs)


def test_a_token_that_never_comes_ends_by_the_watchdog(
    npu: NpuModel, host: Host, lenet: intaglio.Artifact, images: NDArray[np.float32]
) -> None:
    attached, inputs = host.attach(npu, BASE, watchdog_cycles=2000), digit(host, images, 0)
    host.load(attached)
    first = lenet.deployment.programs[0].program_address
    npu.memory[first + 1] |= 1 << 3
    assert host.run(attached, inputs).status == (
        "the npu made no progress for watchdog_cycles: allow more, or load the program again"
    )
    attached.watchdog_cycles, attached.max_polls = 0, 500
    assert host.run(attached, inputs).status == (
        "the npu is still busy after max_polls: allow more, or reset it"
    )
    attached.max_polls = 100_000
    host.load(attached)
    agree(host, attached, inputs)


def test_a_bus_error_of_a_read(npu: NpuModel, host: Host, images: NDArray[np.float32]) -> None:
    attached, inputs = host.attach(npu, BASE), digit(host, images, 0)
    host.load(attached)
    attached.bus_address = BASE + npu.memory.size
    assert host.run(attached, inputs).status == (
        "the npu got an error response to a memory read: check bus_address"
    )
    attached.bus_address = BASE
    agree(host, attached, inputs)


def test_a_bus_error_of_a_write(
    model: Path, host: Host, lenet: intaglio.Artifact, images: NDArray[np.float32]
) -> None:
    (program,) = lenet.deployment.programs
    end = program.tensors["images"].address + program.tensors["images"].bytes
    with NpuModel(model, memory(host, pages=-(-end // 4096))) as instance:
        attached = host.attach(instance, BASE, memory_bytes=1 << 20)
        host.load(attached)
        assert host.run(attached, digit(host, images, 0)).status == (
            "the npu got an error response to a memory write: check bus_address and memory_bytes"
        )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"registers": 0x4000_0004}, "no npu answers at this address: check registers"),
        (
            {"bus_address": BASE + 64},
            "the memory is not aligned: memory needs 4 bytes, bus_address NPU_ALIGNMENT",
        ),
        (
            {"memory_bytes": 4096},
            "the memory is smaller than the network needs: raise memory_bytes",
        ),
    ],
)
def test_a_wrong_setting_is_found(
    npu: NpuModel, host: Host, changes: dict[str, int], sentence: str
) -> None:
    assert host.load(host.attach(npu, BASE, **changes)) == sentence


def test_another_design_is_found(
    npu: NpuModel, model: Path, lenet: intaglio.Artifact, tmp_path: Path
) -> None:
    workload = every_operator()
    other = schedule(workload, intaglio.NpuDesign())
    made = artifact.write(tmp_path / "out", whole(workload, other), info={})
    host = Host(compile_host(made.directory / "host", model, tmp_path / "c.so"), workload)
    assert host.load(host.attach(npu, BASE)) == (
        "the npu is of another design or version: compile the network for it"
    )


def test_every_error_code_has_its_sentence(host: Host) -> None:
    unknown = host.text(255)
    assert unknown == "no status of this driver"
    assert len({host.text(code) for code in (0, *ErrorCode)} | {unknown}) == len(ErrorCode) + 2


# What the C needs, and what it moves.


@pytest.mark.parametrize("level", ["-O0", "-O2", "-O3", "-Os"])
def test_it_needs_nothing_but_itself(lenet: intaglio.Artifact, tmp_path: Path, level: str) -> None:
    folder = lenet.directory / "host"
    sources = ("network.c", "npu_driver.c", "images.S")
    flags = (*FLAGS, level, "-r", "-nostdlib", "-o")
    must(gcc(folder, *flags, tmp_path / "host.o", *sources))
    done = gcc(folder, "-nostdlib", "-static", "-Wl,-e,network_run", tmp_path / "host.o", "-o",
               tmp_path / "host.elf")  # fmt: skip
    must(done)


@pytest.mark.parametrize(
    ("march", "mabi"), [("rv32imac", "ilp32"), ("rv64imac", "lp64")], ids=["rv32", "rv64"]
)
def test_it_compiles_for_a_risc_v(
    lenet: intaglio.Artifact, tmp_path: Path, march: str, mabi: str
) -> None:
    folder, output = lenet.directory / "host", tmp_path / "host.elf"
    flags = (*FLAGS, f"-march={march}", f"-mabi={mabi}", "-O2", "-nostdlib", "-Wl,-e,network_run")
    sources = ("network.c", "npu_driver.c", "images.S")
    must(gcc(folder, *flags, *sources, "-o", output, compiler="riscv64-unknown-elf-gcc"))


@settings(deadline=None)
@given(layout=layouts(), seed=st.integers(0, 1 << 16))
def test_it_packs_and_unpacks_as_the_layout_says(
    host: Host, layout: TensorLayout, seed: int
) -> None:
    random = np.random.default_rng(seed)
    ram = random.integers(0, 256, 1 << 14).astype(np.uint8)
    before, start = ram.copy(), 4096 + 640 + layout.address
    npu = Npu(memory=ram.ctypes.data)
    segment = Segment(memory_offset=4096, tensor_bytes=640)
    tensor = TensorInMemory(**fields(layout))
    values = random.integers(0, 1 << 16, layout.shape).astype(
        (np.int8, np.int16)[layout.halves - 1]
    )
    back = np.zeros_like(values)
    structures = [*(ctypes.byref(part) for part in (npu, segment, tensor)), ctypes.c_size_t(1)]
    host.library.npu_write_tensor(*structures, ctypes.c_void_p(values.ctypes.data))
    host.library.npu_read_tensor(*structures, ctypes.c_void_p(back.ctypes.data))
    before[start : start + layout.bytes] = layout.pack(values.astype(np.int64))
    np.testing.assert_array_equal(ram, before)
    np.testing.assert_array_equal(back, values)
