"""Everything that the simulator of the npu knows while it runs, as tables of records.

`Run` holds them.  `plan` fills what a Program asks for; `engine`, `memory`, `units`, `load` and
`issue` are the functions that change the rest.  Cycles are floats, as bursts move at fractions of a
beat a cycle; infinite is what has not come yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from intaglio.sim.compiled import Table

INF = math.inf
LOAD, COMPUTE, VECTOR, STORE = range(4)
"""The units, as `isa.Unit` has them."""
ACTIVATION, WEIGHT = range(2)
"""The buffers, as `isa.Buffer` has them."""
FETCHES, LOADS, STORES = range(3)
"""The queues of bursts."""
READ, WRITE = range(2)
"""The directions of memory."""


@dataclass(slots=True)
class Constants:
    """What the design and the program fix.

    latency             cycles of memory
    read_ahead          beats of load outstanding at most, and one more
    beat_bytes          bytes of a beat
    fetch_beats         beats of an instruction
    beat_to_step        cycles from a beat's arrival to the load writer's step with it
    fills_alone         whether constants of the vector unit take the whole port of the weights
    """

    latency: int = 0
    read_ahead: int = 0
    beat_bytes: int = 0
    fetch_beats: int = 0
    beat_to_step: int = 0
    fills_alone: bool = False


@dataclass(slots=True)
class Task:
    """One instruction: what it is, and the cycles of what becomes of it.

    unit        its unit
    pop, push   masks of the units whose tokens it takes, and to which it gives one
    sync        whether it is tokens only
    work        its record in the table of what its unit does: tiles, reads or boxes
    queued      cycle in which fetch deals it to its queue
    issued      cycle of its issue
    finished    cycle in which it can retire
    retired     cycle in which it does
    """

    unit: int
    pop: int
    push: int
    sync: bool
    work: int
    queued: float = INF
    issued: float = INF
    finished: float = INF
    retired: float = INF


@dataclass(slots=True)
class Tiles:
    """A COMPUTE: weight tiles of `period` cycles, and its cycles on an idle array.

    fill    cycles in which the array takes a weight tile
    """

    tiles: int
    pixels: int
    fill: int
    period: int
    cycles: int


@dataclass(slots=True)
class Reads:
    """A vector instruction in time.

    setup       cycles that read its constants
    reads       cycles that issue its reads, when no port holds one up
    stalls      cycles in which its own writes do
    share       words a cycle that it leaves of the activation buffer's port
    results     of a NORM, cycles from its first read to its second pass
    results_share   what that one leaves of the port
    """

    setup: int
    reads: int
    stalls: int
    share: float
    results: int = 0
    results_share: float = 1.0


@dataclass(slots=True)
class Box:
    """A LOAD or STORE in time; the planes are alike but for their addresses.

    buffer                  where a load writes to
    lead, inside, trail     words of a plane written to the buffer before, between and after the
                            first and the last word from memory (no lead and trail in a store)
    passing                 cycles that its beats take from the queue to the buffer, with the fill
                            words between them
    fill                    words written when nothing comes from memory
    planes                  planes with words in memory, of `runs` runs of `beats` beats each
    address                 of the first run, with the way to the next run and plane, in bytes
    """

    buffer: int
    lead: int
    inside: int
    trail: int
    passing: int
    fill: int
    planes: int
    runs: int
    beats: int
    address: int
    run_stride: int
    plane_stride: int


@dataclass(slots=True)
class Clock:
    """The present cycle, how many events there were, and how many are pending."""

    now: float = 0.0
    serial: int = 0
    pending: int = 0


@dataclass(slots=True)
class Event:
    """What is to be done at a time; of equal times the smaller serial comes first."""

    time: float = INF
    serial: int = 0
    kind: int = 0
    argument: int = 0


@dataclass(slots=True)
class Queue:
    """The instructions of one unit, as places in `order`.

    Those in [issued, dealt) are in the queue and those in [retired, issued) inside the unit.
    `ready` is the first cycle in which the unit takes another; `planned`, when it is looked at.
    """

    dealt: int = 0
    issued: int = 0
    retired: int = 0
    ready: float = 0.0
    planned: float = -1.0


@dataclass(slots=True)
class Fetch:
    """Instructions that were asked of memory, that arrived and that were dealt to a queue."""

    asked: int = 0
    arrived: int = 0
    dealt: int = 0
    next_deal: float = 0.0


@dataclass(slots=True)
class Burst:
    """`beats` consecutive beats: a burst, or a part of one whose `closes` says it is the last.

    queue       FETCHES, LOADS or STORES
    earliest    cycle in which its address can be given at the earliest
    ready       cycle of its first beat at the earliest, once its address was accepted
    last        whether its plane (load) or its instruction (store) ends with it
    plane       of a load: place of its plane in `planes`
    awaited     of a load: whether the unit's walker waits for its address
    task        of a store: its instruction
    """

    beats: float = 0.0
    queue: int = 0
    earliest: float = 0.0
    ready: float = INF
    closes: bool = True
    last: bool = False
    plane: int = 0
    awaited: bool = False
    task: int = 0


@dataclass(slots=True)
class BurstQueue:
    """A ring in `bursts` from `base` on: [first, end) wait for their address."""

    base: int
    size: int
    first: int = 0
    end: int = 0


@dataclass(slots=True)
class Channel:
    """One direction: [first, end) of a ring of bursts whose address was accepted.

    `outstanding` counts whole ones; the head moves at `rate` beats a cycle.
    """

    first: int = 0
    end: int = 0
    outstanding: int = 0
    address_cycle: float = -1.0
    rate: float = 0.0


@dataclass(slots=True)
class Memory:
    """Beats of load that are outstanding, and the cycle up to which all beats are moved."""

    ahead: float = 0.0
    settled: float = 0.0


@dataclass(slots=True)
class Plane:
    """A plane of a load, or a load of fill words alone, and its way into the buffer.

    Beats come in one a cycle and wait in a queue; words are written from there to the buffer.

    task, buffer    whose plane it is, and where its words go
    last            whether its load ends with it
    first_step      cycle of the writer's first step at the earliest
    opens           cycle of the first beat
    begins          cycle of the first write
    rate            beats a cycle that leave the queue with the buffer's port to itself
    share           what it gets of that port, 0 to 1
    writes          words that are written for a beat
    lead            words of fill still to be written before the first beat
    queue           beats that wait
    trail           words of fill still to be written after the last beat
    arrived         whether the last beat is in the queue or written
    settled         the cycle that `lead`, `queue` and `trail` are of
    held            cycles in which the port was the limit
    """

    task: int = 0
    buffer: int = 0
    last: bool = False
    first_step: float = 0.0
    opens: float = INF
    begins: float = INF
    rate: float = 1.0
    share: float = 1.0
    writes: float = 1.0
    lead: float = 0.0
    queue: float = 0.0
    trail: float = 0.0
    arrived: bool = False
    settled: float = 0.0
    held: float = 0.0


@dataclass(slots=True)
class LoadUnit:
    """[first, end) of a ring of planes wait or are written; requests run ahead of them.

    words               words moved at the buffer's side
    held                cycles in which the buffer's port was the limit
    inside              instructions whose last word is not written
    requests_ready      cycle in which the walker takes another instruction
    newest              place of the newest burst, or -1
    free                first cycle in which the writer is free
    """

    first: int = 0
    end: int = 0
    words: int = 0
    held: float = 0.0
    inside: int = 0
    requests_ready: float = 0.0
    newest: int = -1
    free: float = 0.0


@dataclass(slots=True)
class StoreUnit:
    """Reads of the buffer, bursts and acknowledgements are decoupled.

    `rate` beats a cycle go out with the activation buffer's port to itself, of which it has
    `share`; `held` are the cycles in which that was the limit.
    """

    words: int = 0
    inside: int = 0
    words_ready: float = 0.0
    rate: float = 1.0
    share: float = 1.0
    held: float = 0.0


@dataclass(slots=True)
class Array:
    """The array: first cycle in which no vector so far is read, and cycles spent on fills."""

    free: float = 0.0
    fill_stall: float = 0.0


@dataclass(slots=True)
class VectorUnit:
    """Cycles in which the vector unit's writes held up its own reads."""

    stall: int = 0


class Run(NamedTuple):
    """One simulation: tables, and single records, of which there is one.

    `order` holds the instructions unit by unit; `tokens[a][b]` counts those of `a` for `b`;
    `moving` are the rings of the channels and `shares` what load gets of each buffer's port.
    """

    constants: Constants
    tasks: Table[Task]
    tiles: Table[Tiles]
    reads: Table[Reads]
    boxes: Table[Box]
    order: Sequence[int]
    clock: Clock
    events: Table[Event]
    replanned: Table[Event]
    queues: Table[Queue]
    fetch: Fetch
    tokens: Sequence[list[int]]
    bursts: Table[Burst]
    waiting: Table[BurstQueue]
    channels: Table[Channel]
    moving: Sequence[list[int]]
    memory: Memory
    planes: Table[Plane]
    shares: list[float]
    load: LoadUnit
    store: StoreUnit
    array: Array
    vector: VectorUnit
