"""A Verilated npu in this process: its memory, its registers and its clock."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from intaglio.errors import ToolError, VerificationError
from intaglio.hw.npu_registers import (
    ERROR_MASK,
    ERROR_SHIFT,
    UNIT_STRIDE,
    UNITS,
    Control,
    Register,
    Status,
)

DRIVER = tuple(
    Path(__file__).parent / "driver" / name
    for name in (
        "npu_driver.cpp",
        "npu_tap.h",
        "npu_tap.vlt",
        "axi_memory.h",
        "axi_lite.h",
    )
)
"""The C++ side of this module, and the signals that it has to see."""
_CHUNK_CYCLES = 100_000
_RESET_READS = 10_000


class _Result(IntEnum):
    RUNNING = 0
    INTERRUPT = 1
    VIOLATION = 2


@dataclass(frozen=True, slots=True)
class UnitCounters:
    """Cycles that a unit was busy, waited for a token, was stalled inside; and its instructions."""

    busy: int
    token: int
    stall: int
    instructions: int


@dataclass(frozen=True, slots=True)
class Job:
    """What one run of a program reported; cycles count from start to done.

    `marks` holds (layer, cycle of its last retirement).  `error` is the hardware's error code, 0
    when there was none; `waiting` are the WAITING registers at the end.
    """

    cycles: int
    marks: tuple[tuple[int, int], ...]
    read_beats: int
    write_beats: int
    units: tuple[UnitCounters, ...]
    error: int
    waiting: int


@dataclass(frozen=True, slots=True)
class MemoryModel:
    """The memory behind the AXI4 port: its place, size in bytes, and latency in cycles.

    `stall_permille` is the chance of a random stall on every channel and cycle.
    """

    base: int
    bytes: int
    latency: int
    stall_permille: int = 0


class NpuModel:
    """One instance of a built model; close it, or use it as a context manager.

    `seed` draws the stalls and the content of everything that reset leaves alone.
    """

    def __init__(self, library: Path, memory: MemoryModel, seed: int = 0) -> None:
        self._library = _load(library)
        self._memory = memory
        self._driver = ctypes.c_void_p(
            self._library.npu_create(
                memory.base, memory.bytes, memory.latency, memory.stall_permille, seed & 0xFFFFFFFF
            )
        )
        if not self._driver:
            raise VerificationError(
                f"cannot allocate {memory.bytes} bytes for the memory of the hardware model; "
                "verify a smaller network or free memory"
            )
        self._check_violations()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the model; its memory is no longer valid."""
        if self._driver:
            self._library.npu_destroy(self._driver)
            self._driver = ctypes.c_void_p()

    @property
    def handle(self) -> ctypes.c_void_p:
        """The C++ driver, for other native code that calls the library's functions."""
        return self._driver

    @property
    def memory(self) -> np.ndarray:
        """The memory's content, uint8 of shape (bytes,); writing to it writes the memory."""
        pointer = self._library.npu_memory(self._driver)
        return np.ctypeslib.as_array(pointer, shape=(self._memory.bytes,))

    def write(self, register: int, value: int) -> None:
        """Writes one 32-bit register.  Raises VerificationError when it is not acknowledged."""
        done = self._library.npu_write_register(self._driver, register, value & 0xFFFFFFFF)
        self._check_violations()
        if not done:
            raise VerificationError(
                f"the hardware does not acknowledge a write of register {register:#05x}"
            )

    def read(self, register: int) -> int:
        """One 32-bit register.  Raises VerificationError when it is not answered."""
        value = ctypes.c_uint32()
        done = self._library.npu_read_register(self._driver, register, ctypes.byref(value))
        self._check_violations()
        if not done:
            raise VerificationError(
                f"the hardware does not answer a read of register {register:#05x}"
            )
        return value.value

    def read_wide(self, register: int) -> int:
        """A 64-bit counter of a stopped machine."""
        return self.read(register) | self.read(register + 4) << 32

    def run(
        self,
        program_address: int,
        count: int,
        *,
        max_cycles: int,
        watchdog: int,
        progress: Callable[[int], None] | None = None,
    ) -> Job:
        """Runs `count` instructions from `program_address` to the end.

        The address is relative to the memory's base, as all addresses in a program are.
        `watchdog` is the hardware's limit of cycles without progress; `progress` is called with the
        cycles run, about ten times a second.  A job that reports an error, or that is still running
        after `max_cycles`, returns what is known: see `Job.error` and `Job.waiting`.
        Raises VerificationError when a protocol rule is broken.
        """
        self._prepare(program_address, count, watchdog)
        self.write(Register.CONTROL, Control.START)
        result = self._clock(max_cycles, progress)
        end = int(self._library.npu_now(self._driver))
        return self._report(end, finished=result is _Result.INTERRUPT)

    def tap(self) -> None:
        """Record the words that the vector unit writes into the activation buffer, from now on.

        Raises VerificationError when the design does not show them.
        """
        if not self._library.npu_tap(self._driver):
            raise VerificationError(
                "the hardware does not show what its vector unit writes; build npu_top with the "
                "signals of npu_tap.vlt"
            )

    def tapped(self) -> np.ndarray:
        """The words recorded since `tap`, in order: uint8 of shape (words, lanes)."""
        width = self._library.npu_tap_width(self._driver)
        shape = self._library.npu_tap_bytes(self._driver) // width, width
        if not shape[0]:
            return np.zeros(shape, np.uint8)
        pointer = self._library.npu_tap_data(self._driver)
        return np.ctypeslib.as_array(pointer, shape=shape).copy()

    def _prepare(self, program_address: int, count: int, watchdog: int) -> None:
        self._reset()
        base = self._memory.base
        settings = {
            Register.PROGRAM: program_address,
            Register.PROGRAM + 4: program_address >> 32,
            Register.COUNT: count,
            Register.WATCHDOG: watchdog,
            Register.INTERRUPT: 1,
            Register.BASE: base,
            Register.BASE + 4: base >> 32,
        }
        for register, value in settings.items():
            self.write(register, value)
        self._library.npu_forget_marks(self._driver)

    def _reset(self) -> None:
        """A soft reset, until what an earlier job left outstanding in memory has ended."""
        self.write(Register.CONTROL, Control.SOFT_RESET)
        for _ in range(_RESET_READS):
            if not self.read(Register.STATUS) & Status.BUSY:
                return
        raise VerificationError("the hardware stays busy after a soft reset")

    def _clock(self, max_cycles: int, progress: Callable[[int], None] | None) -> _Result:
        done = 0
        while done < max_cycles:
            step = min(_CHUNK_CYCLES, max_cycles - done)
            result = _Result(self._library.npu_run(self._driver, step))
            self._check_violations()
            if result is _Result.INTERRUPT:
                return result
            done += step
            if progress is not None:
                progress(done)
        return _Result.RUNNING

    def _report(self, end: int, *, finished: bool) -> Job:
        cycles = self.read_wide(Register.CYCLES)
        status = self.read(Register.STATUS)
        start = end - cycles
        layers, times = self._marks()
        return Job(
            cycles=cycles,
            marks=tuple((layer, time - start) for layer, time in zip(layers, times, strict=True)),
            read_beats=self.read_wide(Register.READ_BEATS),
            write_beats=self.read_wide(Register.WRITE_BEATS),
            units=tuple(self._counters(unit) for unit in range(UNITS)),
            error=_error(status, finished=finished),
            waiting=self.read(Register.WAITING) | self.read(Register.WAITING_HIGH) << 32,
        )

    def _counters(self, unit: int) -> UnitCounters:
        first = Register.UNITS + UNIT_STRIDE * unit
        return UnitCounters(*(self.read_wide(first + 8 * i) for i in range(4)))

    def _marks(self) -> tuple[list[int], list[int]]:
        count = self._library.npu_mark_count(self._driver)
        layers = self._library.npu_mark_layers(self._driver)
        times = self._library.npu_mark_cycles(self._driver)
        return layers[:count], times[:count]

    def _check_violations(self) -> None:
        if self._library.npu_violation_count(self._driver):
            sentence = self._library.npu_violation(self._driver, 0).decode()
            raise VerificationError(f"the hardware breaks the AXI protocol at {sentence}")


HUNG = 0xFF
"""`Job.error` of a job that was still running when its bound of cycles was reached."""


def _error(status: int, *, finished: bool) -> int:
    """`Job.error` of a job that ended with this STATUS."""
    if status & Status.ERROR:
        return status >> ERROR_SHIFT & ERROR_MASK
    return 0 if finished else HUNG


@cache
def _load(path: Path) -> ctypes.CDLL:
    """The library at `path` with the types of its functions declared."""
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise ToolError(f"cannot load the hardware model '{path}': {error}") from error
    handle, u64, u32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "npu_create": (handle, (u64, u64, u32, u32, u32)),
        "npu_destroy": (None, (handle,)),
        "npu_memory": (ctypes.POINTER(ctypes.c_uint8), (handle,)),
        "npu_write_register": (ctypes.c_int, (handle, u32, u32)),
        "npu_read_register": (ctypes.c_int, (handle, u32, ctypes.POINTER(u32))),
        "npu_run": (ctypes.c_int, (handle, u64)),
        "npu_now": (u64, (handle,)),
        "npu_memory_idle": (ctypes.c_int, (handle,)),
        "npu_mark_count": (u64, (handle,)),
        "npu_mark_layers": (ctypes.POINTER(u32), (handle,)),
        "npu_mark_cycles": (ctypes.POINTER(u64), (handle,)),
        "npu_forget_marks": (None, (handle,)),
        "npu_tap": (ctypes.c_int, (handle,)),
        "npu_tap_bytes": (u64, (handle,)),
        "npu_tap_width": (u64, (handle,)),
        "npu_tap_data": (ctypes.POINTER(ctypes.c_uint8), (handle,)),
        "npu_violation_count": (u64, (handle,)),
        "npu_violation": (ctypes.c_char_p, (handle, u64)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
