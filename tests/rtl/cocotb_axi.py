"""The bus models of cocotbext-axi on the npu's ports, and the memory behind them."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from cocotb.types import LogicArray
from cocotbext.axi import AxiLiteMaster, AxiResp

from intaglio.hw.npu_registers import Register
from tests.rtl.cocotb_boxes import beat

START, SOFT_RESET = 1, 2
"""Bits of the CONTROL register."""


class Constant:
    """Stands for a signal of the bus that the module leaves to its parent; never changes."""

    def __init__(self, number: int, bits: int) -> None:
        self._value = LogicArray(number, bits)

    def __len__(self) -> int:
        return len(self._value)

    @property
    def value(self) -> Any:
        """The number, as a signal gives it."""
        return self._value

    @value.setter
    def value(self, number: Any) -> None:
        del number

    def setimmediatevalue(self, number: Any) -> None:
        """Has no effect."""


def renamed(dut: Any, prefix: str, **constants: Constant) -> Any:
    """The ports of `dut` without their suffixes, as `<prefix>_<name>`, for a bus model."""
    names = [handle._name for handle in dut if handle._name.endswith(("_i", "_o"))]
    ports = {f"{prefix}_{name[:-2]}": getattr(dut, name) for name in names}
    extra = {f"{prefix}_{name}": constant for name, constant in constants.items()}
    return SimpleNamespace(**ports, **extra, _log=dut._log, _name=dut._name)


def quiet(dut: Any) -> None:
    """Keeps the bus models from logging every burst."""
    for name in (f"cocotb.{dut._name}", dut._log.name):
        logging.getLogger(name).setLevel(logging.ERROR)


def pauses(chance: float) -> Iterator[bool]:
    """For `set_pause_generator`: a pause with `chance` in every cycle."""
    while True:
        yield random.random() < chance


class Memory:
    """A sparse memory; an access to a byte of `bad` fails.

    What was never written reads as the scramble of its address (`cocotb_boxes.beat`), when
    `scrambled`, or else as zeros.
    """

    def __init__(self, scrambled: bool = False) -> None:
        self.bytes: dict[int, int] = {}
        self.bad: range = range(0)
        self.failures = 0
        self._scrambled = scrambled

    def _check(self, address: int, length: int) -> None:
        if any(at in self.bad for at in range(address, address + length)):
            self.failures += 1
            raise ValueError("no memory here")

    async def read(self, address: int, length: int) -> bytes:
        """For the bus model."""
        self._check(address, length)
        return self.peek(address, length)

    async def write(self, address: int, data: bytes) -> None:
        """For the bus model."""
        self._check(address, len(data))
        self.poke(address, data)

    def peek(self, address: int, length: int) -> bytes:
        """What it holds."""
        if self._scrambled:
            return beat(address, length).to_bytes(length, "little")
        return bytes(self.bytes.get(at, 0) for at in range(address, address + length))

    def poke(self, address: int, data: bytes) -> None:
        """Changes what it holds."""
        self.bytes.update(zip(range(address, address + len(data)), data, strict=True))


class Host:
    """Software on the AXI4-Lite port."""

    def __init__(self, dut: Any, bus: Any, stall: float = 0.0) -> None:
        quiet(dut)
        self.master = AxiLiteMaster(bus, dut.clk_i, dut.rst_ni, reset_active_level=False)
        write, read = self.master.write_if, self.master.read_if
        self.channels: Sequence[Any] = (
            write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel,
        )  # fmt: skip
        if stall:
            for channel in self.channels:
                channel.set_pause_generator(pauses(stall))

    async def put(self, register: int, number: int, size: int = 4) -> bool:
        """Writes the `size` low bytes of a register; whether it was acknowledged as known."""
        done = await self.master.write(register, number.to_bytes(size, "little"))
        return bool(done.resp == AxiResp.OKAY)

    async def get(self, register: int) -> tuple[int, bool]:
        """A register, and whether it was acknowledged as known."""
        done = await self.master.read(register, 4)
        return int.from_bytes(done.data, "little"), bool(done.resp == AxiResp.OKAY)

    async def number(self, register: int) -> int:
        """A register that must be known."""
        data, known = await self.get(register)
        assert known
        return data

    async def start(self, count: int, watchdog: int = 0) -> None:
        """Starts a run with the interrupt enabled."""
        for register, number in (
            (Register.COUNT, count), (Register.WATCHDOG, watchdog), (Register.INTERRUPT, 1),
            (Register.CONTROL, START),
        ):  # fmt: skip
            assert await self.put(register, number)
