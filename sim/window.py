"""The window unit in time, cycle by cycle: the vector unit comes before it at the buffers' ports.

A step reads one word: of constants, or of a window, or of a residual.  With the last read of an
output its word is on its way, and then waits in a queue until the activation buffer takes it.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.sim import engine, port
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF
from intaglio.sim.state import HELD, WINDOW, WINDOW_ROOM, Gather, Run

WRITE_DELAY = 14
"""Cycles from the last read of an output to its write at the earliest."""
QUEUED = 16
"""Words between last read and write, at most."""


@compiled
def start(run: Run, work: Gather, place: int) -> None:
    """Take the instruction at `place`; the next one is taken after its retirement."""
    window = run.window
    window.place, window.next, window.end = place, work.first, work.end
    window.cycle = run.clock.now + 1
    run.queues[WINDOW].ready = INF


@compiled
def is_active(run: Run) -> bool:
    """Whether an instruction is inside that has not written its last word."""
    return run.window.place >= 0


@compiled
def move(run: Run, ports: Sequence[int], last: int) -> None:
    """Take the cycles up to `last`, or to that of the instruction's last word.

    Load and store, which come after the window unit at the ports, find in `held` what they need.
    """
    window = run.window
    while window.place >= 0 and window.cycle <= last:
        taken = port.taken(run, ports, window.cycle)
        run.held[window.cycle % HELD] = _move(run, ports, window.cycle, taken)
        window.cycle += 1


@compiled
def held(run: Run, ports: Sequence[int], now: int) -> int:
    """What vector and window unit have of the ports in cycle `now`, that of the next step."""
    window = run.window
    if window.place >= 0 and window.cycle <= now:
        move(run, ports, now)
    return run.held[now % HELD] if now < window.cycle else port.taken(run, ports, now)


@compiled
def _move(run: Run, ports: Sequence[int], now: int, taken: int) -> int:
    """One cycle, in which the vector unit has `taken` ports; what both have of them."""
    window, words = run.window, run.window.words - run.window.written
    bank = 0
    if words:
        word = run.window_words[window.written % WINDOW_ROOM]
        bank = word.bank if word.ready <= now else 0
    writes = bank > 0 and not taken & bank
    held = taken | bank
    if window.next < window.end:
        held |= _read(run, ports, now, held, words)
    if writes:
        window.written += 1
        if window.next == window.end and window.written == window.words:
            engine.finish(run, WINDOW, window.place, now + 1)
            window.place = -1
    return held


@compiled
def _read(run: Run, ports: Sequence[int], now: int, held: int, words: int) -> int:
    """Take the next step if its ports are free and there is room; return what it has of them."""
    window = run.window
    step = ports[window.next]
    asks, emits = port.asked(step), port.emitted(step)
    if port.meets(held, asks) or (emits and words == QUEUED):
        window.stall += 1
        return 0
    window.next += 1
    if emits:
        word = run.window_words[window.words % WINDOW_ROOM]
        word.ready, word.bank = now + WRITE_DELAY, emits
        window.words += 1
    return asks
