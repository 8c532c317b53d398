"""Fetch, queues and tokens in time: from memory to an instruction's issue, and its retirement."""

from __future__ import annotations

from intaglio.sim import engine, memory, units
from intaglio.sim.compiled import compiled
from intaglio.sim.state import FETCHES, INF, Run
from intaglio.templates.npu.isa import TOKEN_LIMIT
from intaglio.templates.npu.timing import QUEUE

UNITS = 4
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


@compiled
def request(run: Run, earliest: float) -> None:
    """Ask for the next chunks of the program while there is room for a whole one."""
    fetch, count = run.fetch, len(run.tasks)
    while fetch.asked < count and fetch.asked - fetch.dealt <= FETCH_AHEAD - FETCH_CHUNK:
        parts = min(FETCH_CHUNK, count - fetch.asked)
        for part in range(parts):
            place = memory.queue_burst(run, FETCHES, run.constants.fetch_beats, earliest)
            run.bursts[place].closes = part == parts - 1
        memory.refresh(run)
        fetch.asked += parts


@compiled
def arrive(run: Run) -> None:
    """The last beat of an instruction was in the cycle before this one."""
    run.fetch.arrived += 1
    engine.at(run, run.clock.now - 1 + BEAT_TO_DEAL, engine.DEAL, 0)


@compiled
def deal(run: Run) -> None:
    """Hand the instruction at the head to its queue, when it is there and there is room."""
    fetch, now = run.fetch, run.clock.now
    if fetch.dealt == fetch.arrived:
        return
    task = run.tasks[fetch.dealt]
    queue = run.queues[task.unit]
    if queue.dealt - queue.issued >= QUEUE_DEPTH:
        return
    if now < fetch.next_deal:
        engine.at(run, fetch.next_deal, engine.DEAL, 0)
        return
    fetch.dealt += 1
    fetch.next_deal = now + run.constants.fetch_beats
    task.queued = now
    queue.dealt += 1
    if queue.dealt - queue.issued == 1:
        _look_at(run, task.unit, max(now + QUEUE, queue.ready))
    request(run, now + FETCH_TO_ADDRESS)
    if fetch.dealt < fetch.arrived:
        engine.at(run, fetch.next_deal, engine.DEAL, 0)


@compiled
def _look_at(run: Run, unit: int, when: float) -> None:
    """Look at the head of a queue in cycle `when`, should that come."""
    queue = run.queues[unit]
    if when < INF and when != queue.planned:
        queue.planned = when
        engine.at(run, when, engine.WAKE, unit)


@compiled
def wake(run: Run, unit: int) -> None:
    """Issue what can go now; come back when the time of the head has come."""
    queue, now = run.queues[unit], run.clock.now
    while queue.issued < queue.dealt:
        index = run.order[queue.issued]
        when = max(run.tasks[index].queued + QUEUE, queue.ready)
        if when > now:
            _look_at(run, unit, when)
            return
        if not _has_tokens(run, unit, run.tasks[index].pop):
            return
        _issue(run, unit, index)


@compiled
def _has_tokens(run: Run, unit: int, sources: int) -> bool:
    """Whether each of `sources`, a mask, has given a token to `unit`."""
    for source in range(UNITS):
        if sources >> source & 1 and not run.tokens[source][unit]:
            return False
    return True


@compiled
def _issue(run: Run, unit: int, index: int) -> None:
    """Take the tokens of the head and hand it to its unit."""
    task, now = run.tasks[index], run.clock.now
    for source in range(UNITS):
        if task.pop >> source & 1:
            if run.tokens[source][unit] >= TOKEN_LIMIT:
                engine.at(run, now + 1, engine.RETIRE, source)
            run.tokens[source][unit] -= 1
    task.issued = now
    run.queues[unit].issued += 1
    if task.sync:
        engine.finish(run, index, now + QUEUE)
    else:
        units.start(run, index)
    deal(run)


@compiled
def retire(run: Run, unit: int) -> None:
    """Retire what is finished, in order, while the counters have room for its tokens.

    The tokens can be taken from the next cycle on.
    """
    queue, now = run.queues[unit], run.clock.now
    while queue.retired < queue.issued:
        task = run.tasks[run.order[queue.retired]]
        if task.finished > now or not _has_room(run, unit, task.push):
            return
        queue.retired += 1
        task.retired = now
        if task.push:
            engine.at(run, now + 1, engine.GIVE, unit << UNITS | task.push)


@compiled
def _has_room(run: Run, unit: int, targets: int) -> bool:
    """Whether the counter of every one of `targets`, a mask, holds less than its limit."""
    for target in range(UNITS):
        if targets >> target & 1 and run.tokens[unit][target] >= TOKEN_LIMIT:
            return False
    return True


@compiled
def give(run: Run, argument: int) -> None:
    """Add the tokens of a retired instruction."""
    source, targets = argument >> UNITS, argument & ((1 << UNITS) - 1)
    for target in range(UNITS):
        if targets >> target & 1:
            run.tokens[source][target] += 1
            wake(run, target)
