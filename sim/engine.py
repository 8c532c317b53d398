"""Events in the order of their cycles: what `run.go` does beside the steps of `transfers`.

What is done at a time is a kind and an argument.  Events wait in a heap; of one cycle, retirements
come first, in the order of the units.
"""

from __future__ import annotations

from intaglio.sim.compiled import compiled, shared
from intaglio.sim.registers import INF
from intaglio.sim.state import EVENTS, ROOM, Event, Run

WAKE, RETIRE, GIVE, DEAL, ARRIVE = range(5)
"""Kinds of events; see `run.go`."""
NOTHING = -1
"""The kind of no event."""


@shared
def at(run: Run, time: int, kind: int, argument: int) -> None:
    """Do `kind` in cycle `time`."""
    clock, heap = run.clock, run.events
    clock.serial += 1
    serial = argument if kind == RETIRE else clock.serial
    place = clock.pending
    if place == EVENTS:
        raise RuntimeError("more events wait than the units can have")
    clock.pending += 1
    while place and _before(time, serial, heap[(place - 1) // 2]):
        _move(heap[(place - 1) // 2], heap[place])
        place = (place - 1) // 2
    event = heap[place]
    event.time, event.serial, event.kind, event.argument = time, serial, kind, argument


@compiled
def finish(run: Run, unit: int, place: int, cycle: int) -> None:
    """Let the instruction at `place` retire in `cycle`, after those of its unit before it."""
    run.finished[unit][place % ROOM] = cycle
    at(run, cycle, RETIRE, unit)


@compiled
def next_cycle(run: Run) -> int:
    """The cycle of what comes next; infinite when nothing does."""
    return run.events[0].time if run.clock.pending else INF


@compiled
def next_event(run: Run) -> tuple[int, int]:
    """Kind and argument of what comes next, whose time is now; NOTHING when nothing does."""
    clock, heap = run.clock, run.events
    if not clock.pending:
        return NOTHING, 0
    clock.pending -= 1
    clock.now, kind, argument = heap[0].time, heap[0].kind, heap[0].argument
    last, place, child = heap[clock.pending], 0, 1
    while child < clock.pending:
        if child + 1 < clock.pending and _is_before(heap[child + 1], heap[child]):
            child += 1
        if not _is_before(heap[child], last):
            break
        _move(heap[child], heap[place])
        place, child = child, 2 * child + 1
    _move(last, heap[place])
    return kind, argument


@compiled
def _before(time: int, serial: int, other: Event) -> bool:
    return time < other.time or (time == other.time and serial < other.serial)


@compiled
def _is_before(one: Event, other: Event) -> bool:
    return _before(one.time, one.serial, other)


@compiled
def _move(source: Event, target: Event) -> None:
    target.time, target.serial = source.time, source.serial
    target.kind, target.argument = source.kind, source.argument
