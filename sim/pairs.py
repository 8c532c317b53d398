"""Two streams at once: load and store share memory, which serves them in turn.

Then what moves repeats every two cycles.  `leap` looks for that, whatever the pipelines are: when
all registers of memory, load and store are as they were two cycles ago, but for counts and
addresses, the same moves follow, and the same changes of counts and addresses.
"""

from __future__ import annotations

from intaglio.sim import box_words, port, window
from intaglio.sim.compiled import compiled
from intaglio.sim.registers import OUTSTANDING
from intaglio.sim.state import ROOM, Run

MARGIN = 4
"""Words that are left of a row or a box, and beats of a burst, when a leap ends."""


@compiled
def leap(run: Run, now: int, most: int) -> int:
    """Take up to `most` cycles from `now` on that repeat the last two; return how many, or 0."""
    pair, burst = run.pair, run.bursts[run.memory.first % OUTSTANDING]
    if pair.cycle == now - 1 or not _both_flow(run, now) or burst.ready > now:
        return 0
    state, cycles = _state(run), 0
    if pair.cycle == now - 2 and pair.state == state and _repeats(run):
        cycles = 2 * min(_periods(run), most // 2)
        _repeat(run, cycles // 2)
    _note(run, now + cycles, state)
    return cycles


@compiled
def _both_flow(run: Run, now: int) -> bool:
    """Whether both units move a box in the middle, and nobody else uses the buffers' ports."""
    if not (run.load_words.active and run.store_words.active and run.writer.active):
        return False
    if run.memory.first == run.memory.end or run.constants.word_beats > 1:
        return False
    return not (window.is_active(run) or port.is_used(run, now - 2))


@compiled
def _state(run: Run) -> int:
    """All registers that are no counts or addresses, and whether two words are of one bank."""
    memory, load, store, writer = run.memory, run.load, run.store, run.writer
    state = memory.held | memory.wrote << 1 | load.beat << 2 | load.writing << 3
    state |= load.present << 4 | load.last << 5 | load.spare << 6 | load.spare_present << 7
    state |= load.spare_last << 8 | load.waits << 9 | load.box << 10 | store.asked << 11
    state |= store.read << 12 | store.word << 13 | store.asking << 14 | store.spare << 15
    state |= store.waits << 16 | writer.beat << 17 | writer.last << 18 | writer.ready << 19
    state |= load.buffer << 20 | load.spare_buffer << 21 | load.queued << 24 | load.boxes << 32
    state |= store.held << 36 | store.queued << 44
    return state | (load.address ^ store.address) % port.BANKS << 52


@compiled
def _note(run: Run, now: int, state: int) -> None:
    """Keep what the units are like in cycle `now`."""
    pair, load, store = run.pair, run.load, run.store
    pair.cycle, pair.state = now, state
    pair.first, pair.length = run.memory.first, run.writer.begun
    pair.beats, pair.left = run.bursts[run.memory.first % OUTSTANDING].beats, run.writer.left
    pair.load_row, pair.store_row = run.load_words.row_address, run.store_words.row_address
    pair.load_column, pair.store_column = run.load_words.column, run.store_words.column
    pair.load_address, pair.store_address = load.address, store.address
    pair.load_spare, pair.store_spare = load.spare_address, store.spare_address
    pair.load_blocked, pair.store_blocked = load.blocked, store.blocked
    pair.load_starved, pair.store_starved = load.starved, store.starved


@compiled
def _repeats(run: Run) -> bool:
    """Whether the words that are on their way are of the same bursts and rows as two cycles ago."""
    pair, load, store = run.pair, run.load, run.store
    if pair.first != run.memory.first or pair.length != run.writer.begun:
        return False
    if pair.load_row != run.load_words.row_address:
        return False
    if pair.store_row != run.store_words.row_address:
        return False
    reads = run.load_words.column - pair.load_column
    asks = run.store_words.column - pair.store_column
    if reads < 0 or asks < 0 or not reads + asks or (reads + asks) % port.BANKS:
        return False
    same = not load.writing or load.address - pair.load_address == reads
    same = same and (not load.spare or load.spare_address - pair.load_spare == reads)
    same = same and (not store.asking or store.address - pair.store_address == asks)
    return same and (not store.spare or store.spare_address - pair.store_spare == asks)


@compiled
def _periods(run: Run) -> int:
    """How often two cycles can follow each other before a burst or a row ends."""
    pair = run.pair
    load, store = run.load_words, run.store_words
    box = run.load_boxes[load.place % ROOM]
    words = min(box_words.ahead(load, box), box_words.left_in_row(load, box))
    periods = (words - MARGIN) // max(load.column - pair.load_column, 1)
    words = box_words.left_in_row(store, run.store_boxes[store.place % ROOM])
    periods = min(periods, (words - MARGIN) // max(store.column - pair.store_column, 1))
    beats = run.bursts[run.memory.first % OUTSTANDING].beats
    periods = min(periods, (beats - MARGIN) // max(pair.beats - beats, 1))
    left = run.writer.left
    return max(min(periods, (left - MARGIN) // max(pair.left - left, 1)), 0)


@compiled
def _repeat(run: Run, periods: int) -> None:
    """Change counts and addresses as often as they changed in the last two cycles."""
    pair, load, store, memory = run.pair, run.load, run.store, run.memory
    burst = run.bursts[memory.first % OUTSTANDING]
    reads = periods * (run.load_words.column - pair.load_column)
    asks = periods * (run.store_words.column - pair.store_column)
    beats = periods * (pair.beats - burst.beats)
    burst.beats -= beats
    memory.ahead -= beats
    run.writer.left -= periods * (pair.left - run.writer.left)
    run.load_words.column += reads
    run.load_words.address += reads
    run.store_words.column += asks
    run.store_words.address += asks
    load.address += reads
    load.spare_address += reads
    store.address += asks
    store.spare_address += asks
    load.blocked += periods * (load.blocked - pair.load_blocked)
    load.starved += periods * (load.starved - pair.load_starved)
    store.blocked += periods * (store.blocked - pair.store_blocked)
    store.starved += periods * (store.starved - pair.store_starved)
