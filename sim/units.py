"""The array, the vector unit and the store unit in time, from an instruction's issue on.

A unit says from which cycle on it takes another instruction (`ready` of its queue), and in which
one this instruction can retire.  Numbers of cycles are those in the headers of hw/rtl/npu/*.sv.
"""

from __future__ import annotations

from intaglio.sim import engine, load, memory
from intaglio.sim.compiled import compiled
from intaglio.sim.state import (
    ACTIVATION,
    COMPUTE,
    INF,
    LOAD,
    STORE,
    STORES,
    VECTOR,
    WEIGHT,
    WRITE,
    Run,
)
from intaglio.templates.npu import timing

STORE_INSIDE = 8
"""Instructions that the store unit holds until memory has acknowledged them."""
STORE_TO_ADDRESS = 4
"""Cycles from the issue of a store to its first address."""


@compiled
def start(run: Run, index: int) -> None:
    """Hand instruction `index` to its unit in the present cycle."""
    unit = run.tasks[index].unit
    if unit == LOAD:
        load.start(run, index)
    elif unit == COMPUTE:
        _multiply(run, index)
    elif unit == VECTOR:
        _read(run, index)
    else:
        _store(run, index)


@compiled
def _multiply(run: Run, index: int) -> None:
    """Weight tiles; the first vector follows the fill and the instruction before."""
    work, array, now = run.tiles[run.tasks[index].work], run.array, run.clock.now
    first = max(now + work.fill + 1, array.free)
    last = first + (work.tiles - 1) * work.period
    array.fill_stall += (
        first - max(now, array.free) + (work.tiles - 1) * (work.period - work.pixels)
    )
    run.queues[COMPUTE].ready = last
    array.free = last + work.pixels
    engine.finish(run, index, first - work.fill - 1 + work.cycles)


@compiled
def _read(run: Run, index: int) -> None:
    """Constants, reads and the stalls of their own port, then the pipeline."""
    work, now = run.reads[run.tasks[index].work], run.clock.now
    reading = now + work.setup + 1
    end = reading + work.reads + work.stalls + timing.VECTOR_PIPELINE - 1
    run.vector.stall += work.stalls
    run.queues[VECTOR].ready = end + 1
    if run.constants.fills_alone:
        engine.at(run, now + 1, engine.TAKE_WEIGHTS, 0)
    engine.at(run, reading, engine.FREE_WEIGHTS, 0)
    engine.at(run, reading, engine.TAKE_ACTIVATIONS, run.tasks[index].work)
    if work.results:
        engine.at(run, reading + work.results, engine.TAKE_RESULTS, run.tasks[index].work)
    engine.at(run, end, engine.FREE_ACTIVATIONS, 0)
    engine.finish(run, index, end)


@compiled
def share(run: Run, kind: int, argument: int) -> None:
    """What the vector unit takes, or no longer takes, of a buffer's port."""
    if kind == engine.TAKE_WEIGHTS:
        load.take(run, WEIGHT, 0.0)
    elif kind == engine.FREE_WEIGHTS:
        load.take(run, WEIGHT, 1.0)
    else:
        left = 1.0
        if kind == engine.TAKE_ACTIVATIONS:
            left = run.reads[argument].share
        elif kind == engine.TAKE_RESULTS:
            left = run.reads[argument].results_share
        load.take(run, ACTIVATION, left)
        if left != run.store.share:
            run.store.share = left
            memory.refresh(run)


@compiled
def _store(run: Run, index: int) -> None:
    """Queue the bursts of a store; the next one may follow once its words are read."""
    work, store, now = run.boxes[run.tasks[index].work], run.store, run.clock.now
    if not work.planes:
        run.queues[STORE].ready = now + 2
        engine.finish(run, index, now + 1)
        return
    words = work.planes * work.inside
    place = -1
    for plane in range(work.planes):
        for row in range(work.runs):
            address = work.address + plane * work.plane_stride + row * work.run_stride
            earliest = now + STORE_TO_ADDRESS
            place = memory.queue_run(run, STORES, address, work.beats, earliest, 0)
    run.bursts[place].last = True
    run.bursts[place].task = index
    store.words += words
    store.inside += 1
    store.words_ready = now + words + 1
    _update_ready(run)
    memory.refresh(run)


@compiled
def acknowledge(run: Run, index: int) -> None:
    """Memory has a burst of store; with its last one, instruction `index` is done."""
    run.channels[WRITE].outstanding -= 1
    if index >= 0:
        run.store.inside -= 1
        engine.finish(run, index, run.clock.now)
        _update_ready(run)


@compiled
def _update_ready(run: Run) -> None:
    store = run.store
    run.queues[STORE].ready = store.words_ready if store.inside < STORE_INSIDE else INF
