"""The memory outside the npu, as the simulator sees it: latency and one shared bandwidth.

The contract, which the memory of the RTL test bench keeps too:

- An address is accepted every cycle while fewer than 16 bursts of its direction are outstanding.
- The first beat of a read comes `latency` cycles after its address was accepted at the earliest;
  reads return in order.
- One beat moves a cycle, reads and writes together; when both want to, they alternate.
- A write burst is acknowledged `latency` cycles after its last beat.

The npu's side of the channels is here as well: bursts of fetch go before bursts of load, and a
burst of load is requested only while fewer than 256 beats of load are outstanding.

Bursts are not stepped beat by beat.  Between events the head of each direction moves at a constant
rate: one beat a cycle alone, an even share when both directions are busy, less when the npu's end
of the burst takes or gives less.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from intaglio.sim.engine import Events

OUTSTANDING = 16
"""Bursts of one direction between address and last beat (reads) or acknowledgement (writes)."""
READ_AHEAD = 256
"""Beats of load outstanding from which on no further burst of load is requested."""
QUEUE_BEATS = 64
"""Beats of load that wait in the npu for their word to be written."""
_DUST = 1e-6
"""Beats that rounding may leave of a burst that is over."""


@dataclass(slots=True)
class Port:
    """The npu's end of a burst, as it gives or takes beats at a constant rate.

    opens       cycle of the first beat
    rate        beats a cycle with a buffer's port to itself
    share       what it gets of that port, 0 to 1
    held        cycles in which the port was the limit
    """

    opens: float = 0.0
    rate: float = 1.0
    share: float = 1.0
    held: float = 0.0

    def wish(self, now: float) -> float:
        """Beats a cycle from `now` on."""
        return min(1.0, self.rate * self.share) if self.opens <= now else 0.0

    def settle(self, now: float, elapsed: float, moved: float) -> None:
        """Note that `moved` beats went through in the `elapsed` cycles up to `now`."""
        if moved > 0 and self.share < 1 and moved >= elapsed * self.rate * self.share:
            self.held += elapsed - moved / min(1.0, self.rate)

    def next_change(self, now: float, rate: float) -> float:
        """When `wish` changes by itself while beats move at `rate`."""
        return self.opens if self.opens > now else math.inf


@dataclass(slots=True)
class QueuedPort(Port):
    """An end that takes a beat a cycle into a queue and empties it at `rate * share`.

    begins      cycle from which on the queue is emptied
    queue       beats in the queue in cycle `settled`
    """

    begins: float = 0.0
    queue: float = 0.0
    settled: float = 0.0

    def wish(self, now: float) -> float:
        """A beat a cycle until the queue is full, then what leaves it."""
        if self.opens > now:
            return 0.0
        if self.queue < QUEUE_BEATS - _DUST:
            return 1.0
        return min(1.0, self.rate * self.share) if self.begins <= now else 0.0

    def settle(self, now: float, elapsed: float, moved: float) -> None:
        """Fill the queue, and empty it since the last time."""
        emptying = max(now - max(self.begins, self.settled), 0.0)
        self.settled = now
        if self.queue + moved > _DUST:
            self.held += emptying * (1 - self.share)
        self.queue = max(self.queue + moved - emptying * self.rate * self.share, 0.0)

    def next_change(self, now: float, rate: float) -> float:
        """When the queue is full at the latest, or begins to be emptied."""
        if self.opens > now:
            return self.opens
        if self.begins > now and self.queue >= QUEUE_BEATS - _DUST:
            return self.begins
        growth = rate - (self.rate * self.share if self.begins <= now else 0.0)
        room = QUEUE_BEATS - self.queue
        if room <= _DUST or growth <= 0:
            return math.inf
        full = now + room / growth
        return full if self.begins <= now else min(full, self.begins)

    def empty_at(self, now: float) -> float:
        """When the queue is empty, should nothing more come and nothing change."""
        self.settle(now, 0.0, 0.0)
        start = max(now, self.begins)
        if self.queue <= _DUST or start == math.inf:
            return start
        return start + self.queue / (self.rate * self.share) if self.share > 0 else math.inf


@dataclass(slots=True)
class Burst:
    """`beats` consecutive beats: a burst, or a part of one whose `closes` says it is the last.

    earliest    cycle in which its address can be given at the earliest
    requested   called with the cycle in which the address was accepted
    moved       called when the last beat has moved (reads) or was acknowledged (writes)
    """

    beats: float
    port: Port
    earliest: float
    closes: bool = True
    requested: Callable[[float], None] | None = None
    moved: Callable[[], None] | None = None
    ready: float = math.inf


class _Channel:
    """One direction: bursts whose address was accepted, oldest first, and the head's rate."""

    __slots__ = ("address_cycle", "bursts", "outstanding", "rate")

    def __init__(self) -> None:
        self.bursts: deque[Burst] = deque()
        self.outstanding = 0
        self.address_cycle = -1.0
        self.rate = 0.0

    def accept(self, waiting: deque[Burst], now: float, delay: int) -> float:
        """Give the address of the burst at the head of `waiting`; return its beats."""
        beats = 0.0
        address = max(now, waiting[0].earliest, self.address_cycle + 1)
        self.address_cycle = math.ceil(address)
        self.outstanding += 1
        while True:
            part = waiting.popleft()
            part.ready = self.address_cycle + delay
            beats += part.beats
            self.bursts.append(part)
            if part.requested is not None:
                part.requested(self.address_cycle)
            if part.closes:
                return beats

    def wish(self, now: float) -> float:
        """Beats a cycle that the head could move now, were it alone."""
        if not self.bursts or self.bursts[0].ready > now:
            return 0.0
        port = self.bursts[0].port
        port.settle(now, 0.0, 0.0)
        return port.wish(now)

    def advance(self, now: float, elapsed: float) -> float:
        """Move the head at its rate for `elapsed` cycles up to `now`; return the beats moved."""
        if not self.bursts:
            return 0.0
        moved = elapsed * self.rate
        self.bursts[0].beats -= moved
        self.bursts[0].port.settle(now, elapsed, moved)
        return moved

    def next_change(self, now: float) -> float:
        """When the head ends at its rate, may begin, or changes its rate."""
        if not self.bursts:
            return math.inf
        head = self.bursts[0]
        if head.ready > now:
            return head.ready
        change = head.port.next_change(now, self.rate)
        return min(change, now + head.beats / self.rate) if self.rate > 0 else change


class Memory:
    """Serves bursts of fetch, load and store on the clock of `events`.

    `write_delay` is the npu's, in cycles from a write burst's address to its first beat.
    """

    def __init__(self, events: Events, latency: int, write_delay: int) -> None:
        self.events = events
        self.latency = latency
        self.write_delay = write_delay
        self._fetches: deque[Burst] = deque()
        self._loads: deque[Burst] = deque()
        self._stores: deque[Burst] = deque()
        self._read = _Channel()
        self._write = _Channel()
        self._ahead = 0.0
        self._fetch_port = Port()
        self._settled = 0.0
        self._plan = 0

    def fetch(self, parts: Iterable[tuple[int, Callable[[], None]]], earliest: float) -> None:
        """Queue one burst of the program, in parts of some beats with what to call after each."""
        chosen = tuple(parts)
        for position, (beats, moved) in enumerate(chosen, start=1):
            closes = position == len(chosen)
            self._fetches.append(
                Burst(beats, self._fetch_port, earliest, closes=closes, moved=moved)
            )
        self.refresh()

    def load(self, bursts: Iterable[Burst]) -> None:
        """Queue the reads of one LOAD."""
        self._loads.extend(bursts)
        self.refresh()

    def store(self, bursts: Iterable[Burst]) -> None:
        """Queue the writes of one STORE."""
        self._stores.extend(bursts)
        self.refresh()

    def refresh(self) -> None:
        """Take note that a queue or a port has changed, or that time has come."""
        now = self.events.now
        self._settle(now)
        self._request(now)
        self._share(now)
        self._plan_next(now)

    def _settle(self, now: float) -> None:
        """Move the heads at their rates up to `now`, and end what is over."""
        elapsed, self._settled = now - self._settled, now
        moved = self._read.advance(now, elapsed)
        if moved and self._read.bursts[0].port is not self._fetch_port:
            self._ahead -= moved
        self._write.advance(now, elapsed)
        for channel, end in ((self._read, self._end_read), (self._write, self._end_write)):
            if channel.bursts and channel.bursts[0].beats <= _DUST:
                end(channel.bursts.popleft(), now)
            channel.rate = 0.0

    def _end_read(self, burst: Burst, now: float) -> None:
        self._read.outstanding -= burst.closes
        if burst.moved is not None:
            self.events.at(math.ceil(now - _DUST), burst.moved)

    def _end_write(self, burst: Burst, now: float) -> None:
        def acknowledge() -> None:
            self._write.outstanding -= 1
            if burst.moved is not None:
                burst.moved()
            if self._stores:
                self.refresh()

        self.events.at(math.ceil(now - _DUST) + self.latency, acknowledge)

    def _request(self, now: float) -> None:
        read, write = self._read, self._write
        while read.outstanding < OUTSTANDING:
            if self._fetches:
                read.accept(self._fetches, now, self.latency)
            elif self._loads and self._ahead < READ_AHEAD - 1 + _DUST:
                self._ahead += read.accept(self._loads, now, self.latency)
            else:
                break
        while write.outstanding < OUTSTANDING and self._stores:
            write.accept(self._stores, now, self.write_delay)

    def _share(self, now: float) -> None:
        """Split the bandwidth: evenly, unless one direction wants less than half."""
        reads, writes = self._read.wish(now), self._write.wish(now)
        if reads + writes > 1:
            reads, writes = (
                max(min(reads, 0.5), 1 - writes),
                max(min(writes, 0.5), 1 - reads),
            )
        self._read.rate, self._write.rate = reads, writes

    def _plan_next(self, now: float) -> None:
        when = min(self._read.next_change(now), self._write.next_change(now))
        if self._loads and self._read.rate > 0 and self._read.outstanding < OUTSTANDING:
            excess = self._ahead - (READ_AHEAD - 1)
            if excess > 0 and self._read.bursts[0].port is not self._fetch_port:
                when = min(when, now + excess / self._read.rate)
        self._plan += 1
        if when < math.inf:
            plan = self._plan
            self.events.at(when, lambda: self.refresh() if plan == self._plan else None)
