"""One run of the npu in time: its state at the start, its events in order, and how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from intaglio.sim import engine, issue, transfers
from intaglio.sim.compiled import Table, column, compiled, entry, filled, values
from intaglio.sim.plan import Plan
from intaglio.sim.state import UNITS, Constants, Run, Tables
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, TOKEN_LIMIT, Unit


def tables(plan: Plan, address: int = 0) -> Tables:
    """What the program at `address` asks for."""
    reads, taken = plan.reads()
    gathers, steps = plan.gathers(taken.size)
    before = np.cumsum(np.bincount(plan.unit, minlength=len(Unit)))
    return Tables(
        constants=_constants(plan),
        address=address,
        tasks=plan.tasks(),
        order=values(np.argsort(plan.unit, kind="stable")),
        first=values(np.concatenate(([0], before[:-1]))),
        tiles=plan.tiles(),
        reads=reads,
        gathers=gathers,
        boxes=plan.boxes(),
        ports=values(np.concatenate([taken, steps])),
    )


def _constants(plan: Plan) -> Table[Constants]:
    design = plan.design
    columns = {
        "latency": design.memory_latency_cycles,
        "read_ahead": parameters(design)["ReadAhead"],
        "groups": design.groups,
        "beat_bytes": design.memory_bytes_per_cycle,
        "word_beats": design.word_bytes // design.memory_bytes_per_cycle,
        "fetch_beats": INSTRUCTION_BYTES // design.memory_bytes_per_cycle,
        "count": plan.count,
    }
    return filled(Constants, {name: np.array([value]) for name, value in columns.items()})


@entry
def go(runs: Table[Run], tables: Tables) -> None:
    """Run the only record of `runs` to the end, or until all units wait for each other."""
    run = runs[0]
    begin(run, tables)
    kind, argument = engine.WAKE, 0
    while kind != engine.NOTHING:
        _act(run, tables, kind, argument)
        transfers.advance(run, tables.ports)
        kind, argument = engine.next_event(run)


@compiled
def begin(run: Run, tables: Tables) -> None:
    """The npu before its first cycle."""
    run.constants = tables.constants[0]
    run.fetch.next = tables.address
    for unit in range(UNITS):
        queue = run.queues[unit]
        queue.dealt = queue.issued = queue.retired = tables.first[unit]


@compiled
def _act(run: Run, tables: Tables, kind: int, argument: int) -> None:
    """Do what an event is for."""
    if kind == engine.WAKE:
        issue.wake(run, tables, argument)
    elif kind == engine.RETIRE:
        issue.retire(run, tables, argument)
    elif kind == engine.GIVE:
        issue.give(run, tables, argument)
    elif kind == engine.DEAL:
        issue.deal(run, tables)
    else:
        issue.arrive(run, tables)


def deadlock(run: Run, tables: Tables, plan: Plan) -> str:
    """What the oldest instruction inside each unit, and the head of its queue, wait for."""
    return "deadlock: " + "; ".join(
        sentence for unit in Unit for sentence in _waits(run, tables.order, plan, unit)
    )


def _waits(run: Run, order: Sequence[int], plan: Plan, unit: Unit) -> Iterator[str]:
    places = (int(column(run.queues, name)[unit]) for name in ("retired", "issued", "dealt"))
    retired, issued, dealt = places
    name = unit.name.lower()
    for index in map(int, order[retired:issued][:1]):
        targets = [t for t in _units(plan.push[index]) if run.tokens[unit][t] == TOKEN_LIMIT]
        yield f"instruction {index} ({name}) waits for room for its token to {_names(targets)}"
    for index in map(int, order[issued:dealt][:1]):
        missing = [s for s in _units(plan.pop[index]) if not run.tokens[s][unit]]
        if missing:
            yield f"instruction {index} ({name}) waits for a token of {_names(missing)}"


def _units(mask: int) -> list[Unit]:
    return [unit for unit in Unit if mask >> unit & 1]


def _names(units: list[Unit]) -> str:
    return " and ".join(unit.name.lower() for unit in units)
