"""One run of the npu in time: its state at the start, its events in order, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from intaglio.sim import engine, issue, load, transfers, window
from intaglio.sim.compiled import Table, blank, column, compiled, entry, filled, one, values
from intaglio.sim.plan import Plan
from intaglio.sim.registers import (
    OUTSTANDING,
    Burst,
    LoadUnit,
    Memory,
    Runs,
    StoreUnit,
    Transfers,
    WindowUnit,
    Words,
    Writer,
)
from intaglio.sim.state import Array, Clock, Constants, Event, Fetch, Queue, Run, VectorUnit
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, TOKEN_LIMIT, Unit


def new_run(plan: Plan, address: int = 0) -> Run:
    """The npu before its first cycle, with the program at `address`."""
    reads, taken = plan.reads()
    gathers, steps = plan.gathers()
    return Run(
        constants=one(_constants(plan.design)),
        tasks=plan.tasks(),
        tiles=plan.tiles(),
        reads=reads,
        gathers=gathers,
        boxes=plan.boxes(),
        taken=values(taken),
        steps=values(steps.astype(np.int64)),
        order=values(np.argsort(plan.unit, kind="stable")),
        clock=one(Clock()),
        events=blank(Event, engine.CAPACITY),
        queues=_queues(plan),
        fetch=one(Fetch(next=address)),
        tokens=values(np.zeros((len(Unit), len(Unit)), np.int64)),
        transfers=one(Transfers()),
        memory=one(Memory()),
        bursts=blank(Burst, OUTSTANDING),
        writer=one(Writer()),
        writes=blank(Burst, OUTSTANDING),
        loads=values(np.zeros(load.LOADS, np.int64)),
        load=one(LoadUnit()),
        load_runs=one(Runs()),
        load_words=one(Words()),
        store=one(StoreUnit()),
        store_runs=one(Runs()),
        store_words=one(Words()),
        array=one(Array()),
        vector=one(VectorUnit()),
        window=one(WindowUnit()),
        window_words=values(np.zeros((window.RING, 2), np.int64)),
    )


def _constants(design: NpuDesign) -> Constants:
    return Constants(
        latency=design.memory_latency_cycles,
        read_ahead=parameters(design)["ReadAhead"],
        groups=design.groups,
        beat_bytes=design.memory_bytes_per_cycle,
        word_beats=design.word_bytes // design.memory_bytes_per_cycle,
        fetch_beats=INSTRUCTION_BYTES // design.memory_bytes_per_cycle,
    )


def _queues(plan: Plan) -> Table[Queue]:
    """Empty queues, each from the place in `order` where its unit's instructions begin."""
    before = np.cumsum(np.bincount(plan.unit, minlength=len(Unit)))
    first = np.concatenate(([0], before[:-1]))
    return filled(Queue, {"dealt": first, "issued": first, "retired": first})


@entry
def go(run: Run) -> None:
    """Run to the end, or until all units wait for each other."""
    transfers.advance(run)
    kind, argument = engine.next_event(run)
    while kind != engine.NOTHING:
        _act(run, kind, argument)
        transfers.advance(run)
        kind, argument = engine.next_event(run)


@compiled
def _act(run: Run, kind: int, argument: int) -> None:
    """Do what an event is for."""
    if kind == engine.WAKE:
        issue.wake(run, argument)
    elif kind == engine.RETIRE:
        issue.retire(run, argument)
    elif kind == engine.GIVE:
        issue.give(run, argument)
    elif kind == engine.DEAL:
        issue.deal(run)
    else:
        issue.arrive(run)


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
