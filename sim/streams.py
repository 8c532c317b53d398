"""Several cycles of a steady stream at once: words that go from memory to a buffer, or back.

While a word moves through every register of its way in each cycle, and nothing else moves, cycles
differ in counts and addresses alone.  `leap` takes all of them; every other cycle is one step of
`transfers`.
"""

from __future__ import annotations

from collections.abc import Sequence

from intaglio.sim import box_words, engine, load, pairs, port, requests, store, window
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import OUTSTANDING
from intaglio.sim.state import ACTIVATION, HELD, ROOM, Run

WORTH = 4
"""Cycles from which on a leap costs less than steps."""
Pair = tuple[int, int]


@compiled
def leap(run: Run, ports: Sequence[int], now: int) -> int:
    """Take the cycles from `now` on in which one stream flows; return how many, or 0."""
    if run.constants.word_beats > 1:
        return 0
    cycles = 0
    if _flows_in(run, now):
        unit, walk = run.load, run.load_words
        most = min(_inwards(run), _until(run, now))
        if most >= WORTH:
            box = run.load_boxes[walk.place % ROOM]
            row = 1 + box_words.left_in_row(walk, box)
            cycles = _free(run, ports, now, unit.buffer, (unit.address, walk.address), (row, most))
            _move_in(run, cycles)
    elif _flows_out(run, now):
        walk = run.store_words
        most = min(_outwards(run, now), _until(run, now))
        if most >= WORTH:
            row = 1 + box_words.left_in_row(walk, run.store_boxes[walk.place % ROOM])
            words = run.store.address, walk.address
            cycles = _free(run, ports, now, ACTIVATION, words, (row, most))
            _move_out(run, cycles)
    elif run.load_words.active and run.store_words.active:
        most = _until(run, now)
        if most >= WORTH:
            cycles = pairs.leap(run, now, most)
    return cycles


@compiled
def _free(run: Run, ports: Sequence[int], now: int, buffer: int, words: Pair, most: Pair) -> int:
    """Cycles from `now` on in which a buffer takes the first of `words`, then those from the other.

    They are at most the second of `most`, and while others use the ports the first of it too.
    """
    if not (window.is_active(run) or port.is_used(run, now)):
        return most[1]
    cycle, end, active = 0, min(most[0], most[1], HELD - 1), window.is_active(run)
    while cycle < end:
        address = words[1] + cycle - 1 if cycle else words[0]
        held = window.held(run, ports, now + cycle)
        if port.is_taken(held, buffer, address, run.constants.groups):
            return cycle
        cycle += 1
        if active and not window.is_active(run):
            active, end = False, min(end, cycle + 1)
    return cycle


@compiled
def _until(run: Run, now: int) -> int:
    """Cycles from `now` on without event, request or acknowledgement."""
    cycles = min(engine.next_cycle(run) - now + 1, requests.still(run))
    writer = run.writer
    if writer.first < writer.sent:
        cycles = min(cycles, run.writes[writer.first % OUTSTANDING].ready - now)
    return cycles


@compiled
def _flows_in(run: Run, now: int) -> bool:
    """Whether a beat of load comes, one becomes a word and one is written, and store is still."""
    memory, unit, walk = run.memory, run.load, run.load_words
    if not (unit.beat and unit.queued and unit.writing and unit.present and walk.active):
        return False
    if (
        unit.last
        or unit.spare
        or memory.held
        or memory.first == memory.end
        or not store.is_still(run)
    ):
        return False
    burst = run.bursts[memory.first % OUTSTANDING]
    ready = burst.loads and burst.ready <= now and load.has_room(run)
    return ready and (unit.box or not unit.boxes)


@compiled
def _inwards(run: Run) -> int:
    """Cycles up to the last beat of the burst, or the last word before padding or the box's end."""
    box = run.load_boxes[run.load_words.place % ROOM]
    beats = run.bursts[run.memory.first % OUTSTANDING].beats
    return min(beats, box_words.ahead(run.load_words, box)) - 1


@compiled
def _move_in(run: Run, cycles: int) -> None:
    """Let load's stream flow."""
    if not cycles:
        return
    memory, unit, walk = run.memory, run.load, run.load_words
    box = run.load_boxes[walk.place % ROOM]
    memory.wrote = False
    memory.ahead -= cycles
    run.bursts[memory.first % OUTSTANDING].beats -= cycles
    unit.waits = False
    box_words.skip(walk, box, cycles - 1)
    unit.address = walk.address
    box_words.skip(walk, box, 1)
    store.wait(run, cycles)


@compiled
def _flows_out(run: Run, now: int) -> bool:
    """Whether a word is read, others are on their way, a beat is written, and load is still."""
    memory, unit, writer = run.memory, run.store, run.writer
    if not (unit.asked and unit.read and unit.queued and unit.word and run.store_words.active):
        return False
    if unit.spare or not unit.asking:
        return False
    if not writer.active or not writer.beat or writer.last or unit.held == store.QUEUE_WORDS:
        return False
    return load.is_still(run) and not memory.held and (writer.ready or writer.length == writer.end)


@compiled
def _outwards(run: Run, now: int) -> int:
    """Cycles up to the last beat of the burst, the box's last word, or the next beat of a read."""
    memory, walk = run.memory, run.store_words
    cycles = min(run.writer.left, box_words.ahead(walk, run.store_boxes[walk.place % ROOM]) - 1)
    if memory.first < memory.end:
        cycles = min(cycles, run.bursts[memory.first % OUTSTANDING].ready - now)
    return cycles


@compiled
def _move_out(run: Run, cycles: int) -> None:
    """Let store's stream flow."""
    if not cycles:
        return
    run.memory.wrote = True
    run.store.waits = False
    run.writer.left -= cycles
    walk = run.store_words
    box = run.store_boxes[walk.place % ROOM]
    box_words.skip(walk, box, cycles - 1)
    run.store.address = walk.address
    box_words.skip(walk, box, 1)
    load.wait(run, cycles)
