"""Addresses in time: the runs of the program and of boxes, cut into bursts.

A box is taken by npu_box_runs, its runs are cut by axi_burst_split, and npu_reader and npu_writer
give an address a cycle to memory.  Of reads, those of the program go first.
"""

from __future__ import annotations

from intaglio.sim.compiled import Table, compiled
from intaglio.sim.registers import INF, OUTSTANDING, Runs
from intaglio.sim.state import ROOM, Box, Run

PAGE_BYTES = 4096
"""No burst crosses a multiple of this."""
BURST_BEATS = 256
"""Beats of a burst at most."""
FETCH_CHUNK = 8
"""Instructions that are asked of memory at once."""
FETCH_AHEAD = 16
"""Instructions asked of memory and not yet dealt to a queue, at most."""


@compiled
def begin(runs: Runs, box: Box, place: int) -> None:
    """Take the box of the instruction at `place`; one without words in memory has no runs."""
    runs.place, runs.setup = place, box.runs > 0
    runs.runs, runs.planes = box.runs, box.planes
    runs.address, runs.plane = box.address, box.address


@compiled
def is_free(runs: Runs) -> bool:
    """Whether the next box can be taken."""
    return not (runs.setup or runs.walking)


@compiled
def step(run: Run, now: int) -> bool:
    """Give at most one address of a read and one of a write; return whether anything moved.

    The next run is taken in the cycle after the last burst of the one before it left.
    """
    memory, fetch, writer = run.memory, run.fetch, run.writer
    asks = _has_room_for_instructions(run)
    reads, writes = _is_walking(run.load_runs), _is_walking(run.store_runs)
    room = memory.outstanding < OUTSTANDING
    fetches = room and fetch.waiting > 0
    loads = room and not fetch.waiting and memory.ahead < run.constants.read_ahead
    loads = loads and run.load_runs.left > 0
    if fetches:
        _read(run, now, _cut_instructions(run), False)
    if loads:
        beats = _cut(run, run.load_runs)
        _read(run, now, beats, True)
        memory.ahead += beats
    if asks:
        _ask_for_instructions(run)
    stores = run.store_runs.left > 0 and writer.end - writer.first < OUTSTANDING
    if stores:
        _write(run)
    if reads:
        _walk(run.load_runs, run.load_boxes)
    if writes:
        _walk(run.store_runs, run.store_boxes)
    return fetches or loads or asks or stores or reads or writes


@compiled
def still(run: Run) -> int:
    """Cycles without any address or run, should a beat of load come in each and nothing else."""
    memory, fetch, read, write = run.memory, run.fetch, run.load_runs, run.store_runs
    if _is_walking(read) or _is_walking(write) or _has_room_for_instructions(run):
        return 0
    if write.left and run.writer.end - run.writer.first < OUTSTANDING:
        return 0
    if memory.outstanding == OUTSTANDING:
        return INF
    if fetch.waiting:
        return 0
    return memory.ahead - run.constants.read_ahead + 1 if read.left else INF


@compiled
def _is_walking(runs: Runs) -> bool:
    """Whether the walk over runs moves."""
    return runs.setup or (runs.walking and not runs.left)


@compiled
def _read(run: Run, now: int, beats: int, loads: bool) -> None:
    """Choose a burst of a read, whose address comes in the next cycle."""
    memory = run.memory
    burst = run.bursts[memory.end % OUTSTANDING]
    burst.beats, burst.loads, burst.ready = beats, loads, now + 1 + run.constants.latency
    memory.end += 1
    memory.outstanding += 1


@compiled
def _write(run: Run) -> None:
    """Choose a burst of a write."""
    writer, runs = run.writer, run.store_runs
    burst = run.writes[writer.end % OUTSTANDING]
    burst.beats, burst.ready = _cut(run, runs), INF
    burst.place = -1 if runs.left else runs.ends
    writer.end += 1


@compiled
def _cut(run: Run, runs: Runs) -> int:
    """Take a burst off a run."""
    beats = _burst_beats(run, runs.next, runs.left)
    runs.next += beats * run.constants.beat_bytes
    runs.left -= beats
    return beats


@compiled
def _cut_instructions(run: Run) -> int:
    """Take a burst off the run of instructions."""
    beats = _burst_beats(run, run.fetch.next, run.fetch.waiting)
    run.fetch.next += beats * run.constants.beat_bytes
    run.fetch.waiting -= beats
    return beats


@compiled
def _burst_beats(run: Run, address: int, left: int) -> int:
    """Beats up to the end of a run, of a burst or of the page."""
    return min(left, BURST_BEATS, (PAGE_BYTES - address % PAGE_BYTES) // run.constants.beat_bytes)


@compiled
def _ask_for_instructions(run: Run) -> None:
    """Ask for the next chunk of the program."""
    fetch = run.fetch
    chunk = min(FETCH_CHUNK, run.constants.count - fetch.asked)
    fetch.waiting = chunk * run.constants.fetch_beats
    fetch.asked += chunk


@compiled
def _has_room_for_instructions(run: Run) -> bool:
    """Whether the program goes on, and there is room for a whole chunk of it."""
    fetch = run.fetch
    ahead = fetch.asked - fetch.dealt
    room = not fetch.waiting and ahead <= FETCH_AHEAD - FETCH_CHUNK
    return room and fetch.asked < run.constants.count


@compiled
def _walk(runs: Runs, boxes: Table[Box]) -> None:
    """Hand on the next run of the box."""
    if runs.setup:
        runs.setup, runs.walking = False, True
        return
    box = boxes[runs.place % ROOM]
    runs.left, runs.next = box.beats, runs.address
    runs.address += box.run_stride
    runs.runs -= 1
    if not runs.runs:
        runs.planes -= 1
        runs.runs = box.runs
        runs.plane += box.plane_stride
        runs.address = runs.plane
    runs.walking = runs.planes > 0
    runs.ends = -1 if runs.walking else runs.place
