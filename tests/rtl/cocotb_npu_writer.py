"""npu_writer: runs on an AXI4 write channel; back-pressure, errors, flush and reset."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiSlaveWrite, AxiWriteBus

from tests.rtl.cocotb_axi import Constant, Memory, pauses, quiet, renamed
from tests.rtl.cocotb_bench import (
    Driver,
    Monitor,
    bench,
    clock,
    reset,
    start_clock,
    value,
    wait_for,
)

OUTSTANDING = 16
PAGE = 4096
RUN = ["run_addr_i", "run_beats_i", "run_last_i"]
Run = tuple[int, int, int]


class Setup:
    """The module with a memory behind it; counts pulses of `done_o` and `error_o`."""

    def __init__(self, dut: Any, easy: bool) -> None:
        self.dut = dut
        self.memory = Memory()
        self.size = value(dut.MemBytes)
        self.pulses = {"done_o": 0, "error_o": 0}
        bus = renamed(
            dut, "axi", awid=Constant(0, 1), awsize=Constant(self.size.bit_length() - 1, 3),
            awburst=Constant(1, 2), bid=Constant(0, 1),
        )  # fmt: skip
        quiet(dut)
        self.slave = AxiSlaveWrite(
            AxiWriteBus.from_prefix(bus, "axi"), dut.clk_i, dut.rst_ni, self.memory,
            reset_active_level=False,
        )  # fmt: skip
        self.slave.aw_channel.queue_occupancy_limit = 64
        self.slave.b_channel.queue_occupancy_limit = 64
        self.requests = Monitor(
            dut, "awvalid_o", "awready_i", ["awaddr_o", "awlen_o"], passive=True
        )
        self.beats = Monitor(
            dut, "wvalid_o", "wready_i", ["wdata_o", "wstrb_o", "wlast_o"], passive=True
        )
        if not easy:
            for channel in (self.slave.aw_channel, self.slave.w_channel, self.slave.b_channel):
                channel.set_pause_generator(pauses(0.4))
        cocotb.start_soon(self._count())

    async def _count(self) -> None:
        while True:
            await RisingEdge(self.dut.clk_i)
            for name in self.pulses:
                self.pulses[name] += value(getattr(self.dut, name))

    async def begin(self) -> None:
        self.dut.unit_rst_ni.value = 0
        await reset(self.dut, 3)
        self.dut.unit_rst_ni.value = 1

    def send_runs(self, runs: list[Run], pause: float = 0.0) -> Any:
        driver = Driver(self.dut, "run_valid_i", "run_ready_o", RUN, pause)
        return cocotb.start_soon(driver.send([dict(zip(RUN, run, strict=True)) for run in runs]))

    def send_data(self, data: list[int], pause: float = 0.0) -> Any:
        driver = Driver(self.dut, "data_valid_i", "data_ready_o", ["data_i"], pause)
        return cocotb.start_soon(driver.send([{"data_i": word} for word in data]))

    def image(self, runs: list[Run], data: list[int]) -> dict[int, int]:
        """The bytes of memory that `runs` write."""
        words = iter(data)
        found: dict[int, int] = {}
        for address, beats, _ in runs:
            for at in range(address, address + beats * self.size, self.size):
                word = next(words).to_bytes(self.size, "little")
                found.update(zip(range(at, at + self.size), word, strict=True))
        return found


async def _setup(dut: Any, easy: bool = True) -> Setup:
    start_clock(dut)
    setup = Setup(dut, easy)
    await setup.begin()
    return setup


def _runs(dut: Any, count: int, most: int = 30) -> list[Run]:
    """Runs in memory of their own, often across the end of a page."""
    size, found = value(dut.MemBytes), []
    base = random.getrandbits(27) * PAGE
    for index in range(count):
        beats = 700 if random.random() < 0.03 else random.randint(1, most)
        offset = random.choice((PAGE - size, PAGE - 2 * size, random.randrange(0, PAGE, size)))
        found.append((base + index * 4 * PAGE + offset, beats, random.getrandbits(1)))
    return found


def _data(setup: Setup, runs: list[Run]) -> list[int]:
    return [random.getrandbits(8 * setup.size) for _, beats, _ in runs for _ in range(beats)]


async def _all_done(setup: Setup) -> None:
    await wait_for(setup.dut, lambda: bool(value(setup.dut.idle_o)))
    await clock(setup.dut, 4)


@bench(60_000)
async def memory_holds_what_was_written(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    for pause in (0.0, 0.5):
        setup.memory.bytes.clear()
        setup.pulses["done_o"] = 0
        runs = _runs(dut, 40)
        data = _data(setup, runs)
        tasks = [setup.send_runs(runs, 0.2), setup.send_data(data, pause)]
        for task in tasks:
            await task
        await _all_done(setup)
        assert setup.memory.bytes == setup.image(runs, data)
        assert setup.pulses == {"done_o": sum(last for _, _, last in runs), "error_o": 0}


@bench(10_000)
async def done_means_acknowledged(dut: Any) -> None:
    setup = await _setup(dut)
    setup.slave.b_channel.pause = True
    runs = [(PAGE * at - 8, 5, 1) for at in range(1, 4)]
    data = _data(setup, runs)
    setup.send_runs(runs)
    setup.send_data(data)
    await clock(dut, 200)
    assert setup.memory.bytes == setup.image(runs, data)
    assert setup.pulses["done_o"] == 0
    setup.slave.b_channel.pause = False
    await _all_done(setup)
    assert setup.pulses["done_o"] == 3


@bench(10_000)
async def bursts_keep_to_256_beats_and_pages(dut: Any) -> None:
    setup = await _setup(dut)
    runs = [(PAGE - setup.size, 900, 1)]
    data = _data(setup, runs)
    setup.send_runs(runs)
    await setup.send_data(data)
    await _all_done(setup)
    assert setup.memory.bytes == setup.image(runs, data)
    assert setup.requests.taken[0] == {"awaddr_o": PAGE - setup.size, "awlen_o": 0}
    for request in setup.requests.taken:
        assert request["awaddr_o"] % PAGE + (request["awlen_o"] + 1) * setup.size <= PAGE


@bench(5_000)
async def at_most_sixteen_bursts_are_outstanding(dut: Any) -> None:
    setup = await _setup(dut)
    runs = [(PAGE * at, 2, 1) for at in range(30)]
    data = _data(setup, runs)
    setup.send_runs(runs)
    await clock(dut, 300)
    assert len(setup.requests.taken) == OUTSTANDING
    assert not setup.beats.taken
    await setup.send_data(data)
    await _all_done(setup)
    assert setup.memory.bytes == setup.image(runs, data)
    assert setup.pulses["done_o"] == 30


@bench(5_000)
async def the_longest_runs_begin_with_whole_bursts(dut: Any) -> None:
    setup = await _setup(dut)
    full = min(256, PAGE // setup.size)
    for bits in range(10, len(dut.run_beats_i)):
        before = len(setup.requests.taken)
        page = random.getrandbits(28) * PAGE
        await setup.send_runs([(page, 1 << bits, 1)])
        await clock(dut, 12)
        taken = setup.requests.taken[before:]
        assert taken
        for index, request in enumerate(taken):
            assert request == {"awaddr_o": page + index * full * setup.size, "awlen_o": full - 1}
        await setup.begin()
        await clock(dut, 3)


@bench(5_000)
async def every_bad_response_is_reported(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    setup.memory.bad = range(2 * PAGE, 4 * PAGE)
    runs = [(PAGE * at, 3, 1) for at in range(6)]
    setup.send_runs(runs)
    await setup.send_data(_data(setup, runs))
    await _all_done(setup)
    assert setup.pulses == {"done_o": 6, "error_o": 2}


@bench(60_000)
async def a_flush_completes_bursts_without_data(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    for _ in range(12):
        setup.memory.bytes.clear()
        runs = _runs(dut, 10)
        data = _data(setup, runs)
        tasks = [setup.send_runs(runs), setup.send_data(data, 0.3)]
        await clock(dut, random.randrange(5, 200))
        for task in tasks:
            task.cancel()
        dut.run_valid_i.value = dut.data_valid_i.value = 0
        dut.unit_rst_ni.value, dut.flush_i.value = 0, 1
        await clock(dut)
        await _all_done(setup)
        assert setup.memory.bytes.items() <= setup.image(runs, data).items()
        dut.unit_rst_ni.value, dut.flush_i.value = 1, 0
        await _works(setup)


@bench(30_000)
async def a_reset_of_everything(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    for _ in range(6):
        runs = _runs(dut, 10)
        tasks = [setup.send_runs(runs), setup.send_data(_data(setup, runs))]
        await clock(dut, random.randrange(5, 150))
        for task in tasks:
            task.cancel()
        dut.run_valid_i.value = dut.data_valid_i.value = 0
        await setup.begin()
        await clock(dut, 2)
        assert (value(dut.awvalid_o), value(dut.wvalid_o), value(dut.idle_o)) == (0, 0, 1)
        await _works(setup)


async def _works(setup: Setup) -> None:
    setup.memory.bytes.clear()
    runs = _runs(setup.dut, 4)
    data = _data(setup, runs)
    setup.send_runs(runs)
    await setup.send_data(data)
    await _all_done(setup)
    assert setup.memory.bytes == setup.image(runs, data)
