"""The bus models of cocotbext-axi on the npu's ports, and the memory behind them."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from cocotb.types import LogicArray

from tests.rtl.cocotb_boxes import beat


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
