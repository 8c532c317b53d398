"""The load unit in time: requests run ahead of data; a writer puts one word a cycle.

Planes wait in a ring: the first is written, the first that has not arrived is received.
"""

from __future__ import annotations

import math

from intaglio.sim import ends, engine, memory
from intaglio.sim.compiled import compiled
from intaglio.sim.state import INF, LOAD, LOADS, Box, Plane, Run

LOAD_TO_ADDRESS = 4
"""Cycles from the issue of a load to its first address."""
LOAD_WALK = 3
"""Cycles from the issue of a load of one run to the next issue, when requests flow."""
BEAT_TO_STEP = 2
"""Cycles from a beat's arrival to the writer's step with it, one more when a word has several."""
LOAD_TO_STEP = 3
"""Cycles from the issue of a load to its writer's first step."""


@compiled
def start(run: Run, index: int) -> None:
    """Queue the requests of load `index`, and its planes behind those before it."""
    load, box, now = run.load, run.boxes[run.tasks[index].work], run.clock.now
    count = max(box.planes, 1)
    load.words += box.fill + box.planes * (box.lead + box.inside + box.trail)
    load.inside += 1
    idle = load.first == load.end
    for position in range(count):
        _add_plane(run, index, box, position == count - 1)
    load.requests_ready = now + 1
    if box.planes:
        _queue_bursts(run, box, load.end - count)
        memory.refresh(run)
    ends.update_load_ready(run)
    _receive(run)
    if idle:
        _write(run)


@compiled
def take(run: Run, buffer: int, share: float) -> None:
    """Note how many words a cycle the vector unit leaves of a buffer's port."""
    if share == run.shares[buffer]:
        return
    run.shares[buffer] = share
    memory.refresh(run)
    load, now = run.load, run.clock.now
    for position in range(load.first, load.end):
        plane = _plane(run, position)
        if plane.buffer == buffer:
            ends.settle_plane(plane, now, 0.0)
            plane.share = share
    memory.refresh(run)
    if load.first < load.end and _plane(run, load.first).arrived:
        _plan_write(run)


@compiled
def moved(run: Run) -> None:
    """The last beat of the plane that is received has arrived."""
    load = run.load
    position = _receiving(run)
    _plane(run, position).arrived = True
    _receive(run)
    if position == load.first:
        _plan_write(run)


@compiled
def written(run: Run) -> None:
    """The last word of the oldest plane is written: begin with the next."""
    load, now = run.load, run.clock.now
    plane = _plane(run, load.first)
    load.first += 1
    load.held += plane.held
    load.free = float(math.ceil(now - ends.DUST)) + run.constants.beat_to_step
    engine.plan(run, INF, engine.WRITTEN)
    if plane.last:
        load.inside -= 1
        engine.finish(run, plane.task, load.free + 1)
        if run.queues[LOAD].ready == INF and load.requests_ready < INF:
            engine.at(run, load.free, engine.RESUME, 0)
    _write(run)


@compiled
def _plane(run: Run, position: int) -> Plane:
    return run.planes[position % len(run.planes)]


@compiled
def _add_plane(run: Run, index: int, box: Box, last: bool) -> None:
    load = run.load
    plane = _plane(run, load.end)
    load.end += 1
    plane.task, plane.buffer, plane.last = index, box.buffer, last
    plane.first_step = run.clock.now + LOAD_TO_STEP
    plane.opens, plane.begins, plane.settled = INF, INF, 0.0
    plane.share, plane.held, plane.queue = run.shares[box.buffer], 0.0, 0.0
    plane.arrived = box.planes == 0
    if plane.arrived:
        plane.rate, plane.writes = 1.0, 1.0
        plane.lead, plane.trail = float(max(box.fill, 1)), 0.0
        return
    beats = box.runs * box.beats
    plane.rate, plane.writes = beats / box.passing, box.inside / beats
    plane.lead, plane.trail = float(box.lead), float(box.trail)


@compiled
def _queue_bursts(run: Run, box: Box, first: int) -> None:
    """Queue the requests of a load; its walker is free once the last run is handed on."""
    load, now = run.load, run.clock.now
    before = load.newest
    for k in range(box.planes):
        for row in range(box.runs):
            before = load.newest
            address = box.address + k * box.plane_stride + row * box.run_stride
            earliest = now + LOAD_TO_ADDRESS
            load.newest = memory.queue_run(run, LOADS, address, box.beats, earliest, first + k)
        run.bursts[load.newest].last = True
    if before < 0 or run.bursts[before].ready < INF:
        load.requests_ready = now + LOAD_WALK
    else:
        load.requests_ready = INF
        run.bursts[before].awaited = True


@compiled
def _receiving(run: Run) -> int:
    """Position of the plane whose beats come next, or where the ring ends."""
    position = run.load.first
    while position < run.load.end and _plane(run, position).arrived:
        position += 1
    return position


@compiled
def _receive(run: Run) -> None:
    """Open the port of the plane whose beats come next."""
    position = _receiving(run)
    if position < run.load.end and _plane(run, position).opens == INF:
        _plane(run, position).opens = run.clock.now
        memory.refresh(run)


@compiled
def _write(run: Run) -> None:
    """Begin the writes of the oldest plane, if there is one."""
    load, now = run.load, run.clock.now
    if load.first == load.end:
        return
    plane = _plane(run, load.first)
    ends.settle_plane(plane, now, 0.0)
    plane.begins = max(plane.first_step, load.free) - run.constants.beat_to_step
    memory.refresh(run)
    if plane.arrived:
        _plan_write(run)


@compiled
def _plan_write(run: Run) -> None:
    """Come back when the last word of the oldest plane is written."""
    plane = _plane(run, run.load.first)
    engine.plan(run, ends.written_at(plane, run.clock.now), engine.WRITTEN)
