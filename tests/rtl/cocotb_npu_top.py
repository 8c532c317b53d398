"""npu_top: programs over AXI4 with back-pressure; every fault is reported and recovered from."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiSlave

from intaglio.hw.npu_registers import UNIT_BUSY, UNIT_STRIDE, UNIT_WAITS, Register
from intaglio.templates.npu.isa import TOKEN_LIMIT, Buffer, Instruction, Opcode, Unit, encode
from tests.hw.dma_model import Sizes, execute, random_program
from tests.rtl.cocotb_axi import SOFT_RESET, START, Host, Memory, pauses, quiet
from tests.rtl.cocotb_bench import bench, clock, reset, start_clock, value, wait_for
from tests.rtl.datapath import Records, State, compute, vector

PROGRAM = 0x100
SOURCE, OUTPUT, MEMORY = 0x6000, 0x8000, 0xC000
WATCHDOG = 400
BUSY, DONE, ERROR = 1, 2, 4
READ, WRITE, ILLEGAL, QUIET = (code << 8 | ERROR for code in (2, 3, 1, 4))
SYNC = {unit: Opcode(int(unit)) for unit in Unit}


class Machine:
    """The npu, its memory and its host."""

    def __init__(self, dut: Any, stall: float = 0.0) -> None:
        self.dut = dut
        self.base = random.randrange(1 << 27) * 4096
        self.sizes = Sizes(value(dut.Lanes), value(dut.ActWords), SOURCE, OUTPUT, MEMORY)
        quiet(dut)
        self.host = Host(dut, AxiLiteBus.from_prefix(dut, "s_axil"))
        self.memory = Memory()
        self.slave = AxiSlave(
            AxiBus.from_prefix(dut, "m_axi"), dut.clk_i, dut.rst_ni, self.memory,
            reset_active_level=False,
        )  # fmt: skip
        write, read = self.slave.write_if, self.slave.read_if
        self.channels = {
            "aw": write.aw_channel, "w": write.w_channel, "b": write.b_channel,
            "ar": read.ar_channel, "r": read.r_channel,
        }  # fmt: skip
        if stall:
            for channel in self.channels.values():
                channel.set_pause_generator(pauses(stall))

    def place(self, address: int, data: np.ndarray | bytes) -> None:
        """Writes memory at `address` relative to the base."""
        self.memory.poke(self.base + address, bytes(data))

    async def waiting(self) -> int:
        """A byte a unit: what it waits for."""
        low, high = Register.WAITING, Register.WAITING_HIGH
        return await self.host.number(low) | await self.host.number(high) << 32

    def image(self) -> np.ndarray:
        """Memory from the base on, uint8."""
        return np.frombuffer(self.memory.peek(self.base, MEMORY), dtype=np.uint8)

    async def start(self, program: Sequence[Instruction], watchdog: int = WATCHDOG) -> None:
        """Places and starts `program`."""
        self.place(PROGRAM, encode(program).tobytes())
        for register, number in (
            (Register.PROGRAM, PROGRAM), (Register.BASE, self.base & 0xFFFF_FFFF),
            (Register.BASE + 4, self.base >> 32),
        ):  # fmt: skip
            await self.host.put(register, number)
        await self.host.start(len(program), watchdog)

    async def run(self, program: Sequence[Instruction], watchdog: int = WATCHDOG) -> int:
        """STATUS once the interrupt came."""
        await self.start(program, watchdog)
        await wait_for(self.dut, lambda: bool(value(self.dut.irq_o)), 40_000)
        return await self.host.number(Register.STATUS)

    async def soft_reset(self) -> None:
        """A soft reset, until the machine is idle."""
        await self.host.put(Register.CONTROL, SOFT_RESET)
        for _ in range(200):
            if await self.host.number(Register.STATUS) == 0:
                return
        raise AssertionError("the soft reset does not end")

    async def works(self) -> None:
        """A short random program gives what it means."""
        program = random_program(np.random.default_rng(random.getrandbits(32)), self.sizes, 3)
        self.place(OUTPUT, bytes(MEMORY - OUTPUT))
        self.place(PROGRAM, encode(program).tobytes())
        expected = execute(self.image(), program, self.sizes)
        assert await self.run(program) == DONE
        np.testing.assert_array_equal(self.image(), expected)


async def _machine(dut: Any, stall: float = 0.0) -> Machine:
    start_clock(dut)
    machine = Machine(dut, stall)
    await reset(dut, 3)
    machine.place(SOURCE, random.randbytes(OUTPUT - SOURCE))
    return machine


def _box(words: int, address: int) -> dict[str, int]:
    return {"planes": 1, "rows": 1, "words": words, "memory_address": address}


def _copy(source: int, target: int, words: int) -> list[Instruction]:
    """Memory to memory."""
    return [
        Instruction(Opcode.LOAD, _box(words, source), push=(Unit.STORE,)),
        Instruction(Opcode.STORE, _box(words, target), pop=(Unit.LOAD,)),
    ]


@bench(60_000)
async def boxes_under_back_pressure(dut: Any) -> None:
    machine = await _machine(dut, 0.3)
    for _ in range(6):
        await machine.works()


@bench(20_000)
async def bursts_that_cross_pages(dut: Any) -> None:
    machine = await _machine(dut, 0.2)
    page = -machine.base % 4096 + 4096
    for before in (4, 8, 100, 252):
        source, target = SOURCE // 4096 * 4096 + page - before, 0xA000 + page - before + 4
        program = _copy(source, target, machine.sizes.act_words)
        assert await machine.run(program) == DONE
        image = machine.image()
        size = machine.sizes.lanes * machine.sizes.act_words
        np.testing.assert_array_equal(image[target : target + size], image[source : source + size])


def _layer(dut: Any, rng: np.random.Generator) -> tuple[list[Instruction], State, State]:
    """A program of all units, the buffers' contents it loads, and what it leaves in them."""
    lanes, act_words, weight_words = map(value, (dut.Lanes, dut.ActWords, dut.WeightWords))
    words = rng.integers(0, 256, (act_words, lanes), dtype=np.uint8)
    tiles = rng.integers(0, 256, (weight_words, lanes), dtype=np.uint8)
    records = Records(
        b=rng.integers(-(1 << 20), 1 << 20, lanes), m=rng.integers(1, 1 << 16, lanes),
        mr=np.zeros(lanes, dtype=np.int64), s=rng.integers(12, 24, lanes),
    )  # fmt: skip
    record = weight_words - 16
    tiles[record : record + 12] = records.words()
    sums = np.zeros((2 * value(dut.AccWords), lanes * value(dut.Groups)), dtype=np.int32)
    state = State(words, tiles, sums)
    conv = {"blocks": 1, "fy": 2, "fx": 2, "y": 3, "x": 3, "fx_stride": 4, "fy_stride": 32}
    conv |= {"x_stride": 4, "y_stride": 32, "act_address": 5}
    drain = {"y": 3, "x": 3, "record_address": record, "output_address": 40, "output_row_stride": 5}
    drain |= {"lo": -128, "hi": 127}
    pool = {"y": 2, "x": 2, "window_y": 2, "window_x": 2, "source_address": 40, "input_signed": 1}
    pool |= {"source_y_stride": 5, "source_x_stride": 1, "window_y_stride": 5, "window_x_stride": 1}
    pool |= {"output_address": 60, "output_row_stride": 2, "record_address": record}
    pool |= {"lo": -128, "hi": 127}
    program = [
        Instruction(Opcode.LOAD, _box(act_words, SOURCE)),
        Instruction(
            Opcode.LOAD,
            _box(weight_words, SOURCE + act_words * lanes) | {"buffer": int(Buffer.WEIGHT)},
            push=(Unit.COMPUTE,),
        ),
        Instruction(Opcode.COMPUTE, conv, pop=(Unit.LOAD,), push=(Unit.VECTOR,)),
        Instruction(Opcode.DRAIN, drain, pop=(Unit.COMPUTE,), push=(Unit.WINDOW,)),
        Instruction(Opcode.WINDOW_MAX, pool, pop=(Unit.VECTOR,), push=(Unit.STORE,)),
        Instruction(Opcode.STORE, _box(act_words, OUTPUT), pop=(Unit.WINDOW,)),
    ]
    after = state.copy()
    compute(after, program[2])
    vector(after, program[3], records)
    vector(after, program[4], records)
    return program, state, after


@bench(20_000)
async def a_layer_passes_all_units(dut: Any) -> None:
    machine = await _machine(dut, 0.2)
    for seed in range(4):
        program, before, after = _layer(dut, np.random.default_rng(seed))
        machine.place(SOURCE, before.activations.tobytes())
        machine.place(SOURCE + before.activations.size, before.weights.tobytes())
        assert await machine.run(program) == DONE
        seen = machine.image()[OUTPUT:][: after.activations.size]
        np.testing.assert_array_equal(seen, after.activations.reshape(-1))


@bench(60_000)
async def a_missing_token_names_both_units(dut: Any) -> None:
    machine = await _machine(dut)
    for unit in Unit:
        for other in Unit:
            if other is unit:
                continue
            assert await machine.run([Instruction(SYNC[unit], pop=(other,))], 60) == QUIET
            waiting = await machine.waiting()
            assert waiting == (UNIT_WAITS | 1 << other) << 8 * unit
            await machine.soft_reset()
    await machine.works()


@bench(60_000)
async def a_counter_at_its_limit_holds_the_push(dut: Any) -> None:
    machine = await _machine(dut)
    pushes = [Instruction(SYNC[Unit.VECTOR], push=(Unit.LOAD,))] * (TOKEN_LIMIT + 2)
    assert await machine.run(pushes) == QUIET
    retired = Register.UNITS + UNIT_STRIDE * Unit.VECTOR + 24
    assert await machine.host.number(retired) == TOKEN_LIMIT
    await machine.soft_reset()
    pops = [Instruction(SYNC[Unit.LOAD], pop=(Unit.VECTOR,))] * (TOKEN_LIMIT + 2)
    assert await machine.run([*pushes[:TOKEN_LIMIT], *pops[:1], *pushes[:2], *pops[1:]]) == DONE


@bench(20_000)
async def full_queues_lose_nothing(dut: Any) -> None:
    machine = await _machine(dut)
    gate = Instruction(SYNC[Unit.STORE], push=(Unit.LOAD,))
    held = [Instruction(SYNC[Unit.LOAD], pop=(Unit.STORE,), push=(Unit.COMPUTE,))]
    held += [Instruction(SYNC[Unit.LOAD], layer=at, mark=True) for at in range(20)]
    marks: list[int] = []

    async def watch() -> None:
        while True:
            await RisingEdge(dut.clk_i)
            if value(dut.mark_valid_o):
                marks.append(value(dut.mark_layer_o))

    cocotb.start_soon(watch())
    assert await machine.run([*held, gate]) == QUIET
    assert marks == []
    await machine.soft_reset()
    assert await machine.run([gate, *held]) == DONE
    assert marks == list(range(20))


@bench(60_000)
async def bad_responses_are_reported_and_recovered_from(dut: Any) -> None:
    machine = await _machine(dut, 0.2)
    program = _copy(SOURCE, OUTPUT, 16)
    faults = {SOURCE + 8: READ, OUTPUT + 60: WRITE, PROGRAM + 64: READ}
    for address, status in faults.items():
        machine.memory.bad = range(machine.base + address, machine.base + address + 1)
        assert await machine.run(program) == status
        await clock(dut, 200)
        assert await machine.host.number(Register.STATUS) == status
        machine.memory.bad = range(0)
        await machine.soft_reset()
        await machine.works()


@bench(20_000)
async def an_illegal_instruction_is_reported(dut: Any) -> None:
    machine = await _machine(dut)
    for word, bits in ((0, 0x40), (1, 0x7F), (0, 1 << 8), (1, 1 << 9)):
        program = [Instruction(SYNC[Unit.LOAD])] * 3
        await machine.start(program[:0], WATCHDOG)
        await wait_for(dut, lambda: bool(value(dut.irq_o)))
        code = encode(program)
        code[1, word] ^= bits
        machine.place(PROGRAM, code.tobytes())
        await machine.host.start(3, WATCHDOG)
        await wait_for(dut, lambda: bool(value(dut.irq_o)))
        assert await machine.host.number(Register.STATUS) == ILLEGAL
        await machine.soft_reset()
    await machine.works()


@bench(60_000)
async def silent_memory_trips_the_watchdog(dut: Any) -> None:
    machine = await _machine(dut)
    program = _copy(SOURCE, OUTPUT, 40)
    busy = {"ar": None, "r": None, "aw": Unit.STORE, "w": Unit.STORE, "b": Unit.STORE}
    for channel, unit in busy.items():
        await machine.start(program)
        machine.channels[channel].pause = True
        await wait_for(dut, lambda: bool(value(dut.irq_o)), 3000)
        assert await machine.host.number(Register.STATUS) == QUIET
        waiting = await machine.waiting()
        assert unit is None or waiting >> 8 * unit & UNIT_BUSY
        await machine.host.put(Register.CONTROL, SOFT_RESET)
        await clock(dut, 60)
        assert await machine.host.number(Register.STATUS) == BUSY
        machine.channels[channel].pause = False
        await machine.soft_reset()
        await machine.works()


@bench(20_000)
async def slow_acknowledgements_are_progress(dut: Any) -> None:
    machine = await _machine(dut)
    rows = {"rows": 6, "memory_row_stride": 64}
    store = Instruction(Opcode.STORE, _box(1, OUTPUT) | rows)
    answers = machine.channels["b"]
    answers.pause = True
    await machine.start([store])
    for _ in range(6):
        await clock(dut, WATCHDOG - 100)
        answers.pause = False
        await wait_for(dut, lambda: bool(value(dut.m_axi_bvalid) and value(dut.m_axi_bready)))
        answers.pause = True
    await wait_for(dut, lambda: bool(value(dut.irq_o)))
    assert await machine.host.number(Register.STATUS) == DONE


@bench(1_000)
async def the_host_port_is_ready_until_it_holds_something(dut: Any) -> None:
    machine = await _machine(dut)
    await clock(dut, 2)
    ready = (dut.s_axil_awready, dut.s_axil_wready, dut.s_axil_arready)
    assert [value(handle) for handle in ready] == [1, 1, 1]
    machine.host.master.write_if.aw_channel.pause = True
    task = cocotb.start_soon(machine.host.put(Register.COUNT, 3))
    await clock(dut, 8)
    assert [value(handle) for handle in ready] == [1, 0, 1]
    machine.host.master.write_if.aw_channel.pause = False
    assert await task


@bench(90_000)
async def soft_resets_in_mid_flight(dut: Any) -> None:
    machine = await _machine(dut, 0.3)
    for seed in range(8):
        program = random_program(np.random.default_rng(seed), machine.sizes, pairs=6)
        await machine.start(program)
        await clock(dut, random.randrange(1, 900))
        await machine.soft_reset()
        await machine.works()


@bench(60_000)
async def hard_resets_in_mid_flight(dut: Any) -> None:
    machine = await _machine(dut, 0.3)
    for seed in range(5):
        program = random_program(np.random.default_rng(seed), machine.sizes, pairs=6)
        await machine.start(program)
        await clock(dut, random.randrange(1, 900))
        await reset(dut, 2)
        await clock(dut, 2)
        assert await machine.host.number(Register.STATUS) == 0
        assert await machine.host.number(Register.COUNT) == 0
        await machine.works()


@bench(5_000)
async def a_start_does_nothing_while_it_runs(dut: Any) -> None:
    machine = await _machine(dut)
    await machine.start(_copy(SOURCE, OUTPUT, 60))
    for _ in range(5):
        await machine.host.put(Register.CONTROL, START)
    await wait_for(dut, lambda: bool(value(dut.irq_o)))
    assert await machine.host.number(Register.STATUS) == DONE
    image = machine.image()
    size = 60 * machine.sizes.lanes
    np.testing.assert_array_equal(image[OUTPUT:][:size], image[SOURCE:][:size])
