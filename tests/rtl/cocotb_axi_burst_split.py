"""axi_burst_split: bursts cover a run exactly, keep to 256 beats and never cross 4 KiB."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import cocotb

from tests.rtl.cocotb_bench import Driver, Item, Monitor, begin, bench, clock, reset, skip, value

RUN = ["run_addr_i", "run_beats_i", "run_last_i"]
BURST = ["burst_addr_o", "burst_beats_o", "burst_last_o"]
PAGE = 4096


def _run(dut: Any, page_offset: int, beats: int, last: int) -> dict[str, int]:
    size = value(dut.BeatBytes)
    page = random.getrandbits(len(dut.run_addr_i) - 12) * PAGE
    address = page + page_offset // size * size
    return {"run_addr_i": address, "run_beats_i": beats, "run_last_i": last}


def _random_runs(dut: Any, count: int) -> Iterator[dict[str, int]]:
    """Runs that start anywhere in a page, many of them just before or after its end."""
    size = value(dut.BeatBytes)
    for _ in range(count):
        offset = random.choice([random.randrange(PAGE), PAGE - size, PAGE - 2 * size, 0])
        beats = random.choice([1, 2, 255, 256, 257, random.randrange(1, 1200)])
        yield _run(dut, offset, beats, random.getrandbits(1))


def _bursts(dut: Any, runs: list[dict[str, int]]) -> list[Item]:
    size = value(dut.BeatBytes)
    expected: list[Item] = []
    for run in runs:
        address, left = run["run_addr_i"], run["run_beats_i"]
        while left:
            beats = min(left, 256, (PAGE - address % PAGE) // size)
            left -= beats
            address &= (1 << len(dut.run_addr_i)) - 1
            last = int(left == 0 and run["run_last_i"])
            expected.append(dict(zip(BURST, (address, beats, last), strict=True)))
            address += beats * size
    return expected


def _ends(dut: Any, pause: float, stall: float) -> tuple[Driver, Monitor]:
    driver = Driver(dut, "run_valid_i", "run_ready_o", RUN, pause)
    return driver, Monitor(dut, "burst_valid_o", "burst_ready_i", BURST, stall)


@bench(30_000)
async def covers_every_run_under_stalls(dut: Any) -> None:
    await begin(dut)
    for pause, stall in ((0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4)):
        driver, monitor = _ends(dut, pause, stall)
        runs = list(_random_runs(dut, 100))
        await driver.send(runs)
        await clock(dut, 200)
        monitor.stop()
        assert monitor.taken == _bursts(dut, runs)


@bench(2_000)
async def bursts_of_a_run_follow_without_a_gap(dut: Any) -> None:
    await begin(dut)
    driver, monitor = _ends(dut, 0.0, 0.0)
    runs = list(_random_runs(dut, 30))
    await driver.send(runs)
    await clock(dut, 100)
    assert monitor.taken == _bursts(dut, runs)
    assert monitor.cycles[-1] - monitor.cycles[0] == len(monitor.taken) - 1 + len(runs) - 1


@bench(40_000)
async def long_runs_end_where_they_must(dut: Any) -> None:
    await begin(dut)
    for bits in range(10, 18):
        driver, monitor = _ends(dut, 0.0, 0.0)
        carry = (1 << random.randrange(12, len(dut.run_addr_i))) - PAGE
        run = _run(dut, 0, 1 << bits | random.getrandbits(bits - 1), 1) | {"run_addr_i": carry}
        expected = _bursts(dut, [run])
        await driver.send([run])
        await clock(dut, len(expected) + 20)
        monitor.stop()
        assert monitor.taken == expected


@bench(1_500_000)
async def the_longest_runs_end_where_they_must(dut: Any) -> None:
    """The counts of bursts are such that each high bit of what is left is set an odd time."""
    await begin(dut)
    size = value(dut.BeatBytes)
    per_burst = min(256, PAGE // size)
    for bursts in (2**19 - 2, 2**18 - 1):
        beats = bursts * per_burst
        address = random.getrandbits(20) * PAGE
        run = dict(zip(RUN, (address, beats + 5, 1), strict=True))
        await Driver(dut, "run_valid_i", "run_ready_o", RUN).send([run])
        dut.burst_ready_i.value = 1
        await skip(dut, bursts - 1)
        ends = ((beats - per_burst, per_burst, 0), (beats, 5, 1))
        for offset, length, last in ends:
            await clock(dut)
            assert value(dut.burst_valid_o)
            assert [value(getattr(dut, name)) for name in BURST] == [
                address + offset * size, length, last,
            ]  # fmt: skip
        await clock(dut)
        assert not value(dut.burst_valid_o)
        dut.burst_ready_i.value = 0


@bench(100)
async def an_idle_module_takes_a_run_before_anyone_is_ready(dut: Any) -> None:
    await begin(dut)
    await clock(dut)
    assert (value(dut.burst_ready_i), value(dut.run_ready_o)) == (0, 1)
    await Driver(dut, "run_valid_i", "run_ready_o", RUN).send([_run(dut, 0, 7, 1)])
    await clock(dut, 2)
    assert (value(dut.burst_valid_o), value(dut.run_ready_o)) == (1, 0)


@bench(5_000)
async def the_longest_runs_begin_as_they_must(dut: Any) -> None:
    await begin(dut)
    for bits in range(16, len(dut.run_beats_i)):
        driver, monitor = _ends(dut, 0.0, 0.0)
        run = _run(dut, 0, 1 << bits, 1)
        await driver.send([run])
        await clock(dut, 20)
        monitor.stop()
        await reset(dut, 1)
        shorter = _bursts(dut, [run | {"run_beats_i": 1 << 16}])[:15]
        assert monitor.taken[:15] == shorter


@bench(5_000)
async def a_reset_forgets_the_run(dut: Any) -> None:
    await begin(dut)
    for _ in range(20):
        driver, monitor = _ends(dut, 0.0, 0.7)
        task = cocotb.start_soon(driver.send([_run(dut, 0, 4000, 1)] * 3))
        await clock(dut, random.randrange(3, 15))
        task.cancel()
        monitor.stop()
        dut.run_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 2)
        assert value(dut.burst_valid_o) == 0
        driver, monitor = _ends(dut, 0.0, 0.3)
        run = _run(dut, PAGE - 16, 20, 1)
        await driver.send([run])
        await clock(dut, 40)
        monitor.stop()
        assert monitor.taken == _bursts(dut, [run])
