"""Everything that the simulator of the npu knows while it runs, as tables of records.

`Run` holds them.  `plan` fills what a Program asks for; `engine`, `issue`, `units` and what
`transfers` calls are the functions that change the rest.  Cycles are integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from intaglio.sim.compiled import Table
from intaglio.sim.registers import (
    INF,
    Burst,
    LoadUnit,
    Memory,
    Runs,
    StoreUnit,
    Transfers,
    WindowUnit,
    Words,
    Writer,
)

LOAD, COMPUTE, VECTOR, STORE, WINDOW = range(5)
"""The units, as `isa.Unit` has them."""
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
    """

    latency: int = 0
    read_ahead: int = 0
    groups: int = 0
    beat_bytes: int = 0
    word_beats: int = 0
    fetch_beats: int = 0


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
    finished    cycle in which it can retire
    retired     cycle in which it does
    """

    unit: int
    pop: int
    push: int
    sync: bool
    mark: bool
    work: int
    queued: int = INF
    issued: int = INF
    finished: int = INF
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
    pattern, watched    place and length in `taken` of what it takes of the buffers' ports
    """

    cycles: int
    stalls: int
    pattern: int
    watched: int


@dataclass(slots=True)
class Gather:
    """A window: its steps are [first, end) of `steps`."""

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

    buffer: int
    planes: int
    rows: int
    words: int
    top: int
    bottom: int
    left: int
    right: int
    runs: int
    beats: int
    address: int
    run_stride: int
    plane_stride: int
    local: int
    local_row_stride: int
    local_plane_stride: int


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
    """The newest instruction: its record in `reads`, and the cycle after its issue.

    `stall` are the cycles in which the unit's writes held up its own reads.
    """

    work: int = -1
    begins: int = 0
    stall: int = 0


class Run(NamedTuple):
    """One simulation: tables, and single records, of which there is one.

    `taken` holds what vector instructions take of ports, one behind the other, and `steps` those of
    windows (`window.py`); `order` the instructions unit by unit; `tokens[a][b]` counts those of `a`
    for `b`; `loads` is the ring of the load unit's instructions, `window_words` that of words of
    the window unit: the cycle in which each can be written, and its bank.
    """

    constants: Constants
    tasks: Table[Task]
    tiles: Table[Tiles]
    reads: Table[Reads]
    gathers: Table[Gather]
    boxes: Table[Box]
    taken: Sequence[int]
    steps: Sequence[int]
    order: Sequence[int]
    clock: Clock
    events: Table[Event]
    queues: Table[Queue]
    fetch: Fetch
    tokens: Sequence[list[int]]
    transfers: Transfers
    memory: Memory
    bursts: Table[Burst]
    writer: Writer
    writes: Table[Burst]
    loads: list[int]
    load: LoadUnit
    load_runs: Runs
    load_words: Words
    store: StoreUnit
    store_runs: Runs
    store_words: Words
    array: Array
    vector: VectorUnit
    window: WindowUnit
    window_words: Sequence[list[int]]
