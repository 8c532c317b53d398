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
QUEUE_BEATS = 64
"""Beats of load that wait in the npu for their word to be written."""
DUST = 1e-6
"""Beats, words and cycles below this are what rounding left."""


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
    """An end that takes a beat a cycle into a queue, and writes words from there to a buffer.

    begins      cycle of its first write
    lead        words of fill still to be written before the first beat
    queue       beats that wait
    trail       words of fill still to be written after the last beat
    writes      words that are written for a beat
    arrived     whether the last beat is in the queue or written
    settled     the cycle that `lead`, `queue` and `trail` are of
    """

    begins: float = 0.0
    lead: float = 0.0
    queue: float = 0.0
    trail: float = 0.0
    writes: float = 1.0
    arrived: bool = False
    settled: float = 0.0

    @property
    def speed(self) -> float:
        """Beats a cycle that leave the queue: `rate`, or less when the buffer is the limit."""
        return min(self.rate, self.share / self.writes)

    def wish(self, now: float) -> float:
        """A beat a cycle until the queue is full, then what leaves it."""
        if self.opens > now:
            return 0.0
        if self.queue < QUEUE_BEATS - DUST:
            return 1.0
        return self.speed if self._emptying(now) else 0.0

    def settle(self, now: float, elapsed: float, moved: float) -> None:
        """Fill the queue, and write since the last time: lead, queue, trail."""
        left = max(now - max(self.begins, self.settled), 0.0)
        self.settled = now
        self.queue += moved
        used = min(left, self.lead / self.share) if self.share > 0 else left
        self.lead = max(self.lead - used * self.share, 0.0)
        self.held += used * (1 - self.share)
        left -= used
        if self.queue > DUST:
            self.held += left * (1 - self.speed / self.rate)
        emptied = min(self.queue, left * self.speed)
        self.queue -= emptied
        left -= emptied / self.speed if emptied else 0.0
        if self.arrived:
            self.trail = max(self.trail - left * self.share, 0.0)

    def _emptying(self, now: float) -> bool:
        return self.begins <= now and self.lead <= DUST

    def _lead_end(self, now: float) -> float:
        start = max(now, self.begins)
        if self.lead <= DUST:
            return start
        return start + self.lead / self.share if self.share > 0 else math.inf

    def next_change(self, now: float, rate: float) -> float:
        """When the queue is full at the latest, or begins to be emptied."""
        if self.opens > now:
            return self.opens
        emptying = self._emptying(now)
        begins = math.inf if emptying else self._lead_end(now)
        room = QUEUE_BEATS - self.queue
        if room <= DUST:
            return begins
        growth = rate - (self.speed if emptying else 0.0)
        return min(begins, now + room / growth) if growth > 0 else begins

    def written_at(self, now: float) -> float:
        """When the last word is written, should nothing more come and nothing change."""
        self.settle(now, 0.0, 0.0)
        end = self._lead_end(now)
        for amount, speed in ((self.queue, self.speed), (self.trail, self.share)):
            if amount > DUST:
                end += amount / speed if speed > 0 else math.inf
        return end


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

    def __init__(self, events: Events, latency: int, write_delay: int, read_ahead: int) -> None:
        self.events = events
        self.latency = latency
        self.write_delay = write_delay
        self.read_ahead = read_ahead
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
            if channel.bursts and channel.bursts[0].beats <= DUST:
                end(channel.bursts.popleft(), now)
            channel.rate = 0.0

    def _end_read(self, burst: Burst, now: float) -> None:
        self._read.outstanding -= burst.closes
        if burst.moved is not None:
            self.events.at(math.ceil(now - DUST), burst.moved)

    def _end_write(self, burst: Burst, now: float) -> None:
        def acknowledge() -> None:
            self._write.outstanding -= 1
            if burst.moved is not None:
                burst.moved()
            if self._stores:
                self.refresh()

        self.events.at(math.ceil(now - DUST) + self.latency, acknowledge)

    def _request(self, now: float) -> None:
        """Give the addresses whose time has come, fetch first; writes have their own channel."""
        read, write = self._read, self._write
        while self._next_address() <= now:
            if self._fetches and self._fetches[0].earliest <= now:
                read.accept(self._fetches, now, self.latency)
            else:
                self._ahead += read.accept(self._loads, now, self.latency)
        while write.outstanding < OUTSTANDING and self._stores:
            write.accept(self._stores, now, self.write_delay)

    def _next_address(self) -> float:
        """When the next address of a read can be given; infinite while nothing may be."""
        when = math.inf
        if self._read.outstanding < OUTSTANDING:
            if self._fetches:
                when = self._fetches[0].earliest
            if self._loads and self._ahead < self.read_ahead - 1 + DUST:
                when = min(when, self._loads[0].earliest)
        return max(when, self._read.address_cycle + 1)

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
        when = min(self._read.next_change(now), self._write.next_change(now), self._next_address())
        if self._loads and self._read.rate > 0 and self._read.outstanding < OUTSTANDING:
            excess = self._ahead - (self.read_ahead - 1)
            if excess > DUST and self._read.bursts[0].port is not self._fetch_port:
                when = min(when, now + excess / self._read.rate)
        self._plan += 1
        if when < math.inf:
            plan = self._plan
            self.events.at(when, lambda: self.refresh() if plan == self._plan else None)
