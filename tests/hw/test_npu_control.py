"""The control registers: AXI4-Lite, the life of a run, counters, errors, watchdog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from intaglio.hw.npu_registers import IDENTITY, UNIT_STRIDE, UNITS, Register
from intaglio.templates.npu.isa import ISA_VERSION
from tests.rtl.control import Control, build_control

pytestmark = pytest.mark.rtl

START, SOFT_RESET = 1, 2
BUSY, DONE, ERROR = 1, 2, 4
OKAY, SLAVE_ERROR = 0, 2
WRITABLE = {
    Register.PROGRAM: 32,
    Register.PROGRAM + 4: 32,
    Register.COUNT: 32,
    Register.WATCHDOG: 32,
    Register.INTERRUPT: 1,
    Register.BASE: 32,
    Register.BASE + 4: 32,
}
COUNTERS = [Register.CYCLES, Register.READ_BEATS, Register.WRITE_BEATS] + [
    Register.UNITS + UNIT_STRIDE * unit + 8 * index for unit in range(UNITS) for index in range(4)
]
READABLE = {
    *(int(r) for r in (Register.ID, Register.VERSION, Register.CONTROL, Register.STATUS)),
    int(Register.WAITING),
    int(Register.WAITING_HIGH),
    *(int(r) for r in WRITABLE),
    *(int(counter) + half for counter in COUNTERS for half in (0, 4)),
}


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_control(tmp_path_factory.mktemp("cache"))


@pytest.fixture(params=[0.0, 0.6], ids=["fast", "slow"])
def control(library: Path, request: pytest.FixtureRequest) -> Iterator[Control]:
    made = Control(library, seed=1, delay=request.param)
    yield made
    made.close()


def _start(control: Control, count: int, watchdog: int = 0) -> None:
    control.write(Register.COUNT, count)
    control.write(Register.WATCHDOG, watchdog)
    control.write(Register.INTERRUPT, 1)
    assert control.write(Register.CONTROL, START) == OKAY


def _pulse(control: Control, **inputs: int) -> None:
    control.inputs.update(inputs)
    control.step()
    control.inputs.update(dict.fromkeys(inputs, 0))


def test_identity_and_version(control: Control) -> None:
    assert control.value(Register.ID) == IDENTITY
    assert control.value(Register.VERSION) == 4 << 24 | 8 << 16 | 4 << 8 | ISA_VERSION


def test_every_address_is_answered(control: Control) -> None:
    for address in range(0, 1 << 12, 4):
        data, response = control.read(address)
        assert response == (OKAY if address in READABLE else SLAVE_ERROR)
        assert response == OKAY or data == 0
    for address in range(0, 1 << 12, 4):
        legal = address in WRITABLE or address == Register.CONTROL
        assert control.write(address, 0) == (OKAY if legal else SLAVE_ERROR)


def test_strobes_choose_bytes(control: Control) -> None:
    rng = np.random.default_rng(7)
    expected = dict.fromkeys(WRITABLE, 0)
    for _ in range(200):
        register = list(WRITABLE)[int(rng.integers(0, len(WRITABLE)))]
        value, strobes = int(rng.integers(0, 1 << 32)), int(rng.integers(0, 16))
        assert control.write(register, value, strobes) == OKAY
        mask = sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
        merged = expected[register] & ~mask | value & mask
        expected[register] = merged & ((1 << WRITABLE[register]) - 1)
        assert {name: control.value(name) for name in WRITABLE} == expected
    base = expected[Register.BASE] | expected[Register.BASE + 4] << 32
    program = expected[Register.PROGRAM] | expected[Register.PROGRAM + 4] << 32
    assert control.peek("base_o") == base % (1 << 40)
    assert control.peek("program_o") == (base + program) % (1 << 40)
    assert control.peek("count_o") == expected[Register.COUNT]


def test_a_run_ends_when_all_have_retired(control: Control) -> None:
    _start(control, 9)
    assert control.value(Register.STATUS) == BUSY
    for retired in (0b1111, 0b0001, 0b1010, 0b0000, 0b0100):
        _pulse(control, retired_i=retired)
        assert control.peek("irq_o") == 0
    assert control.value(Register.STATUS) == BUSY
    _pulse(control, retired_i=0b1000)
    control.step(2)
    assert control.peek("irq_o") == 1
    assert control.value(Register.STATUS) == DONE
    instructions = [control.wide(Register.UNITS + UNIT_STRIDE * unit + 24) for unit in range(UNITS)]
    assert instructions == [2, 2, 2, 3, 0]
    control.write(Register.INTERRUPT, 0)
    assert control.peek("irq_o") == 0


def test_counters_count_what_they_name(control: Control) -> None:
    rng = np.random.default_rng(8)
    _start(control, 1)
    first = control.wide(Register.CYCLES)
    names = ("read_beat_i", "write_beat_i", "busy_i", "stall_i", "waiting_i", "missing_i")
    widths = dict(zip(names, (1, 1, UNITS, UNITS, UNITS, UNITS * UNITS), strict=True))
    totals = dict.fromkeys(COUNTERS, 0)
    for _ in range(500):
        drawn = {name: int(rng.integers(0, 1 << width)) for name, width in widths.items()}
        _pulse(control, **drawn)
        totals[Register.READ_BEATS] += drawn["read_beat_i"]
        totals[Register.WRITE_BEATS] += drawn["write_beat_i"]
        for unit in range(UNITS):
            busy = drawn["busy_i"] >> unit & 1
            lacks = drawn["waiting_i"] >> unit & 1 and drawn["missing_i"] >> UNITS * unit & 31
            at = Register.UNITS + UNIT_STRIDE * unit
            totals[at] += busy
            totals[at + 8] += bool(lacks and not busy)
            totals[at + 16] += drawn["stall_i"] >> unit & 1
    totals[Register.UNITS + UNIT_STRIDE + 24] = 1
    _pulse(control, retired_i=0b0010)
    control.step(2)
    assert control.wide(Register.CYCLES) > first + 500
    del totals[Register.CYCLES]
    assert {counter: control.wide(counter) for counter in totals} == totals


def test_a_start_clears_counters_and_resets_the_units(library: Path) -> None:
    control = Control(library)
    _start(control, 1)
    _pulse(control, read_beat_i=1)
    _pulse(control, retired_i=1)
    control.step(2)
    assert control.wide(Register.READ_BEATS) == 1
    control.inputs.update(awaddr_i=Register.CONTROL, wdata_i=START, wstrb_i=0xF)
    control.inputs.update(awvalid_i=1, wvalid_i=1, bready_i=1)
    control.step()
    control.inputs.update(awvalid_i=0, wvalid_i=0)
    lines = [control.step() for _ in range(4)]
    assert [line["unit_rst_no"] for line in lines] == [1, 0, 1, 1]
    assert [line["start_o"] for line in lines] == [0, 0, 1, 0]
    assert control.wide(Register.READ_BEATS) == 0
    assert control.value(Register.STATUS) == BUSY
    control.close()


def test_a_start_while_busy_is_ignored(control: Control) -> None:
    _start(control, 2)
    _pulse(control, retired_i=1)
    control.write(Register.CONTROL, START)
    _pulse(control, retired_i=1)
    control.step(2)
    assert control.value(Register.STATUS) == DONE


ERRORS = {
    "illegal_i": 1,
    "read_error_i": 2,
    "write_error_i": 3,
}


@pytest.mark.parametrize("cause", ERRORS)
def test_an_error_halts_until_a_soft_reset(control: Control, cause: str) -> None:
    _start(control, 5)
    _pulse(control, **{cause: 1})
    control.step(2)
    status = ERRORS[cause] << 8 | ERROR
    assert control.value(Register.STATUS) == status
    assert control.peek("halt_o") == 1
    assert control.peek("irq_o") == 1
    control.write(Register.CONTROL, START)
    assert control.value(Register.STATUS) == status
    control.inputs["memory_idle_i"] = 1
    control.write(Register.CONTROL, SOFT_RESET)
    control.step(2)
    assert control.value(Register.STATUS) == 0
    assert control.peek("halt_o") == 0


def test_a_soft_reset_waits_for_memory(control: Control) -> None:
    _start(control, 5)
    control.write(Register.CONTROL, SOFT_RESET)
    control.step(20)
    assert control.value(Register.STATUS) == BUSY
    assert control.peek("flush_o") == 1
    assert control.peek("unit_rst_no") == 0
    control.inputs["memory_idle_i"] = 1
    control.step(2)
    assert control.value(Register.STATUS) == 0
    assert control.peek("flush_o") == 0
    assert control.peek("unit_rst_no") == 1


def test_the_watchdog_counts_quiet_cycles(library: Path) -> None:
    control = Control(library)
    _start(control, 5, watchdog=50)
    for _ in range(5):
        control.step(45)
        _pulse(control, progress_i=1)
    control.step(49)
    assert control.peek("halt_o") == 0
    control.step(5)
    assert control.value(Register.STATUS) == 4 << 8 | ERROR
    control.close()


def test_waiting_shows_every_unit(control: Control) -> None:
    missing = sum(bits << UNITS * unit for unit, bits in enumerate((1, 2, 4, 8, 16)))
    control.inputs.update(busy_i=0b10101, waiting_i=0b01100, missing_i=missing)
    assert control.value(Register.WAITING) == 0x28640241
    assert control.value(Register.WAITING_HIGH) == 0x50
