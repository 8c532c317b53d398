"""npu_compute: random COMPUTE instructions, retired at random, cut off by resets."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl.cocotb_bench import Driver, begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.datapath import State, compute

INSIDE = 4
LARGEST = {"blocks": 12, "fy": 10, "fx": 10, "y": 16, "x": 16}
STRIDES = ("block_stride", "fy_stride", "fx_stride", "y_stride", "x_stride")


def _state(dut: Any, seed: int) -> State:
    rng, lanes = np.random.default_rng(seed), value(dut.Lanes)
    cols = lanes * value(dut.Groups)
    return State(
        rng.integers(0, 256, (value(dut.ActWords), lanes), dtype=np.uint8),
        rng.integers(0, 256, (value(dut.WeightWords), lanes), dtype=np.uint8),
        rng.integers(-(1 << 31), 1 << 31, (2 * value(dut.AccWords), cols)).astype(np.int32),
    )


class Buffers:
    """The buffers around the unit, answering with their latencies; retires with chance `ease`."""

    def __init__(self, dut: Any, state: State, ease: float) -> None:
        self._dut, self._ease = dut, ease
        self.state = state.copy()
        self._vectors: deque[int] = deque([0, 0])
        self._rows: deque[int] = deque([0, 0])
        self._sums: deque[tuple[int, int, int] | None] = deque([None, None])
        self.retired = 0
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        self._task.cancel()
        self._dut.retire_ready_i.value = 0

    async def _run(self) -> None:
        dut = self._dut
        while True:
            dut.a_data_i.value, dut.f_data_i.value = self._vectors.popleft(), self._rows.popleft()
            dut.retire_ready_i.value = int(random.random() < self._ease)
            await RisingEdge(dut.clk_i)
            self._read()
            self._accumulate()
            self.retired += value(dut.retire_valid_o) and value(dut.retire_ready_i)
            moves = value(dut.a_en_o) or value(dut.f_en_o)
            assert value(dut.progress_o) == moves
            assert value(dut.busy_o) or not (value(dut.retire_valid_o) or value(dut.stall_o))

    def _read(self) -> None:
        dut, lanes = self._dut, self.state.activations.shape[1]
        elements = self.state.activations.reshape(-1)
        row_bytes = self.state.sums.shape[1]
        vector, row = random.getrandbits(8), random.getrandbits(8)
        if value(dut.a_en_o):
            chosen = (value(dut.a_addr_o) + np.arange(lanes)) % elements.size
            vector = int.from_bytes(elements[chosen].tobytes(), "little")
        if value(dut.f_en_o):
            start = value(dut.f_row_o) * row_bytes
            data = self.state.weights.reshape(-1)[start : start + row_bytes]
            row = int.from_bytes(data.tobytes(), "little")
        self._vectors.append(vector)
        self._rows.append(row)

    def _accumulate(self) -> None:
        """The sums of an accumulation follow two cycles after its address."""
        dut = self._dut
        valid = value(dut.acc_valid_o)
        about = tuple(
            value(getattr(dut, f"acc_{name}_o")) for name in ("addr", "overwrite", "high")
        )
        self._sums.append((about[0], about[1], about[2]) if valid else None)
        due = self._sums.popleft()
        if due is not None:
            address, overwrite, high = due
            data = value(dut.acc_sums_o).to_bytes(4 * self.state.sums.shape[1], "little")
            word = self.state.sums[address]
            sums = np.frombuffer(data, dtype="<i4").astype(np.int64) << 8 * high
            word[:] = (sums + (0 if overwrite else word.astype(np.int64))).astype(np.int32)


def _instruction(state: State) -> Instruction:
    cols, half = state.sums.shape[1], len(state.sums) // 2
    fields = {name: random.randint(1, 2) for name in ("blocks", "fy", "fx")}
    fields |= {name: random.randint(1, 4) for name in ("y", "x")}
    elements = state.activations.size
    for name in ("act_address", *STRIDES):
        fields[name] = random.randrange(elements)
    tiles = len(state.weights) // cols - fields["blocks"] * fields["fy"] * fields["fx"]
    fields["weight_address"] = random.randint(0, tiles) * cols
    fields["acc_address"] = random.choice((0, half)) + random.randint(
        0, half - fields["y"] * fields["x"]
    )
    fields |= {"accumulate": random.getrandbits(1), "input_signed": random.getrandbits(1)}
    fields["input_high"] = random.getrandbits(1)
    fields |= random.choice(({"fill_columns": 1}, {"packing": random.randrange(3)}))
    return Instruction(Opcode.COMPUTE, fields)


def _driver(dut: Any, pause: float) -> Driver:
    return Driver(dut, "instr_valid_i", "instr_ready_o", ["instr_i"], pause)


def _items(program: list[Instruction]) -> list[dict[str, int]]:
    return [{"instr_i": encoded(item)} for item in program]


async def _check(dut: Any, seed: int, pause: float, ease: float, count: int) -> None:
    state = _state(dut, seed)
    buffers = Buffers(dut, state, ease)
    program = [_instruction(state) for _ in range(count)]
    await _driver(dut, pause).send(_items(program))
    await wait_for(dut, lambda: buffers.retired >= count)
    buffers.stop()
    for item in program:
        compute(state, item)
    np.testing.assert_array_equal(buffers.state.sums, state.sums)
    assert value(dut.busy_o) == 0


@bench(60_000)
async def sums_are_exact_at_any_pace(dut: Any) -> None:
    await begin(dut)
    for seed, (pause, ease) in enumerate(((0.0, 1.0), (0.0, 0.1), (0.9, 1.0), (0.5, 0.2))):
        await _check(dut, seed, pause, ease, 25)


def _walk(item: Instruction, count: int) -> list[int]:
    """The first `count` addresses of the vectors of `item`."""
    found: list[int] = []
    for tile in range(item["blocks"] * item["fy"] * item["fx"]):
        rest, fx = divmod(tile, item["fx"])
        block, fy = divmod(rest, item["fy"])
        places = {"block": block, "fy": fy, "fx": fx}
        for pixel in range(min(item["y"] * item["x"], count)):
            if len(found) == count:
                return found
            places["y"], places["x"] = divmod(pixel, item["x"])
            offset = sum(at * item[f"{name}_stride"] for name, at in places.items())
            found.append(item["act_address"] + offset)
    return found


@bench(120_000)
async def the_largest_counts_begin_in_order(dut: Any) -> None:
    await begin(dut)
    mask = (1 << len(dut.a_addr_o)) - 1
    for index in range(60):
        fields = {
            name: random.choice((1, 2, 1 << random.randrange(bits) | random.getrandbits(3)))
            for name, bits in LARGEST.items()
        }
        long = index % 6 == 0
        if long:
            first, second = random.sample(tuple(LARGEST), 2)
            fields = dict.fromkeys(LARGEST, 1) | {first: random.randrange(260, 600), second: 3}
        fields |= {name: random.getrandbits(32) for name in ("act_address", *STRIDES)}
        item = Instruction(Opcode.COMPUTE, fields)
        await _driver(dut, 0.0).send(_items([item]))
        seen: list[int] = []
        for _ in range(6000 if long else 400):
            await RisingEdge(dut.clk_i)
            if value(dut.a_en_o):
                seen.append(value(dut.a_addr_o))
        expected = [address & mask for address in _walk(item, max(len(seen), 40))]
        assert seen == expected[: len(seen)]
        assert len(seen) >= min(len(expected), 40)
        await reset(dut, 1)


@bench(5_000)
async def no_more_than_four_inside(dut: Any) -> None:
    await begin(dut)
    state = _state(dut, 7)
    buffers = Buffers(dut, state, 0.0)
    driver = _driver(dut, 0.0)
    cocotb.start_soon(driver.send(_items([_instruction(state) for _ in range(8)])))
    await clock(dut, 1500)
    assert (driver.sent, buffers.retired) == (INSIDE, 0)
    assert (value(dut.retire_valid_o), value(dut.instr_ready_o)) == (1, 0)
    buffers.stop()


@bench(30_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for seed in range(10):
        state = _state(dut, seed)
        buffers = Buffers(dut, state, 0.5)
        items = _items([_instruction(state) for _ in range(6)])
        task = cocotb.start_soon(_driver(dut, 0.0).send(items))
        await clock(dut, random.randrange(4, 150))
        task.cancel()
        buffers.stop()
        dut.instr_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "a_en_o", "f_en_o", "acc_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        await _check(dut, seed, 0.2, 0.8, 3)
