"""Queues and tokens in time: from an instruction's arrival to its issue, and its retirement."""

from __future__ import annotations

from intaglio.sim import engine, store, transfers, units
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF
from intaglio.sim.state import ROOM, STORE, UNITS, VECTOR, WINDOW, Run, Tables, Task
from intaglio.templates.npu.isa import TOKEN_LIMIT
from intaglio.templates.npu.timing import QUEUE

QUEUE_DEPTH = 17
"""Instructions in a unit's queue: 16 in its RAM and one at its output."""
PAUSE = 2
"""Cycles from an issue to the next one of the unit, and to the room that it leaves in the queue."""
INSIDE = 9
"""Instructions of a unit between issue and retirement, at most."""


@compiled
def arrive(run: Run, tables: Tables) -> None:
    """An instruction can be dealt from this cycle on."""
    run.fetch.arrived += 1
    deal(run, tables)


@compiled
def deal(run: Run, tables: Tables) -> None:
    """Hand the instruction at the head to its queue, when it is there and there is room."""
    fetch, now = run.fetch, run.clock.now
    if fetch.dealt == fetch.arrived:
        return
    task = tables.tasks[fetch.dealt]
    queue = run.queues[task.unit]
    if queue.dealt - queue.issued + (now < queue.newest + PAUSE) >= QUEUE_DEPTH:
        if now < queue.newest + PAUSE:
            engine.at(run, queue.newest + PAUSE, engine.DEAL, 0)
        return
    if now < fetch.next_deal:
        engine.at(run, fetch.next_deal, engine.DEAL, 0)
        return
    fetch.dealt += 1
    beats = run.constants.fetch_beats
    fetch.next_deal = now + beats + (beats > 1)
    task.queued = now
    queue.dealt += 1
    if queue.dealt - queue.issued == 1:
        _look_at(run, task.unit, now + QUEUE)
    transfers.touch(run)
    if fetch.dealt < fetch.arrived:
        engine.at(run, fetch.next_deal, engine.DEAL, 0)


@compiled
def _look_at(run: Run, unit: int, when: int) -> None:
    """Look at the head of a queue in cycle `when`, should that come."""
    queue = run.queues[unit]
    if when < INF and when != queue.planned:
        queue.planned = when
        engine.at(run, when, engine.WAKE, unit)


@compiled
def wake(run: Run, tables: Tables, unit: int) -> None:
    """Issue the head if it can go now; come back when its time has come."""
    queue, now = run.queues[unit], run.clock.now
    if queue.issued == queue.dealt:
        return
    task = tables.tasks[tables.order[queue.issued]]
    when = max(task.queued + QUEUE, queue.newest + PAUSE, 0 if task.sync else queue.ready)
    if when > now:
        _look_at(run, unit, when)
    elif queue.issued - queue.retired + (queue.gone == now) >= INSIDE:
        return
    elif _has_tokens(run, unit, task.pop):
        _issue(run, tables, unit)


@compiled
def _has_tokens(run: Run, unit: int, sources: int) -> bool:
    """Whether each of `sources`, a mask, has given a token to `unit`."""
    for source in range(UNITS):
        if sources >> source & 1 and not run.tokens[source][unit]:
            return False
    return True


@compiled
def _issue(run: Run, tables: Tables, unit: int) -> None:
    """Take the tokens of the head and hand it to its unit."""
    queue, now = run.queues[unit], run.clock.now
    place = queue.issued
    task = tables.tasks[tables.order[place]]
    for source in range(UNITS):
        if task.pop >> source & 1:
            if run.tokens[source][unit] >= TOKEN_LIMIT:
                engine.at(run, now + 1, engine.RETIRE, source)
            run.tokens[source][unit] -= 1
    task.issued = queue.newest = now
    queue.issued += 1
    run.finished[unit][place % ROOM] = INF
    if task.sync:
        engine.finish(run, unit, place, now + QUEUE)
    else:
        units.start(run, tables, unit, place)
        transfers.touch(run)
    if queue.issued < queue.dealt:
        _look_at(run, unit, now + PAUSE)
    if run.fetch.dealt < run.fetch.arrived:
        engine.at(run, now + PAUSE, engine.DEAL, 0)


@compiled
def retire(run: Run, tables: Tables, unit: int) -> None:
    """Retire the oldest instruction inside when it is finished and the counters have room.

    One retires a cycle, and of all units one that is marked.  Its tokens can be taken from the next
    cycle on.
    """
    queue, clock, now = run.queues[unit], run.clock, run.clock.now
    if queue.retired == queue.issued or queue.gone == now:
        return
    task = tables.tasks[tables.order[queue.retired]]
    if run.finished[unit][queue.retired % ROOM] > now or not _has_room(run, unit, task.push):
        return
    if task.mark and clock.marked == now:
        engine.at(run, now + 1, engine.RETIRE, unit)
        return
    _leave(run, unit, task)
    if queue.retired < queue.issued:
        engine.at(run, now + 1, engine.RETIRE, unit)


@compiled
def _leave(run: Run, unit: int, task: Task) -> None:
    """Retire an instruction."""
    queue, now = run.queues[unit], run.clock.now
    if task.mark:
        run.clock.marked = now
    queue.retired += 1
    task.retired = queue.gone = now
    if task.push:
        engine.at(run, now + 1, engine.GIVE, unit << UNITS | task.push)
    if unit == STORE and not task.sync:
        store.retire(run)
        transfers.touch(run)
    elif unit in (VECTOR, WINDOW) and not task.sync:
        queue.ready = now + 1
    if queue.issued < queue.dealt:
        _look_at(run, unit, now + 1)


@compiled
def _has_room(run: Run, unit: int, targets: int) -> bool:
    """Whether the counter of every one of `targets`, a mask, holds less than its limit."""
    for target in range(UNITS):
        if targets >> target & 1 and run.tokens[unit][target] >= TOKEN_LIMIT:
            return False
    return True


@compiled
def give(run: Run, tables: Tables, argument: int) -> None:
    """Add the tokens of a retired instruction."""
    source, targets = argument >> UNITS, argument & ((1 << UNITS) - 1)
    for target in range(UNITS):
        if targets >> target & 1:
            run.tokens[source][target] += 1
            wake(run, tables, target)
