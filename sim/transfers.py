"""Memory, load, store and window, stepped by cycles, as their modules in hw/rtl/npu are clocked.

A cycle's step comes before its events: it sees the registers as they are in that cycle, and leaves
them as they are in the next; what an event changes is seen in the next cycle's.  While nothing can
move no cycle is stepped.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.sim import engine, load, memory, requests, store, streams, window
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF
from intaglio.sim.state import LOAD, STORE, Run


@compiled
def advance(run: Run, ports: Sequence[int]) -> None:
    """Step all cycles up to the one of the next event.

    The window unit is as far as the others, as what they do may let the vector unit begin.
    """
    while True:
        window.move(run, ports, min(engine.next_cycle(run), run.transfers.cycle - 1))
        if run.transfers.cycle == INF or run.transfers.cycle > engine.next_cycle(run):
            break
        _step(run, ports, run.transfers.cycle)


@compiled
def _step(run: Run, ports: Sequence[int], now: int) -> None:
    """One cycle, or some of a stream.

    Each part comes before those whose registers it has to see unchanged.
    """
    _count_waits(run, now)
    taken = window.held(run, ports, now)
    asks = store.asks(run, taken)
    _offer(run, LOAD, load.is_ready(run), now)
    _offer(run, STORE, store.is_ready(run), now)
    leapt = streams.leap(run, ports, now)
    if leapt:
        run.transfers.cycle = run.transfers.settled = now + leapt
        return
    granted = memory.grant(run, now)
    moved = store.move(run, now, asks, granted)
    moved |= requests.step(run, now)
    room = load.has_room(run)
    beat = memory.take(run, now, room)
    moved |= memory.acknowledge(run, now)
    moved |= load.move(run, now, taken, beat == memory.LOAD)
    moved |= beat != memory.NOTHING or granted
    run.transfers.cycle = now + 1 if moved else memory.next_cycle(run, now)


@compiled
def _count_waits(run: Run, now: int) -> None:
    """Count the cycles since the last step, in which nothing moved."""
    skipped = now - run.transfers.settled
    run.transfers.settled = now + 1
    run.load.starved += skipped * run.load.waits
    run.store.starved += skipped * run.store.waits


@compiled
def _offer(run: Run, unit: int, ready: bool, now: int) -> None:
    """Say whether a unit takes an instruction, and look at its queue when it does again."""
    queue = run.queues[unit]
    if not ready:
        queue.ready = INF
    elif queue.ready == INF:
        queue.ready = now
        if queue.issued < queue.dealt:
            engine.at(run, now, engine.WAKE, unit)


@compiled
def touch(run: Run) -> None:
    """Look at the next cycle, as something was changed in this one."""
    run.transfers.cycle = min(run.transfers.cycle, run.clock.now + 1)
