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
from intaglio.sim.memory import DUST, Burst, Memory, Port, QueuedPort
from intaglio.sim.plan import Box, Plan, split_run
from intaglio.templates.npu import timing
from intaglio.templates.npu.isa import Buffer

Finish = Callable[[int, float], None]
"""Called with an instruction's index and the cycle in which it can retire."""
Wake = Callable[[], None]
"""Called when `ready` came closer without an instruction's start."""

LOAD_INSIDE = 6
"""Instructions that the load unit holds until their last word is written."""
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
        now, design = self.events.now, self.plan.design
        tiles, pixels = self.plan.compute_work(index)
        period = timing.tile_period(design, pixels)
        first = max(now + design.rows + 1, self.free)
        last = first + (tiles - 1) * period
        self.fill_stall += first - max(now, self.free) + (tiles - 1) * (period - pixels)
        self.ready, self.free = last, last + pixels
        alone = first - design.rows - 1
        self.finish(index, alone + timing.compute_cycles(design, tiles, pixels))


@dataclass(slots=True)
class Vector:
    """The vector unit: constants, a read a cycle, the pipeline; one instruction at a time.

    `share` is told how many words a cycle are left to load and store at a buffer's port.
    """

    events: Events
    plan: Plan
    finish: Finish
    share: Callable[[Buffer, float], None]
    ready: float = 0
    port_stall: int = 0

    def start(self, index: int) -> None:
        """Setup, reads and the stalls of their own port, then the pipeline."""
        now, work = self.events.now, self.plan.vector_work(index)
        reading = now + work.setup + 1
        read = reading + work.reads + work.port.stalls
        end = read + timing.VECTOR_PIPELINE - 1
        self.port_stall += work.port.stalls
        self.ready = end + 1
        if self.plan.design.groups == 1:
            self.events.at(now + 1, lambda: self.share(Buffer.WEIGHT, 0))
        self.events.at(reading, lambda: self.share(Buffer.WEIGHT, 1))
        self.events.at(reading, lambda: self.share(Buffer.ACTIVATION, work.port.share))
        self.events.at(end, lambda: self.share(Buffer.ACTIVATION, 1))
        self.finish(index, end)


@dataclass(slots=True)
class _Plane:
    """A plane of a load, or a load of fill words alone, whose words are not all written."""

    index: int
    box: Box
    first_step: float
    port: QueuedPort
    last: bool


class Load:
    """Requests run ahead of data; a writer puts one word a cycle, from memory or fill.

    Planes wait in `_planes`: the first is written, the first that has not arrived is received.
    """

    def __init__(
        self, events: Events, plan: Plan, memory: Memory, finish: Finish, wake: Wake
    ) -> None:
        self.events, self.plan, self.memory = events, plan, memory
        self.finish, self.wake = finish, wake
        self.ready: float = 0
        self.words = 0
        self.port_stall: float = 0
        self._inside = 0
        self._planes: deque[_Plane] = deque()
        self._requests_ready: float = 0
        self._newest: Burst | None = None
        self._free: float = 0
        self._shares = {Buffer.ACTIVATION: 1.0, Buffer.WEIGHT: 1.0}
        self._write_plan = 0
        design = plan.design
        several = design.word_bytes > design.memory_bytes_per_cycle
        self._beat_to_step = BEAT_TO_STEP + several

    def start(self, index: int) -> None:
        """Queue its requests, and its planes behind those before it."""
        now, box = self.events.now, self.plan.box(index)
        self.words += box.words
        self._inside += 1
        idle = not self._planes
        planes = [self._plane(index, box, k) for k in range(max(len(box.planes), 1))]
        self._planes.extend(planes)
        self._requests_ready = now + 1
        if box.planes:
            self.memory.load(self._bursts(planes))
        self._update_ready()
        self._receive()
        if idle:
            self._write()

    def _plane(self, index: int, box: Box, position: int) -> _Plane:
        last = position >= len(box.planes) - 1
        port = QueuedPort(opens=math.inf, begins=math.inf, share=self._shares[box.buffer])
        if box.planes:
            beats = box.beats / len(box.planes)
            port.rate, port.writes = beats / box.passing, box.inside / beats
            port.lead, port.trail = box.lead, box.trail
        else:
            port.lead, port.arrived = max(box.fill, 1), True
        return _Plane(index, box, self.events.now + LOAD_TO_STEP, port, last)

    def share(self, buffer: Buffer, share: float) -> None:
        """Note how many words a cycle the vector unit leaves of a buffer's port."""
        if share == self._shares[buffer]:
            return
        self._shares[buffer] = share
        self.memory.refresh()
        for plane in self._planes:
            if plane.box.buffer == buffer:
                plane.port.settle(self.events.now, 0.0, 0.0)
                plane.port.share = share
        self.memory.refresh()
        if self._planes and self._planes[0].port.arrived:
            self._plan_write()

    def _bursts(self, planes: list[_Plane]) -> list[Burst]:
        """The requests of a load; its walker is free once the last run is handed on."""
        earliest = self.events.now + LOAD_TO_ADDRESS
        beat_bytes = self.plan.design.memory_bytes_per_cycle
        bursts: list[Burst] = []
        before = self._newest
        for plane, runs in zip(planes, planes[0].box.planes, strict=True):
            for address, beats in runs:
                before = bursts[-1] if bursts else before
                bursts += [
                    Burst(count, plane.port, earliest)
                    for count in split_run(address, beats, beat_bytes)
                ]
            bursts[-1].moved = self._moved
        self._newest = bursts[-1]
        if before is None or before.ready < math.inf:
            self._requests_ready = self.events.now + LOAD_WALK
        else:
            self._requests_ready = math.inf
            before.requested = self._requested
        return bursts

    def _requested(self, cycle: float) -> None:
        """The burst before the last run of the newest load has its address accepted."""
        self._requests_ready = cycle
        self._update_ready()
        self.events.at(cycle, self.wake)

    def _update_ready(self) -> None:
        self.ready = self._requests_ready if self._inside < LOAD_INSIDE else math.inf

    def _receive(self) -> None:
        """Open the port of the plane whose beats come next."""
        for plane in self._planes:
            if not plane.port.arrived:
                if plane.port.opens == math.inf:
                    plane.port.opens = self.events.now
                    self.memory.refresh()
                return

    def _moved(self) -> None:
        """The last beat of the plane that is received has arrived."""
        for plane in self._planes:
            if not plane.port.arrived:
                plane.port.arrived = True
                break
        self._receive()
        if plane is self._planes[0]:
            self._plan_write()

    def _write(self) -> None:
        """Begin the writes of the oldest plane, if there is one."""
        if not self._planes:
            return
        plane = self._planes[0]
        plane.port.settle(self.events.now, 0.0, 0.0)
        plane.port.begins = max(plane.first_step, self._free) - self._beat_to_step
        self.memory.refresh()
        if plane.port.arrived:
            self._plan_write()

    def _plan_write(self) -> None:
        """Come back when the last word of the oldest plane is written."""
        self._write_plan += 1
        plan = self._write_plan
        when = self._planes[0].port.written_at(self.events.now)
        if when < math.inf:
            self.events.at(when, lambda: self._written() if plan == self._write_plan else None)

    def _written(self) -> None:
        self._end(math.ceil(self.events.now - DUST) + self._beat_to_step)
        self._write()

    def _end(self, free: float) -> None:
        """The writer is done with the oldest plane in the cycle before `free`."""
        plane = self._planes.popleft()
        self.port_stall += plane.port.held
        self._free = free
        self._write_plan += 1
        if plane.last:
            self._inside -= 1
            self.finish(plane.index, free + 1)
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
        if not box.planes:
            self.ready = now + 2
            self.finish(index, now + 1)
            return
        beat_bytes = self.plan.design.memory_bytes_per_cycle
        bursts = [
            Burst(count, self._port, now + STORE_TO_ADDRESS)
            for runs in box.planes
            for address, beats in runs
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

    def share(self, share: float) -> None:
        """Note how many words a cycle the vector unit leaves of the activation buffer's port."""
        if share != self._port.share:
            self._port.share = share
            self.memory.refresh()

    def _update_ready(self) -> None:
        self.ready = self._words_ready if len(self._inside) < STORE_INSIDE else math.inf

    def _acknowledged(self) -> None:
        self.finish(self._inside.popleft(), self.events.now)
        self._update_ready()
        self.wake()
