"""Everything that the simulator of the npu knows while it runs, as tables of records.

`Tables` is what a Program asks for, filled by `plan`, and what becomes of its instructions.  `Run`
is what changes while it runs, one record that machine code hands around as one pointer: `engine`,
`issue`, `units` and what `transfers` calls are the functions that change it.  Cycles are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from intaglio.sim.compiled import Table, part, several
from intaglio.sim.registers import (
    INF,
    OUTSTANDING,
    Burst,
    LoadUnit,
    Memory,
    Pair,
    Runs,
    StoreUnit,
    Transfers,
    WindowUnit,
    Word,
    Words,
    Writer,
)

LOAD, COMPUTE, VECTOR, STORE, WINDOW = range(5)
"""The units, as `isa.Unit` has them."""
UNITS = 5
ROOM = 16
"""Room in rings for the instructions inside a unit."""
WINDOW_ROOM = 32
"""Room for words of the window unit between read and write."""
HELD = 256
"""Cycles of the window unit of which it is known what it had of the ports."""
EVENTS = 512
"""Events that can wait: a few for every instruction inside, which queues bound."""
ACTIVATION, WEIGHT = range(2)
"""The buffers, as `isa.Buffer` has them."""


@dataclass(slots=True)
class Constants:
    """What the design and the program fix.

    latency             cycles of memory
    read_ahead          beats of load outstanding from which on no burst is asked for
    groups              slices of the weight buffer
    beat_bytes          bytes of a beat
    word_beats          beats of a word
    fetch_beats         beats of an instruction
    count               instructions
    """

    latency: int = 0
    read_ahead: int = 0
    groups: int = 0
    beat_bytes: int = 0
    word_beats: int = 0
    fetch_beats: int = 0
    count: int = 0


@dataclass(slots=True)
class Task:
    """One instruction: what it is, and the cycles of what becomes of it.

    unit        its unit
    pop, push   masks of the units whose tokens it takes, and to which it gives one
    sync        whether it is tokens only
    mark        whether a layer ends with it
    work        its record in the table of what its unit does: tiles, reads, gathers or boxes
    queued      cycle in which fetch deals it to its queue
    issued      cycle of its issue
    retired     cycle in which it retires
    """

    unit: int
    pop: int
    push: int
    sync: bool
    mark: bool
    work: int
    queued: int = INF
    issued: int = INF
    retired: int = INF


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
    """A vector instruction in time: see `patterns.Pattern`.

    cycles              from its issue to its retirement
    stalls              those in which its own writes hold up its reads
    pattern, watched    place and length in `ports` of what it takes of the buffers' ports
    """

    cycles: int
    stalls: int
    pattern: int
    watched: int


@dataclass(slots=True)
class Gather:
    """A window: its steps are [first, end) of `ports`."""

    first: int
    end: int


@dataclass(slots=True)
class Box:
    """A LOAD or STORE.

    buffer                  where a load writes to
    planes, rows, words     in memory, and padding around the rows (none of a store)
    runs, beats             of a plane: runs of consecutive beats; no runs when nothing is in memory
    address                 of the first run, with the way to the next run and plane, in bytes
    local                   address in the buffer, with the way to the next row and plane, in words
    """

    buffer: int = 0
    planes: int = 0
    rows: int = 0
    words: int = 0
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    runs: int = 0
    beats: int = 0
    address: int = 0
    run_stride: int = 0
    plane_stride: int = 0
    local: int = 0
    local_row_stride: int = 0
    local_plane_stride: int = 0


FIRST_SERIAL = 8
"""Smaller serials are those of retirements, in the order of the units."""


@dataclass(slots=True)
class Clock:
    """The present cycle, the serial of the newest event, how many are pending, the last mark."""

    now: int = 0
    serial: int = FIRST_SERIAL
    pending: int = 0
    marked: int = -1


@dataclass(slots=True)
class Event:
    """What is to be done at a time; of equal times the smaller serial comes first."""

    time: int = INF
    serial: int = 0
    kind: int = 0
    argument: int = 0


@dataclass(slots=True)
class Queue:
    """The instructions of one unit, as places in `order`.

    Those in [issued, dealt) are in the queue and those in [retired, issued) inside the unit.
    `ready` is the first cycle in which the unit takes another; `planned`, when it is looked at;
    `newest` and `gone`, when the last one was issued and retired.
    """

    dealt: int = 0
    issued: int = 0
    retired: int = 0
    ready: int = 0
    planned: int = -1
    newest: int = -1
    gone: int = -1


@dataclass(slots=True)
class Fetch:
    """Instructions that were asked of memory, that arrived and that were dealt to a queue.

    waiting     beats of the run that is cut into bursts, and `next` their address
    beats       those of the present instruction that came
    """

    asked: int = 0
    arrived: int = 0
    dealt: int = 0
    next_deal: int = 0
    waiting: int = 0
    next: int = 0
    beats: int = 0


@dataclass(slots=True)
class Array:
    """The array: first cycle in which no vector so far is read, and cycles spent on fills."""

    free: int = 0
    fill_stall: int = 0


@dataclass(slots=True)
class VectorUnit:
    """The newest instruction: the cycle after its issue, what it takes of ports from that cycle on
    (place and length in `ports`), and all cycles in which such held up their own reads.
    """

    begins: int = 0
    pattern: int = 0
    watched: int = 0
    stall: int = 0


class Tables(NamedTuple):
    """A Program: `order` has its instructions unit by unit, those of a unit from `first` on.

    `ports` holds what vector instructions take of ports and what windows ask of them, one behind
    the other (`port.py`); `address` is that of the program in memory.
    """

    constants: Table[Constants]
    address: int
    tasks: Table[Task]
    order: Sequence[int]
    first: Sequence[int]
    tiles: Table[Tiles]
    reads: Table[Reads]
    gathers: Table[Gather]
    boxes: Table[Box]
    ports: Sequence[int]


@dataclass(slots=True)
class Run:
    """One simulation.

    Instructions inside a unit are known by their place in `order`: `finished` has, for each unit,
    a ring of the cycles in which they can retire, `loads` the places of those in the load unit, and
    `load_boxes` and `store_boxes` what they move.  `tokens[a][b]` counts those of `a` for `b`;
    `window_words` is the ring of words of the window unit, `held` that of the ports which it and
    the vector unit had in its last cycles.
    """

    constants: Constants = part(Constants)
    clock: Clock = part(Clock)
    events: Table[Event] = several(Event, EVENTS)
    queues: Table[Queue] = several(Queue, UNITS)
    finished: list[list[int]] = several(int, UNITS, ROOM)
    fetch: Fetch = part(Fetch)
    tokens: list[list[int]] = several(int, UNITS, UNITS)
    transfers: Transfers = part(Transfers)
    memory: Memory = part(Memory)
    bursts: Table[Burst] = several(Burst, OUTSTANDING)
    writer: Writer = part(Writer)
    writes: Table[Burst] = several(Burst, OUTSTANDING)
    loads: list[int] = several(int, ROOM)
    load: LoadUnit = part(LoadUnit)
    load_boxes: list[Box] = several(Box, ROOM)
    load_runs: Runs = part(Runs)
    load_words: Words = part(Words)
    store: StoreUnit = part(StoreUnit)
    store_boxes: list[Box] = several(Box, ROOM)
    store_runs: Runs = part(Runs)
    store_words: Words = part(Words)
    array: Array = part(Array)
    vector: VectorUnit = part(VectorUnit)
    window: WindowUnit = part(WindowUnit)
    window_words: Table[Word] = several(Word, WINDOW_ROOM)
    held: list[int] = several(int, HELD)
    pair: Pair = part(Pair)
