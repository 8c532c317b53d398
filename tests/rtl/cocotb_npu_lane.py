"""npu_lane: outputs of every mode through the pipeline, back to back and with gaps."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import bench, start_clock, value

RESULT_CYCLE = 12
MODES = (
    "mac_i", "max_i", "signed_i", "residual_i", "residual_signed_i", "residual_wide_i",
    "use_table_i", "high_i",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Setting:
    """What holds for all outputs of an instruction."""

    mode: dict[str, int]
    b: int
    m: int
    mr: int
    shift: int
    lo: int
    hi: int
    table: bytes

    def result(self, total: int, residual: int) -> int:
        """The byte of an output."""
        number = (
            total * self.m + residual * self.mr + self.b >> self.shift + 8 * self.mode["high_i"]
        )
        clamped = min(max(number, self.lo), self.hi) & 0xFF
        return self.table[clamped] if self.mode["use_table_i"] else clamped


def _setting(wide: bool) -> Setting:
    """A random one; with `wide` the sums are those of the array."""
    mode = {name: random.getrandbits(1) for name in MODES}
    mode["max_i"] &= ~mode["mac_i"] & 1
    mode["residual_wide_i"] &= wide
    lo = random.choice((-128, 0, -32768, random.randrange(-128, 100), random.randrange(1, 127)))
    return Setting(
        mode, random.randrange(-(1 << 44), 1 << 44) >> (0 if wide else 24),
        random.choice((1, 65535, random.getrandbits(16))),
        random.choice((-65535, 65535, random.randrange(-65535, 65536))),
        random.randrange(20, 48) if wide else random.randrange(0, 24),
        lo, random.choice((lo, 127, 255, 32767)) if lo < 127 else lo, random.randbytes(256),
    )  # fmt: skip


def _element(byte: int, signed: int) -> int:
    return byte - 256 if signed and byte > 127 else byte


async def _drive(dut: Any, signals: dict[str, int]) -> None:
    """One cycle; every strobe that is not named is low."""
    for name in ("record_valid_i", "table_valid_i", "read_valid_i", "gather_valid_i",
                 "gather_first_i", "stage_valid_i"):  # fmt: skip
        getattr(dut, name).value = signals.get(name, 0)
    for name in ("record_i", "table_i", "table_row_i", "read_i", "tap_i", "place_i", "drain_sum_i"):
        handle = getattr(dut, name)
        handle.value = signals.get(name, random.getrandbits(len(handle)))
    await RisingEdge(dut.clk_i)


async def _load(dut: Any, setting: Setting) -> None:
    """The record, the table and the mode."""
    sign = (setting.mr < 0) << 6
    record = setting.b.to_bytes(6, "little", signed=True) + setting.m.to_bytes(3, "little")
    record += abs(setting.mr).to_bytes(2, "little") + bytes([setting.shift | sign])
    for byte in record:
        await _drive(dut, {"record_valid_i": 1, "record_i": byte})
    lanes = value(dut.Lanes)
    for row in range(256 // lanes):
        word = int.from_bytes(setting.table[row * lanes :][:lanes], "little")
        await _drive(dut, {"table_valid_i": 1, "table_row_i": row, "table_i": word})
    for name, number in setting.mode.items():
        getattr(dut, name).value = number
    dut.lo_i.value, dut.hi_i.value = setting.lo & 0xFFFF, setting.hi & 0xFFFF


class Schedule:
    """The signals of every cycle for a sequence of outputs, and when each result is due.

    Windows are columns of `_rows` elements, `_wide` of them; one after the first reads some new
    ones.  `_chain` holds the products that the sum of each position is made of.
    """

    def __init__(self, setting: Setting, columns: int) -> None:
        self._setting, self._columns = setting, columns
        self._wide, self._rows = random.randint(1, columns or 1), random.randint(1, 9)
        self._chain: list[list[int]] = [[] for _ in range(columns)]
        self._fresh = True
        self.signals: dict[int, dict[str, int]] = defaultdict(dict)
        self.due: dict[int, int] = {}
        self._cycle = 0

    def _issue(self) -> int:
        self._cycle += 1 if random.random() < 0.7 else random.randint(2, 6)
        return self._cycle

    def _read(self, at: int) -> tuple[int, bytes]:
        byte, taps = random.getrandbits(8), random.randbytes(self._columns or 1)
        tap = int.from_bytes(taps, "little")
        self.signals[at + 2] |= {"read_valid_i": 1, "read_i": byte, "tap_i": tap}
        return byte, taps

    def _column(self) -> None:
        """Reads a column: every position adds it to the sum of the position before."""
        mode = self._setting.mode
        found: list[list[int]] = [[] for _ in range(self._columns)]
        for index in range(self._rows):
            at = self._issue()
            byte, taps = self._read(at)
            signals = self.signals[at + 3]
            signals |= {"gather_valid_i": 1, "gather_first_i": int(index == 0)}
            signals["place_i"] = 1 << self._columns - self._wide
            for position, tap in enumerate(taps):
                weight = _element(tap, 1) if mode["mac_i"] else 1
                found[position].append(_element(byte, mode["signed_i"]) * weight)
        self._chain = [found[0], *(a + b for a, b in zip(self._chain, found[1:], strict=False))]

    def _window(self) -> int:
        """Reads some columns of a window; its sum or maximum."""
        for _ in range(self._wide if self._fresh else random.randint(1, self._wide)):
            self._column()
        self._fresh = False
        products = self._chain[-1][-self._wide * self._rows :]
        return max(products) if self._setting.mode["max_i"] else sum(products)

    def output(self) -> None:
        """Adds an output."""
        mode, residual = self._setting.mode, 0
        if not self._columns:
            total = random.randrange(-(1 << 30), 1 << 30)
            at = self._issue()
            self.signals[at + 3] |= {"gather_valid_i": 1, "drain_sum_i": total & (1 << 32) - 1}
        else:
            total = self._window()
            at = self._issue() if mode["residual_i"] else self._cycle
        if mode["residual_i"]:
            residual = _element(self._read(at)[0], mode["residual_signed_i"])
        if mode["residual_i"] and mode["residual_wide_i"]:
            high = _element(residual & 0xFF, 1)
            at = self._issue()
            residual = high << 8 | self._read(at)[0]
        for stage in range(8):
            signals = self.signals[at + 4 + stage]
            signals["stage_valid_i"] = signals.get("stage_valid_i", 0) | 1 << stage
        self.due[at + RESULT_CYCLE] = self._setting.result(total, residual)


@bench(60_000)
async def outputs_of_every_mode(dut: Any) -> None:
    start_clock(dut)
    for _ in range(60):
        setting = _setting(value(dut.Columns) == 0)
        await _load(dut, setting)
        schedule = Schedule(setting, value(dut.Columns))
        for _ in range(25):
            schedule.output()
        for cycle in range(max(schedule.due) + 1):
            await _drive(dut, schedule.signals[cycle])
            if cycle in schedule.due:
                assert value(dut.result_o) == schedule.due[cycle], setting
