"""One run of the npu in time: its state at the start, its events in order, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intaglio.sim import ends, engine, issue, load, memory, units
from intaglio.sim.compiled import Table, blank, column, compiled, entry, filled, one, values
from intaglio.sim.plan import Plan
from intaglio.sim.state import (
    LOAD,
    STORE,
    STORES,
    Array,
    Box,
    Burst,
    BurstQueue,
    Channel,
    Clock,
    Constants,
    Event,
    Fetch,
    LoadUnit,
    Memory,
    Plane,
    Queue,
    Run,
    StoreUnit,
    VectorUnit,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, TOKEN_LIMIT, Unit

FETCH_BURSTS = 2 * issue.FETCH_AHEAD
"""Room for the parts of bursts of fetch that wait or move."""


def new_run(plan: Plan) -> Run:
    """The npu before its first cycle."""
    boxes = plan.boxes()
    rings = _rings(boxes, plan.design.memory_bytes_per_cycle)
    most_planes = int(column(boxes, "planes").max(initial=1))
    beats_of_a_word = plan.design.word_bytes // plan.design.memory_bytes_per_cycle
    return Run(
        constants=one(_constants(plan.design)),
        tasks=plan.tasks(),
        tiles=plan.tiles(),
        reads=plan.reads(),
        boxes=boxes,
        order=values(np.argsort(plan.unit, kind="stable")),
        clock=one(Clock()),
        events=blank(Event, engine.CAPACITY),
        replanned=blank(Event, 2),
        queues=_queues(plan),
        fetch=one(Fetch()),
        tokens=values(np.zeros((len(Unit), len(Unit)), np.int64)),
        bursts=blank(Burst, int(rings.sum())),
        waiting=filled(BurstQueue, {"base": np.cumsum(rings) - rings, "size": rings}),
        channels=blank(Channel, 2),
        moving=values(np.zeros((2, memory.MOVING), np.int64)),
        memory=one(Memory()),
        planes=blank(Plane, (ends.LOAD_INSIDE + 1) * most_planes),
        shares=values(np.ones(2)),
        load=one(LoadUnit()),
        store=one(StoreUnit(rate=float(beats_of_a_word))),
        array=one(Array()),
        vector=one(VectorUnit()),
    )


def _constants(design: NpuDesign) -> Constants:
    several = design.word_bytes > design.memory_bytes_per_cycle
    return Constants(
        latency=design.memory_latency_cycles,
        read_ahead=parameters(design)["ReadAhead"],
        beat_bytes=design.memory_bytes_per_cycle,
        fetch_beats=INSTRUCTION_BYTES // design.memory_bytes_per_cycle,
        beat_to_step=load.BEAT_TO_STEP + several,
        fills_alone=design.groups == 1,
    )


def _queues(plan: Plan) -> Table[Queue]:
    """Empty queues, each from the place in `order` where its unit's instructions begin."""
    before = np.cumsum(np.bincount(plan.unit, minlength=len(Unit)))
    first = np.concatenate(([0], before[:-1]))
    return filled(Queue, {"dealt": first, "issued": first, "retired": first})


def _rings(boxes: Table[Box], beat_bytes: int) -> np.ndarray:
    """Room for the bursts of fetch, of load and of store that wait or move."""
    beats, runs = column(boxes, "beats"), column(boxes, "planes") * column(boxes, "runs")
    pages = beats * beat_bytes // memory.PAGE_BYTES
    most = (runs * (beats // memory.BURST_BEATS + pages + 2)).max(initial=1)
    inside = np.array([ends.LOAD_INSIDE + 1, units.STORE_INSIDE + 1])
    return np.concatenate(([FETCH_BURSTS], inside * most))


@entry
def go(run: Run) -> None:
    """Run to the end, or until all units wait for each other."""
    issue.request(run, issue.FETCH_START)
    kind, argument = engine.next_event(run)
    while kind != engine.NOTHING:
        _act(run, kind, argument)
        kind, argument = engine.next_event(run)


@compiled
def _act(run: Run, kind: int, argument: int) -> None:
    """Do what an event is for."""
    if kind == engine.REFRESH:
        memory.refresh(run)
    elif kind == engine.WRITTEN:
        load.written(run)
    elif kind == engine.WAKE:
        issue.wake(run, argument)
    elif kind == engine.RETIRE:
        issue.retire(run, argument)
    elif kind == engine.GIVE:
        issue.give(run, argument)
    elif kind == engine.DEAL:
        issue.deal(run)
    elif kind == engine.ARRIVE:
        issue.arrive(run)
    elif kind == engine.MOVED:
        load.moved(run)
    elif kind == engine.ACKNOWLEDGE:
        _acknowledge(run, argument)
    elif kind == engine.RESUME:
        ends.update_load_ready(run)
        issue.wake(run, LOAD)
    else:
        units.share(run, kind, argument)


@compiled
def _acknowledge(run: Run, index: int) -> None:
    """Memory has a burst of store, the last one of instruction `index` unless that is -1."""
    units.acknowledge(run, index)
    if index >= 0:
        issue.wake(run, STORE)
    if memory.is_waiting(run, STORES):
        memory.refresh(run)


def deadlock(run: Run, plan: Plan) -> str:
    """What the oldest instruction inside each unit, and the head of its queue, wait for."""
    return "deadlock: " + "; ".join(
        sentence for unit in Unit for sentence in _waits(run, plan, unit)
    )


def _waits(run: Run, plan: Plan, unit: Unit) -> Iterator[str]:
    places = (int(column(run.queues, name)[unit]) for name in ("retired", "issued", "dealt"))
    retired, issued, dealt = places
    name = unit.name.lower()
    for index in map(int, run.order[retired:issued][:1]):
        targets = [t for t in _units(plan.push[index]) if run.tokens[unit][t] == TOKEN_LIMIT]
        yield f"instruction {index} ({name}) waits for room for its token to {_names(targets)}"
    for index in map(int, run.order[issued:dealt][:1]):
        missing = [s for s in _units(plan.pop[index]) if not run.tokens[s][unit]]
        if missing:
            yield f"instruction {index} ({name}) waits for a token of {_names(missing)}"


def _units(mask: int) -> list[Unit]:
    return [unit for unit in Unit if mask >> unit & 1]


def _names(units: list[Unit]) -> str:
    return " and ".join(unit.name.lower() for unit in units)
