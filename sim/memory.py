"""The memory outside the npu, as the simulator sees it: latency and one shared bandwidth.

The contract, which the memory of the RTL test bench keeps too:

- An address is accepted every cycle while fewer than 16 bursts of its direction are outstanding.
- The first beat of a read comes `latency` cycles after its address was accepted at the earliest;
  reads return in order.
- One beat moves a cycle, reads and writes together; when both want to, they alternate.
- A write burst is acknowledged `latency` cycles after its last beat.

The npu's side of the channels is here as well: bursts of fetch go before bursts of load, and a
burst of load is requested only while fewer than `read_ahead` beats of load are outstanding.

Bursts are not stepped beat by beat.  Between events the head of each direction moves at a constant
rate: one beat a cycle alone, an even share when both directions are busy, less when the npu's end
of the burst (`ends`) takes or gives less.
"""

from __future__ import annotations

import math

from intaglio.sim import ends, engine
from intaglio.sim.compiled import compiled
from intaglio.sim.state import FETCHES, INF, LOADS, READ, STORES, WRITE, Burst, Channel, Run

PAGE_BYTES = 4096
"""No burst crosses a multiple of this."""
BURST_BEATS = 256
"""Beats of a burst at most."""
OUTSTANDING = 16
"""Bursts of one direction between address and last beat (reads) or acknowledgement (writes)."""
MOVING = 256
"""Room for the bursts that move in one direction, each in up to eight parts."""
WRITE_DELAY = 3
"""Cycles from a write burst's address to its first beat."""
DUST = ends.DUST


@compiled
def queue_run(run: Run, queue: int, address: int, beats: int, earliest: float, plane: int) -> int:
    """Queue consecutive beats as bursts of at most 256 that never cross 4 KiB.

    Returns the place of the last one in `bursts`.
    """
    place, size = -1, run.constants.beat_bytes
    while beats:
        count = min(beats, (PAGE_BYTES - address % PAGE_BYTES) // size, BURST_BEATS)
        place = queue_burst(run, queue, count, earliest)
        run.bursts[place].plane = plane % len(run.planes)
        address += count * size
        beats -= count
    return place


@compiled
def queue_burst(run: Run, queue: int, beats: int, earliest: float) -> int:
    """Queue one burst that may have its address from `earliest` on; return its place."""
    waiting = run.waiting[queue]
    place = waiting.base + waiting.end % waiting.size
    waiting.end += 1
    burst = run.bursts[place]
    burst.queue, burst.beats, burst.earliest, burst.ready = queue, float(beats), earliest, INF
    burst.closes, burst.awaited, burst.last = True, False, False
    return place


@compiled
def refresh(run: Run) -> None:
    """Take note that a queue or a port has changed, or that time has come."""
    now = run.clock.now
    _settle(run, now)
    _request(run, now)
    _share(run, now)
    _plan_next(run, now)


@compiled
def is_waiting(run: Run, queue: int) -> bool:
    """Whether a burst of `queue` waits for its address."""
    return run.waiting[queue].first < run.waiting[queue].end


@compiled
def _oldest(run: Run, queue: int) -> Burst:
    """The burst whose address comes next."""
    waiting = run.waiting[queue]
    return run.bursts[waiting.base + waiting.first % waiting.size]


@compiled
def _is_moving(run: Run, direction: int) -> bool:
    return run.channels[direction].first < run.channels[direction].end


@compiled
def _head(run: Run, direction: int) -> Burst:
    """The burst whose beats move."""
    return run.bursts[run.moving[direction][run.channels[direction].first % MOVING]]


@compiled
def _settle(run: Run, now: float) -> None:
    """Move the heads at their rates up to `now`, and end what is over."""
    memory = run.memory
    elapsed = now - memory.settled
    memory.settled = now
    moved = _advance(run, READ, now, elapsed)
    if moved > 0 and _head(run, READ).queue == LOADS:
        memory.ahead -= moved
    _advance(run, WRITE, now, elapsed)
    for direction in (READ, WRITE):
        if _is_moving(run, direction) and _head(run, direction).beats <= DUST:
            _end(run, direction, now)
        run.channels[direction].rate = 0.0


@compiled
def _advance(run: Run, direction: int, now: float, elapsed: float) -> float:
    """Move the head at its rate for `elapsed` cycles up to `now`; return the beats moved."""
    if not _is_moving(run, direction):
        return 0.0
    head = _head(run, direction)
    moved = elapsed * run.channels[direction].rate
    head.beats -= moved
    ends.settle(run, head, now, elapsed, moved)
    return moved


@compiled
def _end(run: Run, direction: int, now: float) -> None:
    """The last beat of the head has moved; a write waits for its acknowledgement."""
    channel, burst = run.channels[direction], _head(run, direction)
    channel.first += 1
    over = float(math.ceil(now - DUST))
    if direction == WRITE:
        argument = burst.task if burst.last else -1
        engine.at(run, over + run.constants.latency, engine.ACKNOWLEDGE, argument)
        return
    if burst.closes:
        channel.outstanding -= 1
    if burst.queue == FETCHES:
        engine.at(run, over, engine.ARRIVE, 0)
    elif burst.last:
        engine.at(run, over, engine.MOVED, 0)


@compiled
def _request(run: Run, now: float) -> None:
    """Give the addresses whose time has come, fetch first; writes have their own channel."""
    while _next_address(run) <= now:
        if is_waiting(run, FETCHES) and _oldest(run, FETCHES).earliest <= now:
            _accept(run, READ, FETCHES, now, run.constants.latency)
        else:
            run.memory.ahead += _accept(run, READ, LOADS, now, run.constants.latency)
    while run.channels[WRITE].outstanding < OUTSTANDING and is_waiting(run, STORES):
        _accept(run, WRITE, STORES, now, WRITE_DELAY)


@compiled
def _accept(run: Run, direction: int, queue: int, now: float, delay: int) -> float:
    """Give the address of the oldest burst of `queue`; return its beats."""
    channel, waiting = run.channels[direction], run.waiting[queue]
    address = max(now, _oldest(run, queue).earliest, channel.address_cycle + 1)
    channel.address_cycle = float(math.ceil(address))
    channel.outstanding += 1
    beats, closes = 0.0, False
    while not closes:
        place = waiting.base + waiting.first % waiting.size
        waiting.first += 1
        run.moving[direction][channel.end % MOVING] = place
        channel.end += 1
        part = run.bursts[place]
        part.ready = channel.address_cycle + delay
        beats += part.beats
        closes = part.closes
        if part.awaited:
            _walk_on(run, channel)
    return beats


@compiled
def _walk_on(run: Run, channel: Channel) -> None:
    """The burst before the last run of the newest load has its address accepted."""
    load = run.load
    load.requests_ready = channel.address_cycle
    ends.update_load_ready(run)
    engine.at(run, channel.address_cycle, engine.WAKE, 0)


@compiled
def _next_address(run: Run) -> float:
    """When the next address of a read can be given; infinite while nothing may be."""
    when = INF
    if run.channels[READ].outstanding < OUTSTANDING:
        if is_waiting(run, FETCHES):
            when = _oldest(run, FETCHES).earliest
        if is_waiting(run, LOADS) and run.memory.ahead < run.constants.read_ahead - 1 + DUST:
            when = min(when, _oldest(run, LOADS).earliest)
    return max(when, run.channels[READ].address_cycle + 1)


@compiled
def _share(run: Run, now: float) -> None:
    """Split the bandwidth: evenly, unless one direction wants less than half."""
    reads, writes = _wish(run, READ, now), _wish(run, WRITE, now)
    if reads + writes > 1:
        reads, writes = max(min(reads, 0.5), 1 - writes), max(min(writes, 0.5), 1 - reads)
    run.channels[READ].rate, run.channels[WRITE].rate = reads, writes


@compiled
def _wish(run: Run, direction: int, now: float) -> float:
    """Beats a cycle that the head could move now, were it alone."""
    if not _is_moving(run, direction) or _head(run, direction).ready > now:
        return 0.0
    head = _head(run, direction)
    ends.settle(run, head, now, 0.0, 0.0)
    return ends.wish(run, head, now)


@compiled
def _plan_next(run: Run, now: float) -> None:
    """Come back when a head changes, or when an address can be given."""
    when = min(_next_change(run, READ, now), _next_change(run, WRITE, now), _next_address(run))
    read = run.channels[READ]
    if is_waiting(run, LOADS) and read.rate > 0 and read.outstanding < OUTSTANDING:
        excess = run.memory.ahead - (run.constants.read_ahead - 1)
        if excess > DUST and _head(run, READ).queue == LOADS:
            when = min(when, now + excess / read.rate)
    engine.plan(run, when, engine.REFRESH)


@compiled
def _next_change(run: Run, direction: int, now: float) -> float:
    """When the head ends at its rate, may begin, or changes its rate."""
    if not _is_moving(run, direction):
        return INF
    head, rate = _head(run, direction), run.channels[direction].rate
    if head.ready > now:
        return head.ready
    change = ends.next_change(run, head, now, rate)
    return min(change, now + head.beats / rate) if rate > 0 else change
