"""The C program of an artifact, compiled and run in this process on a Verilated npu."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import NDArray

from intaglio.compiler.tensor import Tensor
from intaglio.compiler.workload import Workload
from intaglio.hw.npu_model import NpuModel
from intaglio.templates.c_text import element_type
from intaglio.templates.npu.layout import TensorLayout, packed_channels

FLAGS = (
    "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion", "-Wshadow",
    "-Wstrict-prototypes", "-Wmissing-prototypes", "-ffreestanding",
)  # fmt: skip
BENCH = Path(__file__).with_name("c_bench.c")
REGISTERS = 0x4000_0000
NO_CYCLES = (1 << 64) - 1


PACKAGES = {"gcc": "gcc", "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf"}
"""The Debian package of each compiler."""


def gcc(
    folder: Path, *arguments: str | Path, compiler: str = "gcc"
) -> subprocess.CompletedProcess[str]:
    """Run a C compiler in `folder`, within a minute; the test is skipped where there is none."""
    program = shutil.which(compiler)
    if program is None:
        pytest.skip(
            f"the C compiler {compiler} is not on PATH; run: apt-get install {PACKAGES[compiler]}"
        )
    command = [program, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def must(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr


def compile_host(
    host: Path, library: Path, output: Path, *more: str | Path, custom: bool = True
) -> ctypes.CDLL:
    """The C of the folder `host`, linked with the bench and the model, and with nothing else."""
    sources = [*sorted(host.glob("*.c")), host / "images.S", BENCH, *more]
    flags = (*FLAGS, "-O2", "-fPIC", "-shared", "-nostdlib", "-Wl,-z,defs", f"-I{host}")
    access = ["-DNPU_CUSTOM_ACCESS"] if custom else []
    must(gcc(host, *flags, *access, *sources, library, "-o", output))
    return ctypes.CDLL(str(output))


class Npu(ctypes.Structure):
    """`npu_t`."""

    _fields_ = (
        ("registers", ctypes.c_size_t),
        ("memory", ctypes.c_void_p),
        ("bus_address", ctypes.c_uint64),
        ("memory_bytes", ctypes.c_size_t),
        ("watchdog_cycles", ctypes.c_uint32),
        ("max_polls", ctypes.c_uint32),
        ("interrupt", ctypes.c_bool),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What `network_run` gave: a status, the outputs by name, and the cycles."""

    status: str
    outputs: dict[str, NDArray[np.int64]]
    cycles: int


@dataclass(frozen=True, slots=True)
class Host:
    """A compiled program and the network it runs."""

    library: ctypes.CDLL
    workload: Workload

    def text(self, status: int) -> str:
        """The driver's sentence."""
        speak = self.library.npu_status_text
        speak.restype = ctypes.c_char_p
        sentence: bytes = speak(status)
        return sentence.decode()

    def attach(self, model: NpuModel, base: int, *, idle_cycles: int = 0, **changes: Any) -> Npu:
        """An `npu_t` for `model`, whose memory starts at `base` of the bus."""
        attach = self.library.bench_attach
        attach.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint64)
        attach(model.handle, REGISTERS, idle_cycles)
        settings = {
            "registers": REGISTERS,
            "memory": model.memory.ctypes.data,
            "bus_address": base,
            "memory_bytes": model.memory.size,
            "watchdog_cycles": 10_000,
            "max_polls": 100_000,
            "interrupt": idle_cycles > 0,
        }
        return Npu(**settings | changes)

    def load(self, npu: Npu) -> str:
        """`network_load`, as a sentence."""
        return self.text(self.library.network_load(ctypes.byref(npu)))

    def run(self, npu: Npu, values: Mapping[str, NDArray[np.int64]]) -> Answer:
        """`network_run` on images along axis 0."""
        tensors = [self.workload.tensor(name) for name in dict.fromkeys(self.workload.outputs)]
        images = len(values[self.workload.inputs[0]])
        made = {t.name: np.zeros((images, *t.shape[1:]), dtype(t)) for t in tensors}
        given = [
            np.ascontiguousarray(values[name], dtype(self.workload.tensor(name)))
            for name in self.workload.inputs
        ]
        arrays = [*given, *made.values()]
        cycles = ctypes.c_uint64(NO_CYCLES)
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in arrays]
        count = ctypes.c_size_t(images)
        run = self.library.network_run
        status = run(ctypes.byref(npu), count, *pointers, ctypes.byref(cycles))
        outputs = {name: array.astype(np.int64) for name, array in made.items()}
        return Answer(self.text(status), outputs, cycles.value)

    def refused(self) -> int:
        """Register accesses that the hardware did not acknowledge."""
        return int(self.library.bench_refused())


def dtype(tensor: Tensor) -> np.dtype[Any]:
    """The array type of a tensor's C type."""
    return np.dtype(element_type(tensor.element).removesuffix("_t"))


class Segment(ctypes.Structure):
    """`npu_segment_t`."""

    _fields_ = (
        ("memory_offset", ctypes.c_size_t),
        ("image", ctypes.c_void_p),
        ("image_bytes", ctypes.c_size_t),
        ("program_offset", ctypes.c_size_t),
        ("instructions", ctypes.c_uint32),
        ("tensor_bytes", ctypes.c_size_t),
    )


class TensorInMemory(ctypes.Structure):
    """`npu_tensor_t`."""

    _fields_ = (
        ("offset", ctypes.c_size_t),
        *((name, ctypes.c_uint32) for name in ("heads", "channels", "height", "width")),
        *((name, ctypes.c_uint32) for name in ("pixel_bytes", "row_bytes", "left")),
        *((name, ctypes.c_uint32) for name in ("channel_step", "pixel_step")),
        ("element_bytes", ctypes.c_uint32),
        ("filler", ctypes.c_uint16),
    )


@st.composite
def layouts(draw: st.DrawFn) -> TensorLayout:
    """Where a tensor may lie in memory, and how."""
    lanes = draw(st.sampled_from((4, 8, 16)))
    packed = draw(st.booleans())
    channels = draw(st.integers(1, lanes // 2 if packed else 3 * lanes))
    height, width, left = (draw(st.integers(low, 9)) for low in (1, 1, 0))
    pixels = (left + width) * packed_channels(channels)
    extents, last = (channels, height, width), draw(st.booleans())
    return TensorLayout(
        name="x",
        shape=(1, height * width, channels) if last else (1, *extents),
        map=extents,
        kind="packed" if packed else "blocked",
        address=64 * draw(st.integers(0, 3)),
        lanes=lanes,
        signed=draw(st.booleans()),
        left=left if packed else 0,
        row_words=-(-pixels // lanes) + draw(st.integers(0, 2)) if packed else 0,
        filler=draw(st.integers(-128, 127)),
        last=last,
        halves=1 if packed else draw(st.integers(1, 2)),
    )
