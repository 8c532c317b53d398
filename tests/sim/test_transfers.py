"""Memory, load and store cycle by cycle: bursts, order, shared bandwidth, queues, and leaps."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intaglio.errors import VerificationError
from intaglio.sim import load, memory, pairs, requests, streams
from intaglio.sim.npu import simulate
from intaglio.sim.plan import Plan
from intaglio.sim.registers import OUTSTANDING
from intaglio.sim.run import begin, tables
from intaglio.sim.state import Run
from intaglio.templates.npu import timing
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, encode
from intaglio.templates.npu.program import Program
from tests.sim import drawn
from tests.sim.programs import LINE, SMALL, make

DESIGN = replace(SMALL, activation_buffer_kib=16, weight_buffer_kib=16)


def weights(words: int, address: int = 0, **fields: int) -> Instruction:
    """A LOAD of one row into the weight buffer."""
    row = {**LINE, "buffer": Buffer.WEIGHT, "words": words, "memory_address": address}
    return Instruction(Opcode.LOAD, row | fields)


def new_run(*items: Instruction, address: int = 0) -> Run:
    """A run before its first cycle, its program at `address`."""
    run = Run()
    begin(run, tables(Plan(encode(items), DESIGN), address))
    return run


def begun(item: Instruction) -> Run:
    """A run whose only instruction, a LOAD, was taken, before anything was fetched."""
    run = new_run(item)
    run.fetch.asked = 1
    [box, _] = Plan(encode([item]), DESIGN).boxes()
    load.start(run, box, 0)
    return run


def addresses(run: Run, cycles: int) -> list[tuple[int, int]]:
    """Cycle and beats of the bursts of reads that are chosen, while memory answers nothing."""
    found = []
    for now in range(cycles):
        before = run.memory.end
        requests.step(run, now)
        places = range(before, run.memory.end)
        found += [(now, run.bursts[place % OUTSTANDING].beats) for place in places]
    return found


@pytest.mark.parametrize(
    ("address", "words", "bursts"),
    [
        (0, 256, [256]),
        (0, 600, [256, 256, 88]),
        (4096 - 12, 10, [3, 7]),
        (4096 - 4, 1, [1]),
        (2048, 512, [256, 256]),
    ],
)
def test_runs_are_split_at_256_beats_and_4_kib(address: int, words: int, bursts: list[int]) -> None:
    run = begun(weights(words, address))
    run.constants.read_ahead = 10_000
    assert addresses(run, 20) == list(enumerate(bursts, start=2))


def test_rows_follow_each_other_in_every_second_cycle() -> None:
    fields = {"rows": 3, "contiguous": 0, "planes": 2, "memory_row_stride": 400}
    assert addresses(begun(weights(5, **fields)), 20) == [(cycle, 5) for cycle in range(2, 14, 2)]


def test_sixteen_reads_are_outstanding_at_most() -> None:
    run = begun(weights(1, rows=20, contiguous=0, memory_row_stride=4))
    assert len(addresses(run, 40)) == OUTSTANDING


def test_load_reads_ahead_up_to_a_bound() -> None:
    run = begun(weights(100, rows=5, contiguous=0, memory_row_stride=400))
    run.constants.read_ahead = 250
    assert [beats for _, beats in addresses(run, 40)] == [100, 100, 100]


def test_an_address_of_the_program_goes_first() -> None:
    run = begun(weights(7, rows=2, contiguous=0, memory_row_stride=400))
    for now in range(2):
        requests.step(run, now)
    run.fetch.waiting = 16
    assert addresses(run, 4) == [(0, 16), (1, 7), (3, 7)]


def test_the_program_is_cut_at_4_kib() -> None:
    run = new_run(*[weights(1)] * 8, address=4096 - 64)
    assert addresses(run, 5) == [(1, 16), (2, 112)]


def test_a_beat_moves_a_cycle_and_reads_and_writes_alternate() -> None:
    run = begun(weights(7))
    addresses(run, 5)
    run.bursts[0].ready = 10
    granted = []
    for now in range(9, 14):
        run.writer.beat = True
        write = memory.grant(run, now)
        granted.append((write, memory.take(run, now, room=True) == memory.LOAD))
    assert granted == [(True, False), (False, True)] * 2 + [(True, False)]


def test_a_beat_that_load_has_no_room_for_is_held_and_leaves_the_port_to_writes() -> None:
    run = begun(weights(7))
    addresses(run, 5)
    run.bursts[0].ready = 0
    assert not memory.grant(run, 0)
    assert memory.take(run, 0, room=False) == memory.NOTHING
    run.writer.beat = True
    assert [memory.grant(run, now) for now in (1, 2)] == [True, True]
    assert memory.take(run, 2, room=True) == memory.LOAD


def test_the_queue_of_load_takes_beats_until_64_wait_for_a_word() -> None:
    run = begun(weights(200))
    for now in range(200):
        load.move(run, now, 0, beat=load.has_room(run))
        run.load.writing = False
        run.load_words.active = False
    assert run.load.queued == load.QUEUE_BEATS


@pytest.mark.parametrize(("planes", "still"), [(1, True), (0, False)])
def test_load_waits_for_beats_of_a_box_that_has_words(planes: int, still: bool) -> None:
    run = begun(weights(5, planes=planes))
    for now in range(9):
        if not run.load_words.active:
            load.move(run, now, 0, beat=False)
    assert run.load_words.active
    assert load.is_still(run) == still


@pytest.mark.parametrize("bottom", [0, 1, 3])
def test_a_load_takes_what_its_closed_form_says(bottom: int) -> None:
    line = simulate(make([weights(20, pad_bottom=bottom)])).timeline
    assert line.retired[0] - line.issued[0] == timing.load_cycles(SMALL, 20, 20 * (1 + bottom))


@pytest.mark.parametrize("seed", [*range(12), 98])
def test_leaps_change_nothing(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    program = drawn.program(seed)
    leapt = outcome(program)
    monkeypatch.setattr(streams, "WORTH", 1 << 60)
    assert outcome(program) == leapt


def test_two_streams_leap_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load and a store of 200 words each share memory, which serves them in turn."""
    leaps, leap = [], pairs.leap

    def noted(run: Run, now: int, most: int) -> int:
        leaps.append(leap(run, now, most))
        return leaps[-1]

    monkeypatch.setattr(pairs, "leap", noted)
    fields = {**LINE, "words": 200, "memory_address": 8192}
    program = make([weights(200), Instruction(Opcode.STORE, fields)])
    leapt = outcome(program)
    assert sum(leaps) > 200
    monkeypatch.setattr(streams, "WORTH", 1 << 60)
    assert outcome(program) == leapt


def outcome(program: Program) -> object:
    """All that is simulated of a program that may end in a deadlock."""
    try:
        trace = simulate(program)
    except VerificationError as error:
        return str(error)
    line = trace.timeline
    return trace.cycles, trace.units, line.issued.tolist(), line.retired.tolist()
