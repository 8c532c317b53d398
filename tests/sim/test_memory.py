"""The memory model: latency, order, shared bandwidth, outstanding bursts, acknowledgement."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intaglio.sim import ends, engine, memory
from intaglio.sim.compiled import blank, filled
from intaglio.sim.memory import WRITE_DELAY
from intaglio.sim.plan import Plan
from intaglio.sim.run import new_run
from intaglio.sim.state import FETCHES, LOADS, STORES, Burst, BurstQueue, Plane
from tests.sim.programs import SMALL

LATENCY = 20
ROOM = 32
"""Bursts of each queue that a bench can hold."""


class Bench:
    """A memory, and the cycles in which each named burst was over."""

    def __init__(self) -> None:
        empty = new_run(Plan(np.zeros((0, 16), np.uint32), SMALL))
        rings = {"base": ROOM * np.arange(3), "size": np.full(3, ROOM)}
        self.run = empty._replace(
            constants=replace(empty.constants, latency=LATENCY, read_ahead=256),
            bursts=blank(Burst, 3 * ROOM),
            waiting=filled(BurstQueue, rings),
            planes=[Plane(opens=0, begins=0)],
        )
        self.run.store.rate = 1
        self.over: dict[str, float] = {}
        self.fetched: list[float] = []
        self._places: dict[str, int] = {}
        self._moving: list[str] = []
        self._stored: list[str] = []

    @property
    def plane(self) -> Plane:
        """The plane that all loads are of."""
        return self.run.planes[0]

    def accepted(self, name: str) -> float:
        """The cycle of a burst's address."""
        delay = WRITE_DELAY if name in self._stored else LATENCY
        return self.run.bursts[self._places[name]].ready - delay

    def load(self, **beats: int) -> None:
        """Queue reads by name, each the end of its plane."""
        for name, count in beats.items():
            self._places[name] = memory.queue_burst(self.run, LOADS, count, 0)
            self.run.bursts[self._places[name]].last = True
            self._moving.append(name)
        memory.refresh(self.run)

    def store(self, **beats: int) -> None:
        """Queue writes by name."""
        for name, count in beats.items():
            self._places[name] = place = memory.queue_burst(self.run, STORES, count, 0)
            self.run.bursts[place].last, self.run.bursts[place].task = True, len(self._stored)
            self._stored.append(name)
        memory.refresh(self.run)

    def fetch(self, beats: int, parts: int, earliest: float) -> None:
        """Queue a burst of instructions."""
        for part in range(parts):
            place = memory.queue_burst(self.run, FETCHES, beats, earliest)
            self.run.bursts[place].closes = part == parts - 1
        memory.refresh(self.run)

    def go(self) -> None:
        """Run until nothing is left to do."""
        kind, argument = engine.next_event(self.run)
        while kind != engine.NOTHING:
            self._act(kind, argument)
            kind, argument = engine.next_event(self.run)

    def _act(self, kind: int, argument: int) -> None:
        now = self.run.clock.now
        if kind == engine.ARRIVE:
            self.fetched.append(now)
        elif kind == engine.MOVED:
            self.over[self._moving.pop(0)] = now
            self.plane.arrived = not self._moving
        elif kind == engine.ACKNOWLEDGE:
            self.over[self._stored[argument]] = now
            self.run.channels[1].outstanding -= 1
            memory.refresh(self.run)
        else:
            assert kind == engine.REFRESH
            memory.refresh(self.run)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("address", "beats", "bursts"),
    [
        (0, 256, [256]),
        (0, 600, [256, 256, 88]),
        (4096 - 12, 10, [3, 7]),
        (4096 - 4, 1, [1]),
        (2048, 512, [256, 256]),
    ],
)
def test_runs_are_split_at_256_beats_and_4_kib(
    bench: Bench, address: int, beats: int, bursts: list[int]
) -> None:
    last = memory.queue_run(bench.run, LOADS, address, beats, 0, 0)
    first = bench.run.waiting[LOADS].base
    assert [burst.beats for burst in bench.run.bursts[first : last + 1]] == bursts


def test_a_read_takes_latency_and_beats(bench: Bench) -> None:
    bench.load(a=7)
    bench.go()
    assert bench.over == {"a": LATENCY + 7}


def test_reads_follow_each_other_without_a_gap(bench: Bench) -> None:
    bench.load(a=7, b=5, c=30)
    bench.go()
    assert [bench.accepted(name) for name in "abc"] == [0, 1, 2]
    assert bench.over == {"a": LATENCY + 7, "b": LATENCY + 12, "c": LATENCY + 42}


def test_a_write_is_acknowledged_a_latency_after_its_last_beat(bench: Bench) -> None:
    bench.store(a=7, b=2)
    bench.go()
    assert bench.over == {"a": WRITE_DELAY + 7 + LATENCY, "b": WRITE_DELAY + 9 + LATENCY}


def test_reads_and_writes_share_one_beat_a_cycle(bench: Bench) -> None:
    bench.load(r=100)
    bench.store(w=100)
    bench.go()
    alone = LATENCY - WRITE_DELAY
    write_end = LATENCY + 2 * (100 - alone)
    assert bench.over["w"] == write_end + LATENCY
    assert bench.over["r"] == LATENCY + 100 + 100 - alone


def test_a_slow_end_leaves_the_bandwidth_to_the_other_direction(bench: Bench) -> None:
    bench.run.store.rate = 0.25
    bench.load(r=300)
    bench.store(w=100)
    bench.go()
    write_end = WRITE_DELAY + 400
    assert bench.over["w"] == write_end + LATENCY
    read = (write_end - LATENCY) * 0.75
    assert bench.over["r"] == pytest.approx(write_end + 300 - read, abs=1)


def test_sixteen_reads_are_outstanding_at_most(bench: Bench) -> None:
    bench.load(**{f"r{k}": 1 for k in range(18)})
    bench.go()
    assert [bench.accepted(f"r{k}") for k in range(16)] == list(range(16))
    assert bench.accepted("r16") == LATENCY + 1
    assert bench.over["r16"] == 2 * LATENCY + 2


def test_sixteen_writes_are_outstanding_until_acknowledged(bench: Bench) -> None:
    bench.store(**{f"w{k}": 1 for k in range(17)})
    bench.go()
    assert bench.accepted("w15") == 15
    assert bench.accepted("w16") == WRITE_DELAY + 1 + LATENCY


def test_load_reads_ahead_less_than_256_beats(bench: Bench) -> None:
    bench.load(a=200, b=200, c=200)
    bench.go()
    assert bench.accepted("b") == 1
    assert bench.accepted("c") == LATENCY + 145
    assert bench.over["c"] == LATENCY + 600


def test_fetch_goes_before_load(bench: Bench) -> None:
    bench.load(a=256, b=256)
    bench.fetch(beats=4, parts=2, earliest=5)
    bench.go()
    assert bench.fetched == [LATENCY + 260, LATENCY + 264]
    assert bench.accepted("b") == LATENCY + 1
    assert bench.over["b"] == LATENCY + 520


def test_the_queue_of_load_takes_64_beats_before_it_slows_the_bus(bench: Bench) -> None:
    bench.plane.rate, bench.plane.writes = 0.5, 2
    bench.load(r=256)
    bench.store(w=1)
    bench.go()
    full = 64 / (1 - 0.5)
    assert bench.over["r"] == LATENCY + full + (256 - full) / 0.5
    assert ends.written_at(bench.plane, bench.over["r"]) == LATENCY + 256 / 0.5


def test_a_plane_that_is_not_written_yet_holds_64_beats(bench: Bench) -> None:
    bench.plane.begins = 1000
    bench.load(r=256)
    bench.go()
    assert bench.over["r"] == 1000 + 256 - 64
    assert ends.written_at(bench.plane, bench.over["r"]) == 1000 + 256


def test_fill_is_written_before_the_first_beat_and_after_the_last(bench: Bench) -> None:
    bench.plane.begins, bench.plane.lead, bench.plane.trail = LATENCY, 100, 30
    bench.load(r=256)
    bench.go()
    assert bench.over["r"] == LATENCY + 100 + 256 - 64
    done = ends.written_at(bench.plane, bench.over["r"])
    assert done == pytest.approx(LATENCY + 100 + 256 + 30)


def test_a_buffer_that_is_shared_stretches_fill_and_words() -> None:
    plane = Plane(begins=0, lead=10, queue=20, trail=5, arrived=True, share=0.5)
    assert ends.written_at(plane, 0) == pytest.approx(2 * 35)
    ends.settle_plane(plane, 30, 0)
    assert [plane.lead, plane.queue, plane.trail] == pytest.approx([0, 15, 5])
    assert plane.held == pytest.approx(15)
    plane.share = 0
    assert ends.written_at(plane, 40) == float("inf")


def test_a_store_counts_the_cycles_in_which_its_buffer_was_the_limit(bench: Bench) -> None:
    bench.run.store.share = 0.25
    bench.store(w=100)
    bench.go()
    assert bench.over["w"] == WRITE_DELAY + 400 + LATENCY
    assert bench.run.store.held == pytest.approx(300)
