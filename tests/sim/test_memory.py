"""The memory model: latency, order, shared bandwidth, outstanding bursts, acknowledgement."""

from __future__ import annotations

import pytest

from intaglio.sim.engine import Events
from intaglio.sim.memory import Burst, Memory, Port, QueuedPort

LATENCY = 20
WRITE_DELAY = 3


class Bench:
    """A memory and the cycles in which each named burst was over."""

    def __init__(self) -> None:
        self.events = Events()
        self.memory = Memory(self.events, LATENCY, WRITE_DELAY, read_ahead=256)
        self.over: dict[str, float] = {}
        self.accepted: dict[str, float] = {}

    def burst(self, name: str, beats: int, port: Port | None = None) -> Burst:
        def moved() -> None:
            self.over[name] = self.events.now

        def requested(cycle: float) -> None:
            self.accepted[name] = cycle

        return Burst(beats, port or Port(), 0, requested=requested, moved=moved)

    def load(self, **beats: int) -> None:
        self.memory.load([self.burst(name, count) for name, count in beats.items()])

    def store(self, **beats: int) -> None:
        self.memory.store([self.burst(name, count) for name, count in beats.items()])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_read_takes_latency_and_beats(bench: Bench) -> None:
    bench.load(a=7)
    bench.events.run()
    assert bench.over == {"a": LATENCY + 7}


def test_reads_follow_each_other_without_a_gap(bench: Bench) -> None:
    bench.load(a=7, b=5, c=30)
    bench.events.run()
    assert bench.accepted == {"a": 0, "b": 1, "c": 2}
    assert bench.over == {"a": LATENCY + 7, "b": LATENCY + 12, "c": LATENCY + 42}


def test_a_write_is_acknowledged_a_latency_after_its_last_beat(bench: Bench) -> None:
    bench.store(a=7, b=2)
    bench.events.run()
    assert bench.over == {"a": WRITE_DELAY + 7 + LATENCY, "b": WRITE_DELAY + 9 + LATENCY}


def test_reads_and_writes_share_one_beat_a_cycle(bench: Bench) -> None:
    bench.load(r=100)
    bench.store(w=100)
    bench.events.run()
    alone = LATENCY - WRITE_DELAY
    write_end = LATENCY + 2 * (100 - alone)
    assert bench.over["w"] == write_end + LATENCY
    assert bench.over["r"] == LATENCY + 100 + 100 - alone


def test_a_slow_end_leaves_the_bandwidth_to_the_other_direction(bench: Bench) -> None:
    bench.memory.load([bench.burst("r", 100, Port(rate=0.25))])
    bench.store(w=300)
    bench.events.run()
    assert bench.over["r"] == LATENCY + 400
    written = WRITE_DELAY + (300 - (LATENCY - WRITE_DELAY)) / 0.75 + LATENCY - WRITE_DELAY
    assert bench.over["w"] == pytest.approx(written + LATENCY, abs=1)


def test_sixteen_reads_are_outstanding_at_most(bench: Bench) -> None:
    bench.load(**{f"r{k}": 1 for k in range(18)})
    bench.events.run()
    assert [bench.accepted[f"r{k}"] for k in range(16)] == list(range(16))
    assert bench.accepted["r16"] == LATENCY + 1
    assert bench.over["r16"] == 2 * LATENCY + 2


def test_sixteen_writes_are_outstanding_until_acknowledged(bench: Bench) -> None:
    bench.store(**{f"w{k}": 1 for k in range(17)})
    bench.events.run()
    assert bench.accepted["w15"] == 15
    assert bench.accepted["w16"] == WRITE_DELAY + 1 + LATENCY


def test_load_reads_ahead_less_than_256_beats(bench: Bench) -> None:
    bench.load(a=200, b=200, c=200)
    bench.events.run()
    assert bench.accepted["b"] == 1
    assert bench.accepted["c"] == LATENCY + 145
    assert bench.over["c"] == LATENCY + 600


def test_fetch_goes_before_load(bench: Bench) -> None:
    cycles: list[float] = []
    bench.load(a=256, b=256)
    parts = [(4, lambda: cycles.append(bench.events.now))] * 2
    bench.memory.fetch(parts, earliest=5)
    bench.events.run()
    assert cycles == [LATENCY + 260, LATENCY + 264]
    assert bench.accepted["b"] == LATENCY + 1
    assert bench.over["b"] == LATENCY + 520


def test_a_queued_port_takes_64_beats_before_it_slows_the_bus(bench: Bench) -> None:
    port = QueuedPort(rate=0.5, writes=2)
    bench.memory.load([bench.burst("r", 256, port)])
    bench.store(w=1)
    bench.events.run()
    full = 64 / (1 - 0.5)
    assert bench.over["r"] == LATENCY + full + (256 - full) / 0.5
    assert port.written_at(bench.over["r"]) == LATENCY + 256 / 0.5


def test_a_queued_port_that_has_not_begun_holds_64_beats(bench: Bench) -> None:
    port = QueuedPort(begins=1000)
    bench.memory.load([bench.burst("r", 256, port)])
    bench.events.run()
    assert bench.over["r"] == 1000 + 256 - 64
    assert port.written_at(bench.over["r"]) == 1000 + 256


def test_fill_is_written_before_the_first_beat_and_after_the_last(bench: Bench) -> None:
    port = QueuedPort(begins=LATENCY, lead=100, trail=30)
    burst = bench.burst("r", 256, port)
    finished = burst.moved

    def arrived() -> None:
        assert finished is not None
        finished()
        port.arrived = True

    burst.moved = arrived
    bench.memory.load([burst])
    bench.events.run()
    assert bench.over["r"] == LATENCY + 100 + 256 - 64
    assert port.written_at(bench.over["r"]) == pytest.approx(LATENCY + 100 + 256 + 30)


def test_a_buffer_that_is_shared_stretches_fill_and_words() -> None:
    port = QueuedPort(lead=10, queue=20, trail=5, arrived=True, share=0.5)
    assert port.written_at(0) == pytest.approx(2 * 35)
    port.settle(30, 0, 0)
    assert [port.lead, port.queue, port.trail] == pytest.approx([0, 15, 5])
    assert port.held == pytest.approx(15)
    port.share = 0
    assert port.written_at(40) == float("inf")


def test_a_port_with_a_share_counts_the_cycles_it_held(bench: Bench) -> None:
    port = Port(share=0.25)
    bench.memory.store([bench.burst("w", 100, port)])
    bench.events.run()
    assert bench.over["w"] == WRITE_DELAY + 400 + LATENCY
    assert port.held == pytest.approx(300)
