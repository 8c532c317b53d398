"""Time for event-driven models: actions in the order of their cycles.

What is done at a time is a kind and an argument, which `run.go` knows how to do.  Events wait in a
heap; two kinds are often put off, so each of them has one place of its own instead.
"""

from __future__ import annotations

from intaglio.sim.compiled import compiled
from intaglio.sim.state import INF, Event, Run

CAPACITY = 4096
"""Events that can wait: a few for every instruction and burst inside, which queues bound."""
REFRESH, WRITTEN = range(2)
"""Kinds that are planned anew: memory's next change, the end of the writes of a plane."""
(
    WAKE,
    RETIRE,
    GIVE,
    DEAL,
    ARRIVE,
    MOVED,
    ACKNOWLEDGE,
    RESUME,
    TAKE_WEIGHTS,
    FREE_WEIGHTS,
    TAKE_ACTIVATIONS,
    TAKE_RESULTS,
    FREE_ACTIVATIONS,
) = range(2, 15)
"""Kinds of events; see `run.go`."""
NOTHING = -1
"""The kind of no event."""


@compiled
def at(run: Run, time: float, kind: int, argument: int) -> None:
    """Do `kind` at `time`, or now when that is past."""
    clock, heap = run.clock, run.events
    clock.serial += 1
    place = clock.pending
    if place == CAPACITY:
        raise RuntimeError("more events wait than the units and memory can have")
    clock.pending += 1
    time = max(time, clock.now)
    while place and time < heap[(place - 1) // 2].time:
        _move(heap[(place - 1) // 2], heap[place])
        place = (place - 1) // 2
    event = heap[place]
    event.time, event.serial, event.kind, event.argument = time, clock.serial, kind, argument


@compiled
def plan(run: Run, time: float, kind: int) -> None:
    """Do `kind` at `time` and no longer when it was planned before; never when that is infinite."""
    clock, event = run.clock, run.replanned[kind]
    clock.serial += 1
    event.time, event.serial = max(time, clock.now), clock.serial


@compiled
def finish(run: Run, index: int, cycle: float) -> None:
    """Retire instruction `index` in `cycle`, after the instructions issued before it."""
    task = run.tasks[index]
    task.finished = cycle
    at(run, cycle, RETIRE, task.unit)


@compiled
def next_event(run: Run) -> tuple[int, int]:
    """Kind and argument of what comes next, whose time is now; NOTHING when nothing does."""
    chosen = NOTHING
    for kind in (REFRESH, WRITTEN):
        event = run.replanned[kind]
        if event.time < INF and (chosen == NOTHING or _before(event, run.replanned[chosen])):
            chosen = kind
    clock = run.clock
    if clock.pending and (chosen == NOTHING or _before(run.events[0], run.replanned[chosen])):
        return _pop(run)
    if chosen != NOTHING:
        clock.now = run.replanned[chosen].time
        run.replanned[chosen].time = INF
    return chosen, 0


@compiled
def _pop(run: Run) -> tuple[int, int]:
    """Take the first event out of the heap."""
    clock, heap = run.clock, run.events
    clock.pending -= 1
    clock.now, kind, argument = heap[0].time, heap[0].kind, heap[0].argument
    last, place, child = heap[clock.pending], 0, 1
    while child < clock.pending:
        if child + 1 < clock.pending and _before(heap[child + 1], heap[child]):
            child += 1
        if not _before(heap[child], last):
            break
        _move(heap[child], heap[place])
        place, child = child, 2 * child + 1
    _move(last, heap[place])
    return kind, argument


@compiled
def _before(one: Event, other: Event) -> bool:
    return one.time < other.time or (one.time == other.time and one.serial < other.serial)


@compiled
def _move(source: Event, target: Event) -> None:
    target.time, target.serial = source.time, source.serial
    target.kind, target.argument = source.kind, source.argument
