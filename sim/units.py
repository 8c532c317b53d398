"""The array and the vector unit in time, from an instruction's issue on; the others are handed it.

A unit says from which cycle on it takes another instruction (`ready` of its queue), and in which
one this instruction can retire.  Numbers of cycles are those in the headers of hw/rtl/npu/*.sv.
"""

from __future__ import annotations

from intaglio.sim import engine, load, store, window
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF
from intaglio.sim.state import COMPUTE, LOAD, VECTOR, WINDOW, Run


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
    elif unit == WINDOW:
        window.start(run, index)
    else:
        store.start(run, index)


@compiled
def _multiply(run: Run, index: int) -> None:
    """Weight tiles; the first vector follows the fill and the instruction before."""
    work, array, now = run.tiles[run.tasks[index].work], run.array, run.clock.now
    first = max(now + work.fill + 1, array.free)
    last = first + (work.tiles - 1) * work.period
    array.fill_stall += (
        first - max(now + 1, array.free) + (work.tiles - 1) * (work.period - work.pixels)
    )
    run.queues[COMPUTE].ready = last
    array.free = last + work.pixels
    engine.finish(run, index, first - work.fill - 1 + work.cycles)


@compiled
def _read(run: Run, index: int) -> None:
    """Constants, reads, and a pipeline; the next instruction is taken after the retirement."""
    place, vector, now = run.tasks[index].work, run.vector, run.clock.now
    work = run.reads[place]
    vector.work, vector.begins = place, now + 1
    vector.stall += work.stalls
    run.queues[VECTOR].ready = INF
    engine.finish(run, index, now + work.cycles)
