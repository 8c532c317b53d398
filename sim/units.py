"""The array and the vector unit in time, from an instruction's issue on; the others are handed it.

A unit says from which cycle on it takes another instruction (`ready` of its queue), and in which
one this instruction can retire.  Numbers of cycles are those in the headers of hw/rtl/npu/*.sv.
"""

from __future__ import annotations

from intaglio.sim import engine, load, store, window
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF
from intaglio.sim.state import COMPUTE, LOAD, VECTOR, WINDOW, Reads, Run, Tables, Tiles


@compiled
def start(run: Run, tables: Tables, unit: int, place: int) -> None:
    """Hand the instruction at `place` to its unit in the present cycle."""
    work = tables.tasks[tables.order[place]].work
    if unit == LOAD:
        load.start(run, tables.boxes[work], place)
    elif unit == COMPUTE:
        _multiply(run, tables.tiles[work], place)
    elif unit == VECTOR:
        _read(run, tables.reads[work], place)
    elif unit == WINDOW:
        window.start(run, tables.gathers[work], place)
    else:
        store.start(run, tables.boxes[work], place)


@compiled
def _multiply(run: Run, work: Tiles, place: int) -> None:
    """Weight tiles; the first vector follows the fill and the instruction before."""
    array, now = run.array, run.clock.now
    first = max(now + work.fill + 1, array.free)
    last = first + (work.tiles - 1) * work.period
    array.fill_stall += (
        first - max(now + 1, array.free) + (work.tiles - 1) * (work.period - work.pixels)
    )
    run.queues[COMPUTE].ready = last
    array.free = last + work.pixels
    engine.finish(run, COMPUTE, place, first - work.fill - 1 + work.cycles)


@compiled
def _read(run: Run, work: Reads, place: int) -> None:
    """Constants, reads, and a pipeline; the next instruction is taken after the retirement."""
    vector, now = run.vector, run.clock.now
    vector.begins, vector.pattern, vector.watched = now + 1, work.pattern, work.watched
    vector.stall += work.stalls
    run.queues[VECTOR].ready = INF
    engine.finish(run, VECTOR, place, now + work.cycles)
