"""The store unit in time, behind its requests: words are read, split into beats, and written.

Addresses of words wait in a register, which has a spare; a word has its place in a queue before it
is asked of the buffer.  npu_writer hands beats to memory in the order of the bursts.
"""

from __future__ import annotations

from intaglio.sim import box_words, engine, load, port, requests
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import INF, OUTSTANDING
from intaglio.sim.state import ROOM, STORE, Box, Run
from intaglio.templates.npu.timing import QUEUE

QUEUE_WORDS = 16
"""Words asked of the buffer that have not left the queue, at most."""
INSIDE = 8
"""Instructions taken and not retired, at most."""


@compiled
def is_ready(run: Run) -> bool:
    """Whether the unit takes an instruction in this cycle.

    A walk over words that ends in this cycle leaves room for the next.
    """
    store, walk = run.store, run.store_words
    box = run.store_boxes[walk.place % ROOM]
    free = not walk.active or (not store.spare and box_words.is_last(walk, box))
    return requests.is_free(run.store_runs) and free and not store.empty and store.inside < INSIDE


@compiled
def start(run: Run, box: Box, place: int) -> None:
    """Take the instruction at `place`; one with nothing to move retires once none is before it."""
    run.store.inside += 1
    run.queues[STORE].ready = INF
    if box.runs:
        run.store_boxes[place % ROOM] = box
        requests.begin(run.store_runs, box, place)
        box_words.begin(run.store_words, box, place)
    else:
        run.store.empty = True
        engine.finish(run, STORE, place, run.clock.now + QUEUE)


@compiled
def retire(run: Run) -> None:
    """The oldest instruction leaves the unit; one with nothing to move is the newest, too."""
    store = run.store
    store.inside -= 1
    if store.empty and not store.inside:
        store.empty = False
    else:
        store.finished -= 1


@compiled
def asks(run: Run, taken: int) -> bool:
    """Whether a word is read of the activation buffer in this cycle."""
    store = run.store
    if not store.asking or store.held == QUEUE_WORDS:
        return False
    bank = store.address % port.BANKS
    return not (taken >> bank & 1 or load.takes_bank(run, bank))


@compiled
def is_still(run: Run) -> bool:
    """Whether the unit waits for an instruction, for an answer of memory, or for its first word."""
    writer, store = run.writer, run.store
    still = not (run.store_words.active or store.asking or store.held or store.split)
    return still and not (writer.beat or writer.ready) and writer.length == writer.end


@compiled
def wait(run: Run, cycles: int) -> None:
    """Count cycles in which nothing moves and no word is left to be read."""
    store = run.store
    retires = store.finished > 0 or (store.empty and store.inside == 1)
    store.waits = store.inside > 0 and not retires
    store.starved += cycles * store.waits


@compiled
def move(run: Run, now: int, asks: bool, granted: bool) -> bool:
    """One cycle, in which a word is read or not and memory takes the beat that is on its channel
    or not; return whether anything moved or waits for the buffer's port.
    """
    store, writer = run.store, run.writer
    blocked = _count_waits(run, asks)
    if granted:
        _sent(run, now)
    splits = run.constants.word_beats > 1
    beat = store.split > 0 if splits else store.word
    takes = writer.active and beat and not writer.beat
    if takes:
        writer.beat, writer.last = True, writer.left == 0
    moved = _split(run, asks, takes)
    moved |= _begin(run, takes)
    steps = _walk(run, asks)
    return asks or takes or moved or blocked or steps


@compiled
def _walk(run: Run, asks: bool) -> bool:
    """Move addresses of words through the register before the port; the first is asked or not."""
    store, walk = run.store, run.store_words
    store.asking = store.asking and not asks
    steps = walk.active and not store.spare
    if steps:
        store.spare, store.spare_address = True, walk.address
        box_words.advance(walk, run.store_boxes[walk.place % ROOM])
    if store.spare and not store.asking:
        store.spare, store.asking, store.address = False, True, store.spare_address
    return steps


@compiled
def _count_waits(run: Run, asks: bool) -> bool:
    """Count the cycle if nothing of store moves in it; return whether the buffer's port is why."""
    store = run.store
    if not store.asking:
        beat = store.split > 0 if run.constants.word_beats > 1 else store.word
        if beat or run.store_words.active:
            store.waits = False
        else:
            wait(run, 1)
        return False
    store.waits = store.held == QUEUE_WORDS
    store.starved += store.waits
    blocked = not (store.waits or asks)
    store.blocked += blocked
    return blocked


@compiled
def _sent(run: Run, now: int) -> None:
    """The beat on the channel is in memory; with its burst's last one, wait for the answer."""
    writer = run.writer
    writer.beat = False
    if writer.last:
        run.writes[writer.sent % OUTSTANDING].ready = now + run.constants.latency
        writer.sent += 1


@compiled
def _split(run: Run, asks: bool, takes: bool) -> bool:
    """Move words from the buffer through the queue and into beats, of which one is taken or not."""
    store, size = run.store, run.constants.word_beats
    leaves = takes
    if size > 1:
        leaves = store.word and (store.split == 0 or (store.split == 1 and takes))
        store.split = size if leaves else store.split - takes
    out = store.queued > 0 and (leaves or not store.word)
    store.word = out or (store.word and not leaves)
    store.queued += store.read - out
    store.held += asks - leaves
    moved = leaves or out or store.read or store.asked
    store.read, store.asked = store.asked, asks
    return moved


@compiled
def _begin(run: Run, takes: bool) -> bool:
    """Begin with the next burst after the last beat of the one before."""
    writer = run.writer
    over = not writer.active or (takes and writer.left == 0)
    writer.left -= takes
    begins = over and writer.ready
    if over:
        writer.active = writer.ready
    if begins:
        writer.left = run.writes[writer.begun % OUTSTANDING].beats - 1
        writer.begun += 1
    out = writer.length < writer.end and (over or not writer.ready)
    writer.ready = out or (writer.ready and not over)
    writer.length += out
    return begins or out
