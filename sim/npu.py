"""The npu in time: a Program on fetch, queues, tokens, units, buffers and memory, without data.

`simulate` runs the events; what each unit does with its time is in `units`, what memory does in
`memory`.  Cycle 0 is the first cycle of a run, as the hardware's own counter has it.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from intaglio.errors import VerificationError
from intaglio.sim.engine import Events
from intaglio.sim.limits import busy_cycles, limits
from intaglio.sim.memory import Memory
from intaglio.sim.plan import Plan
from intaglio.sim.trace import LayerTrace, Timeline, Trace, UnitTrace
from intaglio.sim.units import WRITE_DELAY, Compute, Load, Store, TimedUnit, Vector
from intaglio.templates.npu import timing
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, TOKEN_LIMIT, Buffer, Opcode, Unit
from intaglio.templates.npu.program import Program

QUEUE_DEPTH = 17
"""Instructions in a unit's queue: 16 in its RAM and one at its output."""
FETCH_CHUNK = 8
"""Instructions that are asked of memory at once."""
FETCH_AHEAD = 16
"""Instructions asked of memory and not yet dealt to a queue, at most."""
FETCH_START = 3
"""Cycles from the start of a run to its first address."""
FETCH_TO_ADDRESS = 3
"""Cycles from the deal of an instruction that makes room to the address of the next chunk."""
BEAT_TO_DEAL = 3
"""Cycles from an instruction's last beat to its deal."""
DONE = 2
"""Cycles from the retirement of the last instruction to the end of the run."""


class _Issue:
    """The queue of one unit: tokens are taken at issue and given at retirement, in order."""

    def __init__(self, run: _Run, unit: Unit) -> None:
        self.run = run
        self.name = unit
        self.unit: TimedUnit
        self.queue: deque[tuple[int, float]] = deque()
        self._inside: deque[int] = deque()
        self._finished: dict[int, float] = {}
        self._last_finish: float = 0
        self._planned: float = -1

    def enqueue(self, index: int) -> None:
        """Take an instruction from fetch in the present cycle."""
        self.queue.append((index, self.run.events.now + timing.QUEUE))
        if len(self.queue) == 1:
            self.wake()

    def wake(self) -> None:
        """Issue what can go now; come back when the time of the head has come."""
        run = self.run
        now = run.events.now
        while self.queue:
            index, visible = self.queue[0]
            when = max(visible, self.unit.ready)
            if when > now:
                if when < math.inf and when != self._planned:
                    self._planned = when
                    run.events.at(when, self.wake)
                return
            if any(not run.tokens[source, self.name] for source in run.plan.pop[index]):
                return
            self._issue(index)

    def _issue(self, index: int) -> None:
        run = self.run
        for source in run.plan.pop[index]:
            if run.tokens[source, self.name] >= TOKEN_LIMIT:
                run.events.at(run.events.now + 1, run.issues[source].retire)
            run.tokens[source, self.name] -= 1
        run.issued[index] = run.events.now
        self.queue.popleft()
        self._inside.append(index)
        if run.plan.is_sync(index):
            self.finish(index, run.events.now + timing.QUEUE)
        else:
            self.unit.start(index)
        run.fetch.deal()

    def finish(self, index: int, cycle: float) -> None:
        """Retire `index` in `cycle`, after the instructions issued before it."""
        self._finished[index] = cycle
        self.run.events.at(cycle, self.retire)

    def retire(self) -> None:
        """Retire what is finished, in order, while the counters have room for its tokens."""
        run = self.run
        while self._inside:
            index = self._inside[0]
            if self._finished.get(index, math.inf) > run.events.now:
                return
            if any(run.tokens[self.name, t] >= TOKEN_LIMIT for t in run.plan.push[index]):
                return
            self._inside.popleft()
            run.retired[index] = run.events.now
            run.push(self.name, run.plan.push[index])

    def waits(self) -> list[str]:
        """What the oldest instruction inside and the head of the queue wait for."""
        tokens, plan = self.run.tokens, self.run.plan
        unit = self.name.name.lower()
        sentences = []
        for index in list(self._inside)[:1]:
            full = [t.name.lower() for t in plan.push[index] if tokens[self.name, t] == TOKEN_LIMIT]
            sentences.append(
                f"instruction {index} ({unit}) waits for room for its token to {' and '.join(full)}"
            )
        for index, _ in list(self.queue)[:1]:
            missing = [s.name.lower() for s in plan.pop[index] if not tokens[s, self.name]]
            if missing:
                sentences.append(
                    f"instruction {index} ({unit}) waits for a token of {' and '.join(missing)}"
                )
        return sentences


class _Fetch:
    """Reads the program in chunks and deals its instructions to the queues, in order."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self._beats = INSTRUCTION_BYTES // run.plan.design.memory_bytes_per_cycle
        self._asked = 0
        self._arrived = 0
        self._dealt = 0
        self._next_deal: float = 0

    def request(self, earliest: float) -> None:
        """Ask for the next chunk while there is room for a whole one."""
        run = self.run
        while self._asked < run.plan.count and self._asked - self._dealt <= (
            FETCH_AHEAD - FETCH_CHUNK
        ):
            count = min(FETCH_CHUNK, run.plan.count - self._asked)
            run.memory.fetch([(self._beats, self._arrive)] * count, earliest)
            self._asked += count

    def _arrive(self) -> None:
        """The last beat of an instruction was in the cycle before this one."""
        self._arrived += 1
        self.run.events.at(self.run.events.now - 1 + BEAT_TO_DEAL, self.deal)

    def deal(self) -> None:
        """Hand the instruction at the head to its queue, when it is there and there is room."""
        run = self.run
        now = run.events.now
        if self._dealt == self._arrived:
            return
        queue = run.issues[run.plan.unit[self._dealt]]
        if len(queue.queue) >= QUEUE_DEPTH:
            return
        if now < self._next_deal:
            run.events.at(self._next_deal, self.deal)
            return
        index = self._dealt
        self._dealt += 1
        self._next_deal = now + self._beats
        run.queued[index] = now
        queue.enqueue(index)
        self.request(now + FETCH_TO_ADDRESS)
        if self._dealt < self._arrived:
            run.events.at(self._next_deal, self.deal)


class _Run:
    """All state of one simulation; `queued`, `issued` and `retired` are cycles by instruction."""

    def __init__(self, plan: Plan) -> None:
        design = plan.design
        self.plan = plan
        self.events = Events()
        read_ahead = parameters(design)["ReadAhead"]
        self.memory = Memory(self.events, design.memory_latency_cycles, WRITE_DELAY, read_ahead)
        self.tokens = {(a, b): 0 for a in Unit for b in Unit}
        self.queued = [math.inf] * plan.count
        self.issued = [math.inf] * plan.count
        self.retired = [math.inf] * plan.count
        self.issues = [_Issue(self, unit) for unit in Unit]
        self.fetch = _Fetch(self)
        load, compute, vector, store = self.issues
        self.load = Load(self.events, plan, self.memory, load.finish, load.wake)
        self.compute = Compute(self.events, plan, compute.finish)
        self.vector = Vector(self.events, plan, vector.finish, self._share)
        self.store = Store(self.events, plan, self.memory, store.finish, store.wake)
        load.unit, compute.unit = self.load, self.compute
        vector.unit, store.unit = self.vector, self.store

    def _share(self, buffer: Buffer, share: float) -> None:
        self.load.share(buffer, share)
        if buffer == Buffer.ACTIVATION:
            self.store.share(share)

    def push(self, source: Unit, targets: tuple[Unit, ...]) -> None:
        """Give tokens in the present cycle; they can be taken from the next one on."""
        if targets:
            self.events.at(self.events.now + 1, lambda: self._give(source, targets))

    def _give(self, source: Unit, targets: tuple[Unit, ...]) -> None:
        for target in targets:
            self.tokens[source, target] += 1
            self.issues[target].wake()

    def go(self) -> None:
        """Run to the end.

        Raises VerificationError when the units wait for each other for ever.
        """
        self.fetch.request(FETCH_START)
        self.events.run()
        if self.plan.count and max(self.retired) == math.inf:
            raise VerificationError(self._deadlock())

    def _deadlock(self) -> str:
        waits = [sentence for issue in self.issues for sentence in issue.waits()]
        return "deadlock: " + "; ".join(waits)


def simulate(program: Program) -> Trace:
    """Cycles of `program` on its design: a Trace of layers, units and the timeline.

    Raises VerificationError when the units wait for each other for ever.
    """
    run = _Run(Plan(program.instructions, program.design))
    run.go()
    timeline = Timeline(
        unit=np.array(run.plan.unit, dtype=np.int64),
        layer=np.array(run.plan.layer, dtype=np.int64),
        issued=np.array(run.issued, dtype=np.int64),
        retired=np.array(run.retired, dtype=np.int64),
    )
    return Trace(
        name=program.workload_name,
        clock_mhz=program.design.clock_mhz,
        multipliers=program.design.multipliers,
        cycles=_cycles(timeline),
        rows=_layers(program, run.plan, timeline),
        units=_units(run, timeline),
        timeline=timeline,
    )


def _cycles(timeline: Timeline) -> int:
    return int(timeline.retired.max(initial=-DONE)) + DONE


def _layers(program: Program, plan: Plan, timeline: Timeline) -> tuple[LayerTrace, ...]:
    edges = np.zeros(len(program.layers) + 1, dtype=np.int64)
    for index in np.flatnonzero(plan.mark):
        edges[timeline.layer[index] + 1] = timeline.retired[index] + DONE
    edges = np.maximum.accumulate(edges)
    edges[-1] = _cycles(timeline)
    busy = [
        busy_cycles(timeline.issued[chosen], timeline.retired[chosen], edges)
        for chosen in (timeline.unit == unit for unit in Unit)
    ]
    read, written = _bytes(plan, timeline.layer, len(program.layers))
    beats = (read + written) // program.design.memory_bytes_per_cycle
    bounds = [
        (-(-layer.macs // program.design.multipliers), int(moved))
        for layer, moved in zip(program.layers, beats, strict=True)
    ]
    found = limits(bounds, timeline.unit, timeline.issued, timeline.retired, edges)
    return tuple(
        LayerTrace(
            index=layer.index,
            name=layer.name,
            op=layer.op,
            cycles=cycles,
            macs=layer.macs,
            utilisation=layer.macs / (cycles * program.design.multipliers) if cycles else 0.0,
            bytes_read=int(read[k]),
            bytes_written=int(written[k]),
            busy=(int(busy[0][k]), int(busy[1][k]), int(busy[2][k]), int(busy[3][k])),
            limits=found[k],
        )
        for k, (layer, cycles) in enumerate(
            zip(program.layers, np.diff(edges).tolist(), strict=True)
        )
    )


def _bytes(plan: Plan, layer: np.ndarray, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes read (instructions included) and written by layer, int64 of shape (layers,)."""
    read, written = np.zeros(layers, np.int64), np.zeros(layers, np.int64)
    np.add.at(read, layer, INSTRUCTION_BYTES)
    beat_bytes = plan.design.memory_bytes_per_cycle
    for index, opcode in enumerate(plan.opcode):
        if opcode == Opcode.LOAD:
            read[layer[index]] += plan.box(index).beats * beat_bytes
        elif opcode == Opcode.STORE:
            written[layer[index]] += plan.box(index).beats * beat_bytes
    return read, written


def _units(run: _Run, timeline: Timeline) -> tuple[UnitTrace, ...]:
    ports = (run.load.port_stall, 0.0, run.vector.port_stall, run.store.port_stall)
    moved = {Unit.LOAD: run.load.words, Unit.STORE: run.store.words}
    cycles = _cycles(timeline)
    result = []
    for unit in Unit:
        chosen = np.flatnonzero(timeline.unit == unit)
        issued, retired = timeline.issued[chosen], timeline.retired[chosen]
        busy = int(busy_cycles(issued, retired, np.array([0, cycles]))[0])
        queued = np.array(run.queued, dtype=np.int64)[chosen]
        before = np.concatenate(([0], np.maximum.accumulate(retired)))[:-1]
        token = int(np.maximum(issued - np.maximum(before, queued), 0).sum())
        port = round(ports[unit])
        result.append(
            UnitTrace(
                unit=unit,
                instructions=len(chosen),
                busy=busy,
                token_wait=token,
                queue_wait=max(cycles - busy - token, 0),
                memory_stall=max(busy - moved[unit] - port, 0) if unit in moved else 0,
                port_stall=port,
                fill_stall=round(run.compute.fill_stall) if unit == Unit.COMPUTE else 0,
            )
        )
    return tuple(result)
