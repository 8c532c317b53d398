"""npu_reader: two clients on one AXI4 read channel; back-pressure, errors, flush and reset."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiReadBus, AxiSlaveRead

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
from tests.rtl.cocotb_boxes import beat

OUTSTANDING = 16
PAGE = 4096
CLIENTS = ("fetch", "load")
Runs = list[tuple[int, int]]


class Setup:
    """The module with a memory behind it and a driver and a taker for each client."""

    def __init__(self, dut: Any, easy: bool = True) -> None:
        self.dut = dut
        self.memory = Memory(scrambled=True)
        size = value(dut.MemBytes)
        bus = renamed(
            dut, "axi", arid=Constant(0, 1), arsize=Constant(size.bit_length() - 1, 3),
            arburst=Constant(1, 2), rid=Constant(0, 1),
        )  # fmt: skip
        quiet(dut)
        self.slave = AxiSlaveRead(
            AxiReadBus.from_prefix(bus, "axi"), dut.clk_i, dut.rst_ni, self.memory,
            reset_active_level=False,
        )  # fmt: skip
        self.slave.ar_channel.queue_occupancy_limit = 64
        self.requests = Monitor(
            dut, "arvalid_o", "arready_i", ["araddr_o", "arlen_o"], passive=True
        )
        if not easy:
            self.slave.ar_channel.set_pause_generator(pauses(0.5))
            self.slave.r_channel.set_pause_generator(pauses(0.4))

    async def begin(self) -> None:
        self.dut.unit_rst_ni.value = 0
        await reset(self.dut, 3)
        self.dut.unit_rst_ni.value = 1

    def driver(self, client: str, pause: float = 0.0) -> Driver:
        names = [f"{client}_run_addr_i", f"{client}_run_beats_i"]
        return Driver(self.dut, f"{client}_run_valid_i", f"{client}_run_ready_o", names, pause)

    def taker(self, client: str, stall: float = 0.0) -> Monitor:
        names = (f"{client}_data_valid_o", f"{client}_data_ready_i")
        return Monitor(self.dut, *names, ["data_o"], stall)

    def items(self, client: str, runs: Runs) -> list[dict[str, int]]:
        return [{f"{client}_run_addr_i": a, f"{client}_run_beats_i": n} for a, n in runs]

    def data(self, runs: Runs) -> list[dict[str, int]]:
        size = value(self.dut.MemBytes)
        return [{"data_o": beat(a + size * i, size)} for a, n in runs for i in range(n)]


async def _setup(dut: Any, easy: bool = True) -> Setup:
    start_clock(dut)
    setup = Setup(dut, easy)
    await setup.begin()
    return setup


def _runs(dut: Any, count: int, most: int = 40) -> Runs:
    """Runs that start anywhere, often just before the end of a page."""
    size = value(dut.MemBytes)
    found = []
    for _ in range(count):
        offset = random.choice((random.randrange(0, PAGE, size), PAGE - size, PAGE - 3 * size))
        beats = 1100 if random.random() < 0.03 else random.randint(1, most)
        found.append((random.getrandbits(26) * PAGE + offset, beats))
    return found


@bench(60_000)
async def both_clients_get_their_data(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    for stall in (0.0, 0.5):
        runs = {client: _runs(dut, 40) for client in CLIENTS}
        takers = {client: setup.taker(client, stall) for client in CLIENTS}
        for client in CLIENTS:
            cocotb.start_soon(setup.driver(client, 0.3).send(setup.items(client, runs[client])))
        expected = {client: setup.data(runs[client]) for client in CLIENTS}
        for client in CLIENTS:
            await takers[client].until(len(expected[client]), 25_000)
        await clock(dut, 20)
        assert value(dut.idle_o)
        for client in CLIENTS:
            takers[client].stop()
            assert takers[client].taken == expected[client]


@bench(5_000)
async def bursts_keep_to_256_beats_and_pages(dut: Any) -> None:
    setup = await _setup(dut)
    size = value(dut.MemBytes)
    taker = setup.taker("load")
    await setup.driver("load").send(setup.items("load", [(PAGE - size, 900)]))
    await taker.until(900)
    assert taker.taken == setup.data([(PAGE - size, 900)])
    assert setup.requests.taken[0] == {"araddr_o": PAGE - size, "arlen_o": 0}
    for request in setup.requests.taken:
        length = (request["arlen_o"] + 1) * size
        assert request["araddr_o"] % PAGE + length <= PAGE


@bench(3_000)
async def at_most_sixteen_bursts_are_outstanding(dut: Any) -> None:
    setup = await _setup(dut)
    setup.slave.r_channel.pause = True
    runs = [(PAGE * at, 2) for at in range(30)]
    taker = setup.taker("fetch")
    task = cocotb.start_soon(setup.driver("fetch").send(setup.items("fetch", runs)))
    await clock(dut, 300)
    assert len(setup.requests.taken) == OUTSTANDING
    assert not value(dut.idle_o)
    setup.slave.r_channel.pause = False
    await task
    await taker.until(60)
    assert taker.taken == setup.data(runs)


@bench(10_000)
async def load_asks_for_read_ahead_only(dut: Any) -> None:
    setup = await _setup(dut)
    ahead = value(dut.ReadAhead)
    for beats in (ahead // 8, ahead // 8 - 1, ahead // 4 - 1, ahead // 4 + 1):
        setup.slave.r_channel.pause = True
        before, runs = len(setup.requests.taken), [(PAGE * at, beats) for at in range(12)]
        taker = setup.taker("load")
        task = cocotb.start_soon(setup.driver("load").send(setup.items("load", runs)))
        await clock(dut, 100)
        assert len(setup.requests.taken) - before == -(-ahead // beats)
        setup.slave.r_channel.pause = False
        await task
        await taker.until(12 * beats)
        taker.stop()
        assert taker.taken == setup.data(runs)


@bench(5_000)
async def fetch_goes_first(dut: Any) -> None:
    setup = await _setup(dut)
    setup.slave.r_channel.pause = True
    beats = value(dut.ReadAhead) // 8
    loads = [(PAGE * at, beats) for at in range(30)]
    fetches = [(PAGE * at, 4) for at in range(100, 103)]
    takers = {client: setup.taker(client) for client in CLIENTS}
    cocotb.start_soon(setup.driver("load").send(setup.items("load", loads)))
    await clock(dut, 200)
    assert len(setup.requests.taken) == 8
    cocotb.start_soon(setup.driver("fetch").send(setup.items("fetch", fetches)))
    await clock(dut, 60)
    assert [r["araddr_o"] for r in setup.requests.taken[-3:]] == [a for a, _ in fetches]
    setup.slave.r_channel.pause = False
    await takers["load"].until(30 * beats)
    assert takers["load"].taken == setup.data(loads)
    assert takers["fetch"].taken == setup.data(fetches)


@bench(10_000)
async def the_longest_runs_begin_with_whole_bursts(dut: Any) -> None:
    setup = await _setup(dut)
    setup.slave.r_channel.pause = True
    full = min(256, PAGE // value(dut.MemBytes))
    for client in CLIENTS:
        for bits in range(10, len(dut.load_run_beats_i)):
            before = len(setup.requests.taken)
            page = random.getrandbits(28) * PAGE
            runs = [(page, 1 << bits)]
            await setup.driver(client).send(setup.items(client, runs))
            await clock(dut, 12)
            taken = setup.requests.taken[before:]
            assert taken
            for index, request in enumerate(taken):
                address = page + index * full * value(dut.MemBytes)
                assert request == {"araddr_o": address, "arlen_o": full - 1}
            await setup.begin()
            await clock(dut, 3)


@bench(5_000)
async def every_bad_response_is_reported(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    size = value(dut.MemBytes)
    setup.memory.bad = range(PAGE + 4 * size, PAGE + 7 * size)
    errors = 0
    taker = setup.taker("load", 0.3)
    await setup.driver("load").send(setup.items("load", [(PAGE, 20), (0, 20)]))
    for _ in range(400):
        await RisingEdge(dut.clk_i)
        errors += value(dut.error_o)
    assert (errors, setup.memory.failures) == (3, 3)
    assert len(taker.taken) == 40
    assert taker.taken[20:] == setup.data([(0, 20)])


async def _interrupt(setup: Setup) -> None:
    """Requests of both clients, cut off somewhere; the requests' and takers' tasks are ended."""
    dut = setup.dut
    tasks = [
        cocotb.start_soon(setup.driver(c).send(setup.items(c, _runs(dut, 20)))) for c in CLIENTS
    ]
    takers = [setup.taker(client, 0.5) for client in CLIENTS]
    await clock(dut, random.randrange(5, 150))
    for task in tasks:
        task.cancel()
    for taker in takers:
        taker.stop()
    for client in CLIENTS:
        getattr(dut, f"{client}_run_valid_i").value = 0


async def _works(setup: Setup) -> None:
    runs = _runs(setup.dut, 5)
    expected = setup.data(runs)
    taker = setup.taker("fetch", 0.2)
    await setup.driver("fetch").send(setup.items("fetch", runs))
    await taker.until(len(expected))
    taker.stop()
    assert taker.taken == expected


@bench(60_000)
async def a_flush_drops_what_is_outstanding(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    for _ in range(12):
        await _interrupt(setup)
        dut.unit_rst_ni.value, dut.flush_i.value = 0, 1
        await clock(dut, 2)
        held = int(value(dut.arvalid_o) and not value(dut.arready_i))
        sent = len(setup.requests.taken)
        await wait_for(dut, lambda: bool(value(dut.idle_o)))
        assert len(setup.requests.taken) - sent <= held + 1
        dut.unit_rst_ni.value, dut.flush_i.value = 1, 0
        await clock(dut, 30)
        assert (value(dut.fetch_data_valid_o), value(dut.load_data_valid_o)) == (0, 0)
        await _works(setup)


@bench(30_000)
async def a_reset_of_everything(dut: Any) -> None:
    setup = await _setup(dut, easy=False)
    for _ in range(6):
        await _interrupt(setup)
        await setup.begin()
        await clock(dut, 3)
        assert (value(dut.arvalid_o), value(dut.idle_o)) == (0, 1)
        await _works(setup)
