"""The npu's four units in time: what each does between an instruction's issue and its retirement.

A unit says from which cycle on it takes an instruction (`ready`), is handed one (`start`), and
calls back with the cycle in which that one can retire.  Numbers of cycles are those in the headers
of hw/rtl/npu/*.sv.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from intaglio.sim.engine import Events
from intaglio.sim.memory import Burst, Memory, Port
from intaglio.sim.plan import Box, Plan, split_run

Finish = Callable[[int, float], None]
"""Called with an instruction's index and the cycle in which it can retire."""
Wake = Callable[[], None]
"""Called when `ready` came closer without an instruction's start."""

LOAD_INSIDE = 6
"""Instructions that the load unit holds until their last word is written."""
LOAD_QUEUE_BEATS = 64
"""Beats that wait in the load unit for a fill word to be written before them."""
LOAD_TO_ADDRESS = 4
"""Cycles from the issue of a load to its first address."""
LOAD_WALK = 3
"""Cycles from the issue of a load of one run to the next issue, when requests flow."""
LOAD_TO_STEP = 3
"""Cycles from the issue of a load to its writer's first step."""
BEAT_TO_STEP = 2
"""Cycles from a beat's arrival to the writer's step with it, one more when a word has several."""
STORE_INSIDE = 8
"""Instructions that the store unit holds until memory has acknowledged them."""
STORE_TO_ADDRESS = 4
"""Cycles from the issue of a store to its first address."""
WRITE_DELAY = 3
"""Cycles from a write burst's address to its first beat."""
VECTOR_PIPELINE = 13
"""Cycles from a vector instruction's last read to its retirement."""


class TimedUnit(Protocol):
    """One unit; `ready` is the first cycle in which it takes another instruction."""

    ready: float

    def start(self, index: int) -> None:
        """Take instruction `index` in the present cycle."""


@dataclass(slots=True)
class Compute:
    """The array: tiles of max(pixels, rows) cycles; a fill hides under the tile before it."""

    events: Events
    plan: Plan
    finish: Finish
    ready: float = 0
    free: float = 0
    """First cycle in which no vector of the instructions so far is read."""
    fill_stall: float = 0

    def start(self, index: int) -> None:
        """The first vector follows the fill, and the last vector of the instruction before."""
        now, rows = self.events.now, self.plan.design.rows
        tiles, pixels = self.plan.compute_work(index)
        first = max(now + rows + 1, self.free)
        last = first + (tiles - 1) * max(pixels, rows)
        self.fill_stall += first - max(now, self.free) + (tiles - 1) * max(rows - pixels, 0)
        self.ready, self.free = last, last + pixels
        self.finish(index, self.free + rows.bit_length() + 4)


@dataclass(slots=True)
class Vector:
    """The vector unit: constants, a read a cycle, the pipeline; one instruction at a time.

    `share` is told how many accesses a cycle are left of the activation buffer's two banks.
    """

    events: Events
    plan: Plan
    finish: Finish
    share: Callable[[float], None]
    ready: float = 0
    port_stall: int = 0

    def start(self, index: int) -> None:
        """Setup, reads and the stalls of their own port, then the pipeline."""
        work = self.plan.vector_work(index)
        reading = self.events.now + work.setup + 1
        read = reading + work.reads + work.stalls
        end = read + VECTOR_PIPELINE - 1
        self.port_stall += work.stalls
        self.ready = end + 1
        self.events.at(reading, lambda: self.share(2 - work.accesses / (read - reading)))
        self.events.at(read, lambda: self.share(2))
        self.finish(index, end)


@dataclass(slots=True)
class _Loading:
    """A load whose words are not all written."""

    index: int
    box: Box
    first_step: float
    port: Port


class Load:
    """Requests run ahead of data; a writer puts one word a cycle, from memory or fill."""

    def __init__(
        self, events: Events, plan: Plan, memory: Memory, finish: Finish, wake: Wake
    ) -> None:
        self.events, self.plan, self.memory = events, plan, memory
        self.finish, self.wake = finish, wake
        self.ready: float = 0
        self.words = 0
        self.port_stall: float = 0
        self._inside: deque[_Loading] = deque()
        self._requests_ready: float = 0
        self._newest: Burst | None = None
        self._free: float = 0
        self._share = 1.0
        design = plan.design
        self._beats_per_word = design.word_bytes // design.memory_bytes_per_cycle
        self._beat_to_step = BEAT_TO_STEP + (self._beats_per_word > 1)

    def start(self, index: int) -> None:
        """Queue its requests, and its box behind the boxes before it."""
        now, box = self.events.now, self.plan.box(index)
        self.words += box.words
        loading = _Loading(index, box, now + LOAD_TO_STEP, Port(opens=math.inf))
        self._inside.append(loading)
        self._requests_ready = math.inf if box.runs else now + 1
        if box.runs:
            self.memory.load(self._bursts(loading))
        self._update_ready()
        if len(self._inside) == 1:
            self._write_next()

    def share(self, accesses: float) -> None:
        """Note how many accesses a cycle the vector unit leaves of the activation buffer."""
        self._share = min(max(accesses, 0.0), 1.0)
        if self._inside and self._inside[0].box.to_activation:
            self._inside[0].port.share = self._share
            self.memory.refresh()

    def _bursts(self, loading: _Loading) -> list[Burst]:
        """The requests of a load; its walker is free once the last run is handed on."""
        earliest = self.events.now + LOAD_TO_ADDRESS
        beat_bytes = self.plan.design.memory_bytes_per_cycle
        bursts: list[Burst] = []
        before = self._newest
        for address, beats in loading.box.runs:
            before = bursts[-1] if bursts else before
            bursts += [
                Burst(count, loading.port, earliest)
                for count in split_run(address, beats, beat_bytes)
            ]
        bursts[-1].moved = self._moved
        self._newest = bursts[-1]
        if before is None or before.ready < math.inf:
            self._requests_ready = self.events.now + LOAD_WALK
        else:
            before.requested = self._requested
        return bursts

    def _requested(self, cycle: float) -> None:
        """The burst before the last run of the newest load has its address accepted."""
        self._requests_ready = cycle
        self._update_ready()
        self.events.at(cycle, self.wake)

    def _update_ready(self) -> None:
        self.ready = self._requests_ready if len(self._inside) < LOAD_INSIDE else math.inf

    def _write_next(self) -> None:
        """Begin the writes of the oldest load; fill words alone need no memory."""
        while self._inside:
            loading = self._inside[0]
            begin = max(loading.first_step, self._free)
            if loading.box.runs:
                lead_end = begin + loading.box.lead
                loading.port.opens = lead_end - self._beat_to_step - LOAD_QUEUE_BEATS
                loading.port.rate = loading.box.beats / loading.box.inside
                loading.port.share = self._share if loading.box.to_activation else 1.0
                self.memory.refresh()
                return
            self._end(begin + max(loading.box.words, 1))

    def _moved(self) -> None:
        """The last beat of the oldest load has arrived."""
        loading = self._inside[0]
        begin = max(loading.first_step, self._free)
        arrived = self.events.now - 1 + self._beat_to_step + 1 + loading.box.trail
        self._end(max(arrived, begin + loading.box.words))
        self._write_next()

    def _end(self, free: float) -> None:
        loading = self._inside.popleft()
        self.port_stall += loading.port.held
        self._free = free
        self.finish(loading.index, free + 1)
        if self.ready == math.inf and self._requests_ready < math.inf:
            self.events.at(free, self._resume)

    def _resume(self) -> None:
        self._update_ready()
        self.wake()


class Store:
    """Reads of the buffer, bursts and acknowledgements are decoupled."""

    def __init__(
        self, events: Events, plan: Plan, memory: Memory, finish: Finish, wake: Wake
    ) -> None:
        self.events, self.plan, self.memory = events, plan, memory
        self.finish, self.wake = finish, wake
        self.ready: float = 0
        self.words = 0
        self._inside: deque[int] = deque()
        self._words_ready: float = 0
        design = plan.design
        self._port = Port(rate=design.word_bytes // design.memory_bytes_per_cycle)

    def start(self, index: int) -> None:
        """Queue its bursts; the next store may follow once its words are read."""
        now, box = self.events.now, self.plan.box(index)
        self.words += box.words
        if not box.runs:
            self.ready = now + 2
            self.finish(index, now + 1)
            return
        beat_bytes = self.plan.design.memory_bytes_per_cycle
        bursts = [
            Burst(count, self._port, now + STORE_TO_ADDRESS)
            for address, beats in box.runs
            for count in split_run(address, beats, beat_bytes)
        ]
        bursts[-1].moved = self._acknowledged
        self._inside.append(index)
        self._words_ready = now + box.words + 1
        self._update_ready()
        self.memory.store(bursts)

    @property
    def port_stall(self) -> float:
        """Cycles in which the buffer's port was the limit."""
        return self._port.held

    def share(self, accesses: float) -> None:
        """Note how many accesses a cycle the vector unit leaves of the activation buffer."""
        share = min(max(accesses, 0.0), 1.0)
        if share != self._port.share:
            self._port.share = share
            self.memory.refresh()

    def _update_ready(self) -> None:
        self.ready = self._words_ready if len(self._inside) < STORE_INSIDE else math.inf

    def _acknowledged(self) -> None:
        self.finish(self._inside.popleft(), self.events.now)
        self._update_ready()
        self.wake()
