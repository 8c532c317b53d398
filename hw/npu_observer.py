"""A Verilated npu that shows what its units do: every word they write, and waveforms."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from intaglio.hw.npu_model import Job, MemoryModel, NpuModel
from intaglio.hw.verilator import Model

Number = TypeVar("Number", bound=np.generic)
_FOLDER = Path(__file__).parent / "driver"


class EventKind(IntEnum):
    """What an event is; the order of `EventKind` in npu_observer.h.

    Writes by load, compute, vector, window and store: words of a buffer, words of the
    accumulators, and beats of memory, whose addresses are bytes on the bus.  `ACCUMULATOR_READ` is
    a word as vector gets it; `ARRAY_READ` and `WEIGHT_FILL` are the elements and the tile rows that
    compute addresses, without data; the address of `RETIRE` is a unit.
    """

    ACTIVATION_LOAD = 0
    WEIGHT_LOAD = 1
    ACCUMULATE = 2
    ACTIVATION_VECTOR = 3
    ACTIVATION_WINDOW = 4
    MEMORY_STORE = 5
    ACCUMULATOR_READ = 6
    ARRAY_READ = 7
    WEIGHT_FILL = 8
    RETIRE = 9


@dataclass(frozen=True, slots=True)
class Events:
    """Events of one kind in the order they happened.

    `cycles` int64 (count,) by the model's clock, `addresses` int64 (count,), `data` uint8
    (count, bytes).
    """

    cycles: NDArray[np.int64]
    addresses: NDArray[np.int64]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.cycles)

    def __getitem__(self, chosen: slice) -> Events:
        return Events(self.cycles[chosen], self.addresses[chosen], self.data[chosen])

    def then(self, later: Events) -> Events:
        """These events and `later` ones."""
        return Events(
            np.concatenate([self.cycles, later.cycles]),
            np.concatenate([self.addresses, later.addresses]),
            np.concatenate([self.data, later.data]),
        )


def observed(model: Model) -> Model:
    """`model` with what `NpuObserver` needs: tracing, and the signals it reads made public."""
    return replace(
        model,
        driver=(*model.driver, _FOLDER / "npu_observer.h", _FOLDER / "npu_observer.vlt"),
        traced=True,
    )


class NpuObserver(NpuModel):
    """One instance of a built `observed` model."""

    def __init__(self, library: Path, memory: MemoryModel, seed: int = 0) -> None:
        super().__init__(library, memory, seed)
        self._observer = _declare(library)

        self.started = 0
        """The clock cycle in which the latest job started."""
        self.ended = 0
        """The clock cycle in which it ended, or was given up."""

    def _report(self, end: int, *, finished: bool) -> Job:
        job = super()._report(end, finished=finished)
        self.started, self.ended = end - job.cycles, end
        return job

    def observe(self, on: bool) -> None:
        """Keep events from now on, or no longer."""
        self._observer.npu_observe(self._driver, int(on))

    def take(self, kind: EventKind) -> Events:
        """The events of `kind` since they were last taken."""
        library, driver = self._observer, self._driver
        count = library.npu_event_count(driver, kind)
        width = library.npu_event_width(driver, kind)
        events = Events(
            _copy(library.npu_event_cycles(driver, kind), (count,), np.int64),
            _copy(library.npu_event_addresses(driver, kind), (count,), np.int64),
            _copy(library.npu_event_data(driver, kind), (count, width), np.uint8),
        )
        library.npu_forget_events(driver, kind)
        return events

    def trace(self, path: Path, first: int, last: int, origin: int) -> None:
        """Write a waveform (VCD) of the clock cycles `first` to `last` when they come.

        A cycle takes 10 time units; cycle `origin` begins at time 0.
        """
        self._observer.npu_trace(self._driver, str(path).encode(), first, last, origin)


def _copy(
    pointer: ctypes._Pointer[ctypes.c_uint8], shape: tuple[int, ...], kind: type[Number]
) -> NDArray[Number]:
    if 0 in shape:
        return np.zeros(shape, kind)
    return np.ctypeslib.as_array(pointer, shape=shape).astype(kind)


@cache
def _declare(path: Path) -> ctypes.CDLL:
    """The library at `path` with the types of the observer's functions declared."""
    library = ctypes.CDLL(str(path))
    handle, u64, u32 = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint32
    numbers = ctypes.POINTER(u64)
    signatures: dict[str, tuple[object, tuple[object, ...]]] = {
        "npu_observe": (None, (handle, ctypes.c_int)),
        "npu_event_count": (u64, (handle, u32)),
        "npu_event_width": (u64, (handle, u32)),
        "npu_event_cycles": (numbers, (handle, u32)),
        "npu_event_addresses": (numbers, (handle, u32)),
        "npu_event_data": (ctypes.POINTER(ctypes.c_uint8), (handle, u32)),
        "npu_forget_events": (None, (handle, u32)),
        "npu_trace": (None, (handle, ctypes.c_char_p, u64, u64, u64)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library
