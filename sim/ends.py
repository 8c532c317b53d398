"""The npu's ends of the bursts: as they give or take beats, how fast memory can move them.

Fetch takes a beat a cycle, and store gives what it gets of the activation buffer's port.  Load
takes a beat a cycle into a queue, and writes words from there into a buffer: first the fill before
the first beat (lead), then beats, then the fill after the last one (trail).
"""

from __future__ import annotations

from intaglio.sim.compiled import compiled
from intaglio.sim.state import FETCHES, INF, LOAD, STORES, Burst, Plane, Run

QUEUE_BEATS = 64
"""Beats of load that wait in the npu for their word to be written."""
LOAD_INSIDE = 6
"""Instructions that the load unit holds until their last word is written."""
DUST = 1e-6
"""Beats, words and cycles below this are what rounding left."""


@compiled
def wish(run: Run, head: Burst, now: float) -> float:
    """Beats a cycle from `now` on."""
    if head.queue == FETCHES:
        return 1.0
    if head.queue == STORES:
        return min(1.0, run.store.rate * run.store.share)
    plane = run.planes[head.plane]
    if plane.opens > now:
        return 0.0
    if plane.queue < QUEUE_BEATS - DUST:
        return 1.0
    return speed(plane) if _is_emptying(plane, now) else 0.0


@compiled
def settle(run: Run, head: Burst, now: float, elapsed: float, moved: float) -> None:
    """Note that `moved` beats went through in the `elapsed` cycles up to `now`."""
    if head.queue == STORES:
        store = run.store
        if moved > 0 and store.share < 1 and moved >= elapsed * store.rate * store.share:
            store.held += elapsed - moved / min(1.0, store.rate)
    elif head.queue != FETCHES:
        settle_plane(run.planes[head.plane], now, moved)


@compiled
def next_change(run: Run, head: Burst, now: float, rate: float) -> float:
    """When `wish` changes by itself while beats move at `rate`."""
    if head.queue == FETCHES or head.queue == STORES:
        return INF
    plane = run.planes[head.plane]
    if plane.opens > now:
        return plane.opens
    emptying = _is_emptying(plane, now)
    begins = INF if emptying else _lead_end(plane, now)
    room = QUEUE_BEATS - plane.queue
    if room <= DUST:
        return begins
    growth = rate - (speed(plane) if emptying else 0.0)
    return min(begins, now + room / growth) if growth > 0 else begins


@compiled
def settle_plane(plane: Plane, now: float, moved: float) -> None:
    """Fill the queue with `moved` beats, and write since the last time: lead, queue, trail."""
    left = max(now - max(plane.begins, plane.settled), 0.0)
    plane.settled = now
    plane.queue += moved
    used = min(left, plane.lead / plane.share) if plane.share > 0 else left
    plane.lead = max(plane.lead - used * plane.share, 0.0)
    plane.held += used * (1 - plane.share)
    left -= used
    if plane.queue > DUST:
        plane.held += left * (1 - speed(plane) / plane.rate)
    emptied = min(plane.queue, left * speed(plane))
    plane.queue -= emptied
    left -= emptied / speed(plane) if emptied else 0.0
    if plane.arrived:
        plane.trail = max(plane.trail - left * plane.share, 0.0)


@compiled
def written_at(plane: Plane, now: float) -> float:
    """When the last word is written, should nothing more come and nothing change."""
    settle_plane(plane, now, 0.0)
    end = _lead_end(plane, now)
    if plane.queue > DUST:
        end += plane.queue / speed(plane) if speed(plane) > 0 else INF
    if plane.trail > DUST:
        end += plane.trail / plane.share if plane.share > 0 else INF
    return end


@compiled
def speed(plane: Plane) -> float:
    """Beats a cycle that leave the queue: `rate`, or less when the buffer is the limit."""
    return min(plane.rate, plane.share / plane.writes)


@compiled
def _is_emptying(plane: Plane, now: float) -> bool:
    return plane.begins <= now and plane.lead <= DUST


@compiled
def _lead_end(plane: Plane, now: float) -> float:
    start = max(now, plane.begins)
    if plane.lead <= DUST:
        return start
    return start + plane.lead / plane.share if plane.share > 0 else INF


@compiled
def update_load_ready(run: Run) -> None:
    """Say from when on the load unit takes another instruction."""
    load = run.load
    run.queues[LOAD].ready = load.requests_ready if load.inside < LOAD_INSIDE else INF
