"""npu_control: the register map over AXI4-Lite, the life of a run, errors and the watchdog."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiLiteBus

from intaglio.hw.npu_registers import IDENTITY, UNIT_STRIDE, UNITS, Register
from intaglio.templates.npu.isa import ISA_VERSION
from tests.rtl.cocotb_axi import SOFT_RESET, START, Host, renamed
from tests.rtl.cocotb_bench import begin, bench, clock, reset, skip, start_clock, value, wait_for

BUSY, DONE, ERROR = 1, 2, 4
ERRORS = {"illegal_i": 1, "read_error_i": 2, "write_error_i": 3}
WIDTHS = {
    Register.PROGRAM: 32, Register.PROGRAM + 4: 32, Register.COUNT: 32, Register.WATCHDOG: 32,
    Register.INTERRUPT: 1, Register.BASE: 32, Register.BASE + 4: 32,
}  # fmt: skip
COUNTERS = [Register.CYCLES, Register.READ_BEATS, Register.WRITE_BEATS] + [
    Register.UNITS + UNIT_STRIDE * unit + 8 * index for unit in range(UNITS) for index in range(4)
]
READABLE = {
    int(Register.ID), int(Register.VERSION), int(Register.CONTROL), int(Register.STATUS),
    int(Register.WAITING), int(Register.WAITING_HIGH), *map(int, WIDTHS),
    *(int(c) + half for c in COUNTERS for half in (0, 4)),
}  # fmt: skip


async def _host(dut: Any, stall: float = 0.0) -> Host:
    start_clock(dut)
    host = Host(dut, AxiLiteBus.from_prefix(renamed(dut, "axil"), "axil"), stall)
    await reset(dut, 3)
    return host


async def _pulse(dut: Any, **signals: int) -> None:
    for name, number in signals.items():
        getattr(dut, name).value = number
    await RisingEdge(dut.clk_i)
    for name in signals:
        getattr(dut, name).value = 0
    await RisingEdge(dut.clk_i)


@bench(60_000)
async def every_address_is_answered(dut: Any) -> None:
    host = await _host(dut)
    assert await host.number(Register.ID) == IDENTITY
    lanes, cols = value(dut.Lanes), value(dut.Cols)
    expected = lanes << 24 | cols << 16 | lanes << 8 | ISA_VERSION
    assert await host.number(Register.VERSION) == expected
    for address in range(0, 1 << 12, 4):
        data, known = await host.get(address)
        assert known == (address in READABLE)
        assert known or data == 0
        writable = address in WIDTHS or address == Register.CONTROL
        assert await host.put(address, 0) == writable


@bench(60_000)
async def writes_of_any_bytes_under_stalls(dut: Any) -> None:
    host = await _host(dut, 0.4)
    expected = dict.fromkeys(WIDTHS, 0)
    for _ in range(150):
        register, offset = random.choice(list(WIDTHS)), random.randrange(4)
        size = random.randint(1, 4 - offset)
        number = random.getrandbits(8 * size)
        assert await host.put(register + offset, number, size)
        mask = ((1 << 8 * size) - 1) << 8 * offset
        merged = expected[register] & ~mask | number << 8 * offset
        expected[register] = merged & (1 << WIDTHS[register]) - 1
        assert await host.number(register) == expected[register]
    for register, number in expected.items():
        assert await host.number(register) == number
    base = expected[Register.BASE] | expected[Register.BASE + 4] << 32
    program = expected[Register.PROGRAM] | expected[Register.PROGRAM + 4] << 32
    assert value(dut.base_o) == base % (1 << 40)
    assert value(dut.program_o) == (base + program) % (1 << 40)
    assert value(dut.count_o) == expected[Register.COUNT]


async def _write_once(dut: Any, first: str, number: int, strobes: int) -> None:
    """Writes COUNT with the channels `first` (aw, w or both) ahead; then the bus holds noise."""
    payload = {
        "aw": {"awaddr_i": int(Register.COUNT)},
        "w": {"wdata_i": number, "wstrb_i": strobes},
    }
    for channels in (first.split(), [name for name in payload if name not in first.split()]):
        for channel in channels:
            getattr(dut, f"{channel}valid_i").value = 1
            for name, bits in payload[channel].items():
                getattr(dut, name).value = bits
        await RisingEdge(dut.clk_i)
        for channel in channels:
            getattr(dut, f"{channel}valid_i").value = 0
            for name in payload[channel]:
                getattr(dut, name).value = random.getrandbits(len(getattr(dut, name)))
        await clock(dut, random.randrange(1, 4))
    await clock(dut, 3)


@bench(20_000)
async def strobes_with_holes_in_any_order(dut: Any) -> None:
    await begin(dut)
    dut.bready_i.value = 1
    for first in ("aw w", "aw", "w"):
        for strobes in range(16):
            await _write_once(dut, first, 0, 15)
            assert value(dut.count_o) == 0
            await _write_once(dut, first, 0xFFFF_FFFF, strobes)
            expected = sum(0xFF << 8 * at for at in range(4) if strobes >> at & 1)
            assert value(dut.count_o) == expected


@bench(20_000)
async def address_and_data_in_any_order(dut: Any) -> None:
    host = await _host(dut)
    write = host.master.write_if
    for first, second in ((write.aw_channel, write.w_channel), (write.w_channel, write.aw_channel)):
        for number in range(1, 6):
            second.pause = True
            task = cocotb.start_soon(host.put(Register.COUNT, number))
            await clock(dut, 12)
            assert not task.done()
            assert value(dut.count_o) == number - 1
            assert first.empty()
            second.pause = False
            assert await task
            assert value(dut.count_o) == number
        assert await host.put(Register.COUNT, 0)


@bench(20_000)
async def reads_and_writes_at_once(dut: Any) -> None:
    host = await _host(dut, 0.3)
    for number in range(60):
        writes = cocotb.start_soon(host.put(Register.COUNT, number))
        read = await host.number(Register.ID)
        assert read == IDENTITY
        assert await writes
        assert await host.number(Register.COUNT) == number


@bench(20_000)
async def answers_wait_for_the_host(dut: Any) -> None:
    host = await _host(dut)
    write, read = host.master.write_if, host.master.read_if
    write.b_channel.pause = read.r_channel.pause = True
    await clock(dut, 2)
    tasks = [cocotb.start_soon(host.put(Register.COUNT, 7)),
             cocotb.start_soon(host.number(Register.ID))]  # fmt: skip
    await clock(dut, 40)
    assert (value(dut.bvalid_o), value(dut.rvalid_o)) == (1, 1)
    assert (value(dut.bresp_o), value(dut.rdata_o)) == (0, IDENTITY)
    write.b_channel.pause = read.r_channel.pause = False
    assert await tasks[0]
    assert await tasks[1] == IDENTITY


@bench(20_000)
async def a_reset_amid_a_transfer(dut: Any) -> None:
    host = await _host(dut)
    for hold in ("awvalid_i", "wvalid_i", "arvalid_i"):
        await host.put(Register.COUNT, 5)
        dut.awaddr_i.value = dut.araddr_i.value = int(Register.COUNT)
        getattr(dut, hold).value = 1
        await clock(dut, 2)
        getattr(dut, hold).value = 0
        await reset(dut, 2)
        await clock(dut, 2)
        assert (value(dut.bvalid_o), value(dut.rvalid_o), value(dut.count_o)) == (0, 0, 0)
        assert await host.put(Register.WATCHDOG, 9)
        assert await host.number(Register.WATCHDOG) == 9
        assert value(dut.count_o) == 0


@bench(20_000)
async def a_run_ends_with_its_last_retirement(dut: Any) -> None:
    host = await _host(dut)
    for count in (0, 1, 6, 13):
        await host.start(count)
        left = count
        while left:
            assert await host.number(Register.STATUS) == BUSY
            assert not value(dut.irq_o)
            units = random.sample(range(4), random.randint(1, min(4, left)))
            await _pulse(dut, retired_i=sum(1 << unit for unit in units))
            left -= len(units)
        await wait_for(dut, lambda: bool(value(dut.irq_o)), 20)
        assert await host.number(Register.STATUS) == DONE
        retired = [await host.number(Register.UNITS + UNIT_STRIDE * u + 24) for u in range(UNITS)]
        assert sum(retired) == count


@bench(20_000)
async def counters_count_while_it_runs(dut: Any) -> None:
    host = await _host(dut)
    await _pulse(dut, read_beat_i=1)
    await host.start(1)
    pulses = {"read_beat_i": Register.READ_BEATS, "write_beat_i": Register.WRITE_BEATS}
    for unit in range(UNITS):
        first = Register.UNITS + UNIT_STRIDE * unit
        cases = (
            ({"busy_i": 1 << unit}, (1, 0, 0)),
            ({"stall_i": 1 << unit}, (0, 0, 1)),
            ({"waiting_i": 1 << unit, "missing_i": 8 << UNITS * unit}, (0, 1, 0)),
            ({"waiting_i": 1 << unit}, (0, 0, 0)),
            (
                {"waiting_i": 1 << unit, "missing_i": 8 << UNITS * unit, "busy_i": 1 << unit},
                (1, 0, 0),
            ),
        )
        for signals, steps in cases:
            before = [await host.number(first + 8 * at) for at in range(3)]
            await _pulse(dut, **signals)
            after = [await host.number(first + 8 * at) for at in range(3)]
            assert tuple(b - a for a, b in zip(before, after, strict=True)) == steps
    for name, register in pulses.items():
        before_one = await host.number(register)
        await _pulse(dut, **{name: 1})
        assert await host.number(register) == before_one + 1
    await _pulse(dut, retired_i=1)
    end = await host.number(Register.CYCLES)
    await clock(dut, 20)
    assert await host.number(Register.CYCLES) == end


@bench(500_000)
async def counters_count_far(dut: Any) -> None:
    host = await _host(dut)
    await host.start(1)
    signals = {"read_beat_i": 1, "write_beat_i": 1, "busy_i": 31, "stall_i": 31}
    for cycles in (0x2AAAA, 0x15555):
        before = [await host.number(register) for register in COUNTERS]
        for name, number in signals.items():
            getattr(dut, name).value = number
        await skip(dut, cycles)
        for name in signals:
            getattr(dut, name).value = 0
        await clock(dut)
        after = [await host.number(register) for register in COUNTERS]
        grown = [b - a for a, b in zip(before, after, strict=True)][1:]
        assert grown == [cycles, cycles, *(cycles, 0, cycles, 0) * UNITS]


@bench(20_000)
async def an_error_stays_until_a_soft_reset(dut: Any) -> None:
    host = await _host(dut)
    for cause, code in ERRORS.items():
        await host.start(3)
        await _pulse(dut, **{cause: 1})
        await clock(dut, 2)
        status = code << 8 | ERROR
        assert await host.number(Register.STATUS) == status
        assert (value(dut.halt_o), value(dut.irq_o)) == (1, 1)
        for other in ERRORS:
            await _pulse(dut, **{other: 1})
        await host.put(Register.CONTROL, START)
        assert await host.number(Register.STATUS) == status
        dut.memory_idle_i.value = 1
        await host.put(Register.CONTROL, SOFT_RESET)
        await clock(dut, 3)
        assert await host.number(Register.STATUS) == 0
        assert (value(dut.halt_o), value(dut.irq_o)) == (0, 0)
        dut.memory_idle_i.value = 0


@bench(20_000)
async def a_soft_reset_waits_for_memory_and_beats_a_start(dut: Any) -> None:
    host = await _host(dut)
    await host.start(3)
    await host.put(Register.CONTROL, SOFT_RESET | START)
    for _ in range(30):
        await RisingEdge(dut.clk_i)
        assert (value(dut.flush_o), value(dut.unit_rst_no), value(dut.start_o)) == (1, 0, 0)
    assert await host.number(Register.STATUS) == BUSY
    await host.put(Register.CONTROL, START)
    assert value(dut.flush_o)
    dut.memory_idle_i.value = 1
    await clock(dut, 3)
    assert (value(dut.flush_o), value(dut.unit_rst_no)) == (0, 1)
    assert await host.number(Register.STATUS) == 0


@bench(20_000)
async def the_watchdog_needs_that_many_quiet_cycles(dut: Any) -> None:
    host = await _host(dut)
    for limit in (1, 2, 40):
        dut.progress_i.value = 1
        await host.start(3, watchdog=limit)
        await clock(dut, 100)
        assert not value(dut.halt_o)
        dut.progress_i.value = 0
        await clock(dut, limit)
        assert not value(dut.halt_o)
        await clock(dut, 5)
        assert value(dut.halt_o)
        assert await host.number(Register.STATUS) == 4 << 8 | ERROR
        dut.memory_idle_i.value = 1
        await host.put(Register.CONTROL, SOFT_RESET)
        await clock(dut, 3)
    await host.start(3, watchdog=0)
    await clock(dut, 500)
    assert await host.number(Register.STATUS) == BUSY


@bench(5_000)
async def waiting_shows_every_unit(dut: Any) -> None:
    host = await _host(dut)
    for _ in range(50):
        busy, waiting = random.getrandbits(UNITS), random.getrandbits(UNITS)
        missing = random.getrandbits(UNITS * UNITS)
        dut.busy_i.value, dut.waiting_i.value, dut.missing_i.value = busy, waiting, missing
        expected = sum(
            ((busy >> u & 1) << 6 | (waiting >> u & 1) << 5 | missing >> UNITS * u & 31) << 8 * u
            for u in range(UNITS)
        )
        assert await host.number(Register.WAITING) == expected & 0xFFFFFFFF
        assert await host.number(Register.WAITING_HIGH) == expected >> 32
