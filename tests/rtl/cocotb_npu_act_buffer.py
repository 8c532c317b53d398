"""npu_act_buffer: seven clients at once; priorities, alignment and latency to the cycle."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from cocotb.triggers import RisingEdge

from tests.rtl.cocotb_bench import begin, bench, clock, reset, value

CLIENTS = ("vw", "vr", "gw", "gr", "lw", "sr")
READERS = ("vr", "gr", "sr")
WRITERS = ("vw", "gw", "lw")


class Model:
    """The buffer's words and the reads under way; checks one cycle after another."""

    def __init__(self, dut: Any, words: int) -> None:
        self._dut = dut
        self._lanes = len(dut.vw_data_i) // 8
        self.words = [0] * words
        self._due: dict[str, deque[int | None]] = {
            name: deque([None, None]) for name in ("a", *READERS)
        }

    def elements(self, address: int) -> int:
        """`lanes` consecutive elements from element `address` on."""
        data = b"".join(word.to_bytes(self._lanes, "little") for word in self.words)
        return int.from_bytes((data + data)[address : address + self._lanes], "little")

    async def cycle(self, valid: dict[str, int], address: dict[str, int]) -> None:
        """Offers accesses: by client the valid and the address (port A is `a`, in elements)."""
        dut, data = self._dut, {name: random.getrandbits(8 * self._lanes) for name in WRITERS}
        dut.a_en_i.value, dut.a_addr_i.value = valid["a"], address["a"]
        for name in CLIENTS:
            getattr(dut, f"{name}_valid_i").value = valid[name]
            getattr(dut, f"{name}_addr_i").value = address[name]
        for name, number in data.items():
            getattr(dut, f"{name}_data_i").value = number
        await RisingEdge(dut.clk_i)
        self._check_data()
        granted = self._granted(valid, address)
        self._due["a"].append(self.elements(address["a"]) if valid["a"] else None)
        for name in READERS:
            self._due[name].append(self.words[address[name]] if name in granted else None)
        for name in WRITERS:
            if name in granted:
                self.words[address[name]] = data[name]

    def _granted(self, valid: dict[str, int], address: dict[str, int]) -> list[str]:
        granted: list[str] = []
        for at, name in enumerate(CLIENTS):
            before = CLIENTS[:at]
            free = not any(valid[x] and (address[x] - address[name]) % 2 == 0 for x in before)
            if name != "vw":
                assert value(getattr(self._dut, f"{name}_ready_o")) == free
            if valid[name] and free:
                granted.append(name)
        return granted

    def _check_data(self) -> None:
        expected = {name: due.popleft() for name, due in self._due.items()}
        for name in READERS:
            valid = value(getattr(self._dut, f"{name}_data_valid_o"))
            assert valid == (expected[name] is not None)
        for name, number in expected.items():
            assert number in (None, value(getattr(self._dut, f"{name}_data_o")))


def _random(words: int, lanes: int, chance: float) -> tuple[dict[str, int], dict[str, int]]:
    """Random accesses; port A stays clear of the words that are written."""
    address = {name: random.randrange(words) for name in CLIENTS}
    valid = {name: int(random.random() < chance) for name in ("a", *CLIENTS)}
    written = {address[name] for name in WRITERS}
    address["a"] = random.randrange(words * lanes)
    first = address["a"] // lanes
    if written & {first, (first + 1) % words}:
        valid["a"] = 0
    return valid, address


async def _fill(dut: Any, model: Model) -> None:
    idle = dict.fromkeys(("a", *CLIENTS), 0)
    for at in range(len(model.words)):
        await model.cycle(idle | {"lw": 1}, idle | {"lw": at})


@bench(20_000)
async def seven_clients_at_once(dut: Any) -> None:
    await begin(dut)
    words, lanes = value(dut.ActWords), value(dut.Lanes)
    model = Model(dut, words)
    await _fill(dut, model)
    for chance in (0.3, 0.6, 0.95):
        for _ in range(1200):
            await model.cycle(*_random(words, lanes, chance))


@bench(5_000)
async def every_alignment_and_the_wrap(dut: Any) -> None:
    await begin(dut)
    words, lanes = value(dut.ActWords), value(dut.Lanes)
    model = Model(dut, words)
    await _fill(dut, model)
    idle = dict.fromkeys(("a", *CLIENTS), 0)
    for at in range(words * lanes):
        await model.cycle(idle | {"a": 1}, idle | {"a": at})
    await model.cycle(idle, idle)
    await model.cycle(idle, idle)


@bench(5_000)
async def a_reset_drops_the_reads_and_keeps_the_words(dut: Any) -> None:
    await begin(dut)
    words, lanes = value(dut.ActWords), value(dut.Lanes)
    model = Model(dut, words)
    await _fill(dut, model)
    for _ in range(10):
        for _ in range(5):
            valid, address = _random(words, lanes, 0.8)
            await model.cycle(valid | dict.fromkeys(WRITERS, 0), address)
        for name in CLIENTS:
            getattr(dut, f"{name}_valid_i").value = 0
        dut.a_en_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        assert [value(getattr(dut, f"{name}_data_valid_o")) for name in READERS] == [0, 0, 0]
        kept = model.words
        model = Model(dut, words)
        model.words = kept
