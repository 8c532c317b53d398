"""The buffers around the vector unit, an engine of it, or the window unit, under test."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import Driver, value


class Buffers:
    """Reads are taken with chance `ease`, and answered in 2 cycles.

    Of `sums`, int32 (words, cols), a word is read whenever it is asked for.  `PORTS` are the names
    of the activation buffer's read and write.
    """

    PORTS = ("vr", "vw")

    def __init__(
        self,
        dut: Any,
        activations: np.ndarray,
        ease: float,
        weights: np.ndarray | None = None,
        sums: np.ndarray | None = None,
    ) -> None:
        self._dut, self._ease, self._sums = dut, ease, sums
        self._sums_due: deque[int] = deque([0, 0])
        self.activations = activations.copy()
        self.retired = 0
        self.writes = 0
        self.sums_read = 0
        self._sources = {self.PORTS[0]: self.activations}
        if weights is not None:
            self._sources["wr"] = weights
        self._words: dict[str, deque[int | None]] = {
            name: deque([None, None]) for name in self._sources
        }
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        self._task.cancel()
        for name in self._sources:
            getattr(self._dut, f"{name}_data_valid_i").value = 0
        self._dut.retire_ready_i.value = 0

    async def _run(self) -> None:
        dut = self._dut
        while True:
            for name, words in self._words.items():
                word = words.popleft()
                getattr(dut, f"{name}_data_valid_i").value = int(word is not None)
                getattr(dut, f"{name}_data_i").value = (
                    random.getrandbits(8 * value(dut.Lanes)) if word is None else word
                )
                getattr(dut, f"{name}_ready_i").value = int(random.random() < self._ease)
            if self._sums is not None:
                dut.acc_data_i.value = self._sums_due.popleft()
            dut.retire_ready_i.value = int(random.random() < self._ease)
            await RisingEdge(dut.clk_i)
            self._observe()

    def _observe(self) -> int:
        """Note what happens in a cycle; how many words are read and written."""
        dut, stalls, moves = self._dut, 0, 0
        for name, data in self._sources.items():
            valid, ready = (value(getattr(dut, f"{name}_{x}")) for x in ("valid_o", "ready_i"))
            address = value(getattr(dut, f"{name}_addr_o"))
            word = int.from_bytes(data[address].tobytes(), "little") if valid else 0
            self._words[name].append(word if valid and ready else None)
            stalls += valid and not ready
            moves += valid and ready
        self._check_stall(stalls > 0)
        if self._sums is not None:
            word = self._sums[value(dut.acc_addr_o)].tobytes()
            reads = value(dut.acc_en_o)
            self._sums_due.append(int.from_bytes(word, "little") if reads else 0)
            self.sums_read += reads
            moves += reads
        write = self.PORTS[1]
        if value(getattr(dut, f"{write}_valid_o")) and self._write_ready():
            written = value(getattr(dut, f"{write}_data_o")).to_bytes(value(dut.Lanes), "little")
            address = value(getattr(dut, f"{write}_addr_o"))
            self.activations[address] = np.frombuffer(written, dtype=np.uint8)
            self.writes += 1
            moves += 1
        self.retired += value(dut.retire_valid_o) and value(dut.retire_ready_i)
        return moves

    def _check_stall(self, stalled: bool) -> None:
        """The unit tells of a read that waits for its port."""
        assert value(self._dut.stall_o) == stalled

    def _write_ready(self) -> bool:
        """Whether a word that is offered is taken."""
        return True


def driver(dut: Any, pause: float = 0.2) -> Driver:
    """Offers instructions."""
    return Driver(dut, "instr_valid_i", "instr_ready_o", ["instr_i"], pause)
