"""The memory outside the npu, as the simulator sees it, and npu_reader's data side.

The contract, which the memory of the RTL test bench (hw/driver/axi_memory.h) keeps too:

- An address is accepted every cycle while fewer than 16 bursts of its direction are outstanding.
- The first beat of a read comes `latency` cycles after its address was accepted at the earliest;
  reads return in order.
- One beat moves a cycle, reads and writes together; when both want to, they alternate.
- A write burst is acknowledged `latency` cycles after its last beat.
"""

from __future__ import annotations

from intaglio.sim import engine
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF, OUTSTANDING
from intaglio.sim.state import STORE, Run

NOTHING, FETCH, LOAD = range(3)
"""Who takes a beat."""
BEAT_TO_DEAL = 2
"""Cycles from an instruction's last beat to its deal, one more when it has several."""


@compiled
def grant(run: Run, now: int) -> bool:
    """Choose who moves a beat: present one that is read, or return that one is written."""
    memory = run.memory
    reads = not memory.held and memory.first < memory.end
    reads = reads and run.bursts[memory.first % OUTSTANDING].ready <= now
    writes = run.writer.beat and not (reads and memory.wrote)
    if reads or writes:
        memory.wrote = writes
    memory.held |= reads and not writes
    return writes


@compiled
def take(run: Run, now: int, room: bool) -> int:
    """Take the beat that is presented, if there is `room` for one of load; return for whom."""
    memory = run.memory
    if not memory.held:
        return NOTHING
    burst = run.bursts[memory.first % OUTSTANDING]
    if burst.loads and not room:
        return NOTHING
    memory.held = False
    burst.beats -= 1
    if not burst.beats:
        memory.first += 1
        memory.outstanding -= 1
    if burst.loads:
        memory.ahead -= 1
        return LOAD
    _fetched(run, now)
    return FETCH


@compiled
def _fetched(run: Run, now: int) -> None:
    """A beat of an instruction has come."""
    fetch, beats = run.fetch, run.constants.fetch_beats
    fetch.beats += 1
    if fetch.beats == beats:
        fetch.beats = 0
        engine.at(run, now + BEAT_TO_DEAL + (beats > 1), engine.ARRIVE, 0)


@compiled
def acknowledge(run: Run, now: int) -> bool:
    """Acknowledge the oldest write whose time has come; an instruction may be done with it."""
    writer = run.writer
    if writer.first == writer.sent:
        return False
    burst = run.writes[writer.first % OUTSTANDING]
    if burst.ready > now:
        return False
    writer.first += 1
    if burst.place >= 0:
        run.store.finished += 1
        engine.finish(run, STORE, burst.place, now + 1)
    return True


@compiled
def next_cycle(run: Run, now: int) -> int:
    """When memory gives or acknowledges the next, if nothing moves before."""
    memory, writer, when = run.memory, run.writer, INF
    if not memory.held and memory.first < memory.end:
        when = run.bursts[memory.first % OUTSTANDING].ready
    if writer.first < writer.sent:
        when = min(when, run.writes[writer.first % OUTSTANDING].ready)
    return max(when, now + 1)
