"""The registers of what moves data: of memory, load and store, as their modules have them."""

from __future__ import annotations

from dataclasses import dataclass

INF = 1 << 60
"""The cycle of what has not come yet."""
OUTSTANDING = 16
"""Bursts of one direction between address and last beat (reads) or acknowledgement (writes)."""


@dataclass(slots=True)
class Transfers:
    """The cycle in which memory, load and store are looked at next, and the one after the last."""

    cycle: int = 1
    settled: int = 1


@dataclass(slots=True)
class Runs:
    """Requests of the box at `place`: npu_box_runs, and axi_burst_split behind it.

    setup, walking          a box was taken in the cycle before, or has runs left
    runs, planes            left, with the address of the next run and of its plane
    left, next, ends        beats of the run that is cut into bursts, their address, and the place
                            of the instruction that ends with it, or -1
    """

    place: int = 0
    setup: bool = False
    walking: bool = False
    runs: int = 0
    planes: int = 0
    address: int = 0
    plane: int = 0
    left: int = 0
    next: int = 0
    ends: int = -1


@dataclass(slots=True)
class Words:
    """npu_box_words: the next word of the box of the instruction at `place`, padding included."""

    place: int = 0
    active: bool = False
    column: int = 0
    row: int = 0
    planes: int = 0
    address: int = 0
    row_address: int = 0
    plane_address: int = 0


@dataclass(slots=True)
class Burst:
    """A burst whose address was given: `beats` left of a read, or all of a write.

    loads       of a read, whether load asked for it, and not fetch
    ready       first cycle of a read's data, or of a write's acknowledgement
    place       of a write: that of the instruction that ends with it, or -1
    """

    loads: bool = False
    beats: int = 0
    ready: int = INF
    place: int = -1


@dataclass(slots=True)
class Memory:
    """Memory and npu_reader: reads [first, end) of a ring have their address.

    outstanding     bursts whose last beat has not come
    ahead           beats of load that have not
    held            whether a beat is presented and not taken
    wrote           whether the last beat that moved was written
    """

    first: int = 0
    end: int = 0
    outstanding: int = 0
    ahead: int = 0
    held: bool = False
    wrote: bool = False


@dataclass(slots=True)
class LoadUnit:
    """npu_load, behind its requests.

    first, begun, end       instructions in a ring: written wholly, begun, and taken
    boxes, box              in the queue's RAM, and whether one is at its output
    queued, beat, joined    beats in the queue's RAM, whether one is at its output, and those joined
    writing                 whether the write register has a word, or the end of an empty box
    present, last, buffer, address      of that word
    spare                   whether its spare has the next one, with spare_present, ...
    starved, blocked        cycles without data, and without the buffer's port
    waits                   whether it is starved until something moves
    """

    first: int = 0
    begun: int = 0
    end: int = 0
    boxes: int = 0
    box: bool = False
    queued: int = 0
    beat: bool = False
    joined: int = 0
    writing: bool = False
    present: bool = False
    last: bool = False
    buffer: int = 0
    address: int = 0
    spare: bool = False
    spare_present: bool = False
    spare_last: bool = False
    spare_buffer: int = 0
    spare_address: int = 0
    starved: int = 0
    blocked: int = 0
    waits: bool = False


@dataclass(slots=True)
class StoreUnit:
    """npu_store, behind its requests.

    inside, finished, empty     instructions taken and not retired, those of them acknowledged, and
                                whether the newest has nothing to move
    asking, address             whether the register before the buffer's port has a word, and its
                                address
    spare, spare_address        likewise of its spare
    held                        words asked of the buffer that have not left the queue
    asked, read                 whether one was asked for one, and two cycles ago
    queued, word, split         words in the queue's RAM, whether one is at its output, and beats
                                left of the one that is split
    starved, blocked            cycles without memory, and without the buffer's port
    waits                       whether it is starved until something moves
    """

    inside: int = 0
    finished: int = 0
    empty: bool = False
    asking: bool = False
    address: int = 0
    spare: bool = False
    spare_address: int = 0
    held: int = 0
    asked: bool = False
    read: bool = False
    queued: int = 0
    word: bool = False
    split: int = 0
    starved: int = 0
    blocked: int = 0
    waits: bool = False


@dataclass(slots=True)
class WindowUnit:
    """npu_gather: the instruction at `place`, or none when that is -1.

    cycle               the one after the last that was taken, while there is an instruction
    next, end           its steps that are left
    written, words      words that are written, and all whose last read was issued
    stall               cycles in which a step waited for a port, or for room
    """

    place: int = -1
    cycle: int = 0
    next: int = 0
    end: int = 0
    written: int = 0
    words: int = 0
    stall: int = 0


@dataclass(slots=True)
class Pair:
    """What two streams were like in `cycle`: see `pairs.py`.

    state               registers that are no counts or addresses
    first, length       the bursts that are read and written, with `beats` and beats `left` of them
    the others          of load and store: row and column of the walk over words, addresses of the
                        words before the port, and the counters
    """

    cycle: int = -1
    state: int = 0
    first: int = 0
    length: int = 0
    beats: int = 0
    left: int = 0
    load_row: int = 0
    store_row: int = 0
    load_column: int = 0
    store_column: int = 0
    load_address: int = 0
    store_address: int = 0
    load_spare: int = 0
    store_spare: int = 0
    load_blocked: int = 0
    store_blocked: int = 0
    load_starved: int = 0
    store_starved: int = 0


@dataclass(slots=True)
class Word:
    """A word of the window unit: the first cycle of its write, and its bank as a bit."""

    ready: int = 0
    bank: int = 0


@dataclass(slots=True)
class Writer:
    """npu_writer: writes in a ring, whose lengths wait in a queue.

    first, sent, begun, length, end     acknowledged, with their last beat in memory, begun, out of
                                        the queue's RAM, and with their address given
    ready                               whether a length is at the queue's output
    active, left                        whether a burst takes beats, and how many after the next one
    beat, last                          whether a beat is on the channel, and is its burst's last
    """

    first: int = 0
    sent: int = 0
    begun: int = 0
    length: int = 0
    end: int = 0
    ready: bool = False
    active: bool = False
    left: int = 0
    beat: bool = False
    last: bool = False
