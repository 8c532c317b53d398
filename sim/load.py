"""The load unit in time, behind its requests: beats become words, and words are written.

Beats wait in a queue, are joined, and one word a cycle goes through a register, which has a spare,
into a buffer; padding does not wait for beats.
"""

from __future__ import annotations

from intaglio.sim import box_words, engine, port, requests
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF, LoadUnit
from intaglio.sim.state import ACTIVATION, LOAD, ROOM, Box, Run

QUEUE_BEATS = 64
"""Beats in the RAM of the queue of data."""
QUEUE_BOXES = 4
"""Instructions in the RAM of the queue before the walk over words."""


@compiled
def is_ready(run: Run) -> bool:
    """Whether the unit takes an instruction in this cycle."""
    return requests.is_free(run.load_runs) and run.load.boxes < QUEUE_BOXES


@compiled
def start(run: Run, box: Box, place: int) -> None:
    """Take the instruction at `place`."""
    load = run.load
    run.load_boxes[place % ROOM] = box
    requests.begin(run.load_runs, box, place)
    run.loads[load.end % ROOM] = place
    load.end += 1
    load.boxes += 1
    run.queues[LOAD].ready = INF


@compiled
def has_room(run: Run) -> bool:
    """Whether the queue takes a beat in this cycle."""
    return run.load.queued < QUEUE_BEATS


@compiled
def is_still(run: Run) -> bool:
    """Whether nothing moves as long as no beat comes."""
    load, walk = run.load, run.load_words
    if load.writing or load.beat or load.queued:
        return False
    if not walk.active:
        return not (load.box or load.boxes)
    box = run.load_boxes[walk.place % ROOM]
    wants = box_words.is_inside(walk, box) and not box_words.is_empty(box)
    return wants and (load.box or not load.boxes)


@compiled
def wait(run: Run, cycles: int) -> None:
    """Count cycles in which nothing moves."""
    run.load.waits = run.load_words.active
    run.load.starved += cycles * run.load.waits


@compiled
def takes_bank(run: Run, bank: int) -> bool:
    """Whether the word to be written is for `bank` of the activation buffer."""
    load = run.load
    writes = load.writing and load.present and load.buffer == ACTIVATION
    return writes and load.address % port.BANKS == bank


@compiled
def move(run: Run, now: int, taken: int, beat: bool) -> bool:
    """One cycle, in which the vector unit has `taken` ports, and a `beat` comes or not.

    Return whether anything moved or waits for a port.
    """
    load, walk = run.load, run.load_words
    box = run.load_boxes[walk.place % ROOM]
    empty = box_words.is_empty(box)
    wants = walk.active and not empty and box_words.is_inside(walk, box)
    joins = run.constants.word_beats > 1
    word = load.joined == run.constants.word_beats if joins else load.beat
    done = load.writing and _is_written(run, taken)
    steps = walk.active and not load.spare and (word or not wants)
    load.blocked += load.writing and not done
    load.waits = wants and not word and not load.writing
    load.starved += load.waits
    moved = _join(run, steps and wants, beat)
    if done:
        _finish(run, now)
    if steps:
        load.spare, load.spare_present, load.spare_buffer = True, not empty, box.buffer
        load.spare_address = walk.address
        box_words.advance(walk, box)
        walk.active = walk.active and not empty
        load.spare_last = not walk.active
    if load.spare and not load.writing:
        _pass_on(load)
    return _begin(run) or moved or steps or done or load.writing


@compiled
def _pass_on(load: LoadUnit) -> None:
    """Move the word in the spare to the register, which is free."""
    load.spare, load.writing = False, True
    load.present, load.last = load.spare_present, load.spare_last
    load.buffer, load.address = load.spare_buffer, load.spare_address


@compiled
def _is_written(run: Run, taken: int) -> bool:
    """Whether the buffer takes the word in the register, or there is none in a box without any."""
    load = run.load
    if not load.present:
        return True
    return not port.is_taken(taken, load.buffer, load.address, run.constants.groups)


@compiled
def _finish(run: Run, now: int) -> None:
    """The word in the register is written; the oldest instruction may end with it."""
    load = run.load
    load.writing = False
    if load.last:
        engine.finish(run, LOAD, run.loads[load.first % ROOM], now + 1)
        load.first += 1


@compiled
def _join(run: Run, taken: bool, beat: bool) -> bool:
    """Move beats through the queue and into a word; a word may be `taken`, and a `beat` come."""
    load, size = run.load, run.constants.word_beats
    leaves = taken
    if size > 1:
        leaves = load.beat and (load.joined < size or taken)
        load.joined = (0 if taken else load.joined) + leaves
    out = load.queued > 0 and (leaves or not load.beat)
    load.beat = out or (load.beat and not leaves)
    load.queued += beat - out
    return leaves or out or beat


@compiled
def _begin(run: Run) -> bool:
    """Begin with the next instruction once the walk before it is over."""
    load, walk = run.load, run.load_words
    begins = load.box and not walk.active
    if begins:
        place = run.loads[load.begun % ROOM]
        box_words.begin(walk, run.load_boxes[place % ROOM], place)
        load.begun += 1
    out = load.boxes > 0 and not load.box
    load.box = out or (load.box and not begins)
    load.boxes -= out
    return begins or out
