"""npu_fetch: the program dealt in order to the units' queues; nothing illegal leaves."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import RisingEdge

from intaglio.templates.npu.isa import (
    HEADER,
    INSTRUCTION_BYTES,
    ISA_VERSION,
    UNIT_BITS,
    Instruction,
    Opcode,
    Unit,
)
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value, wait_for

COUNTS = (1, 7, 8, 9, 16, 17, 60)
ROWS = (Opcode.SOFTMAX, Opcode.NORM)
"""What is legal only where there are engines for it."""
LEGAL = {opcode: encoded(Instruction(opcode)) for opcode in Opcode}
CHUNK, AHEAD = 8, 16
ADDRESS_MASK = (1 << 40) - 1


def _opcodes(dut: Any) -> list[Opcode]:
    """The legal ones."""
    return [opcode for opcode in Opcode if value(dut.RowPipes) or opcode not in ROWS]


def _program(dut: Any, count: int) -> list[int]:
    """Random legal instructions; payload bits beyond the header are random."""
    legal = [LEGAL[opcode] for opcode in _opcodes(dut)]
    random_bits = (random.getrandbits(512 - 48) << 48 for _ in range(count))
    return [random.choice(legal) | bits for bits in random_bits]


class Memory:
    """Takes the runs and returns their data in order, both at random; data are never refused."""

    def __init__(self, dut: Any, program: list[int], start: int, ease: float) -> None:
        self._dut, self._ease, self._start = dut, ease, start
        self._image = b"".join(x.to_bytes(INSTRUCTION_BYTES, "little") for x in program)
        self._beats: list[int] = []
        self.asked = 0
        self.sent = 0
        self._task = cocotb.start_soon(self._run())

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        dut = self._dut
        while True:
            offer = bool(self._beats) and random.random() < self._ease
            dut.data_valid_i.value = int(offer)
            dut.data_i.value = self._beats[0] if offer else 0
            dut.run_ready_i.value = int(random.random() < self._ease)
            await RisingEdge(dut.clk_i)
            if offer:
                assert value(dut.data_ready_o), "data that were asked for are refused"
                self._beats.pop(0)
                self.sent += 1
            if value(dut.run_valid_o) and value(dut.run_ready_i):
                self._take(value(dut.run_addr_o), value(dut.run_beats_o))

    def _take(self, address: int, beats: int) -> None:
        size = value(self._dut.MemBytes)
        assert address == self._start + self.asked & ADDRESS_MASK
        assert beats * size <= CHUNK * INSTRUCTION_BYTES
        data = self._image[self.asked : self.asked + beats * size]
        assert len(data) == beats * size, "a run goes past the end of the program"
        self._beats += [int.from_bytes(data[at : at + size], "little")
                        for at in range(0, len(data), size)]  # fmt: skip
        self.asked += len(data)


class Queues:
    """Takes instructions; a queue is ready with chance `ease` in every cycle, `closed` never."""

    def __init__(self, dut: Any, ease: float, closed: int = 0) -> None:
        self._dut, self._ease, self.closed = dut, ease, closed
        self.taken: list[int] = []
        self._task = cocotb.start_soon(self._run())

    async def until(self, count: int) -> None:
        """Waits for `count` instructions."""
        await wait_for(self._dut, lambda: len(self.taken) >= count, 20_000)

    def stop(self) -> None:
        self._task.cancel()

    async def _run(self) -> None:
        dut = self._dut
        while True:
            ready = sum((random.random() < self._ease) << unit for unit in Unit)
            dut.instr_ready_i.value = ready & ~self.closed
            await RisingEdge(dut.clk_i)
            valid, head = value(dut.instr_valid_o), value(dut.instr_o)
            assert valid in (0, 1 << (head & (1 << UNIT_BITS) - 1)), (
                "the instruction is offered to another queue"
            )
            if valid & value(dut.instr_ready_i):
                self.taken.append(head)


def _address(dut: Any) -> int:
    """Any multiple of a beat."""
    return random.getrandbits(40) // value(dut.MemBytes) * value(dut.MemBytes)


async def _start(dut: Any, address: int, count: int) -> None:
    dut.start_i.value, dut.addr_i.value, dut.count_i.value = 1, address, count
    await RisingEdge(dut.clk_i)
    dut.start_i.value = 0


@bench(60_000)
async def deals_the_program_in_order(dut: Any) -> None:
    await begin(dut)
    for ease in (1.0, 0.7, 0.3):
        for count in COUNTS:
            program, start = _program(dut, count), _address(dut)
            memory, queues = Memory(dut, program, start, ease), Queues(dut, ease)
            await _start(dut, start, count)
            await queues.until(count)
            await clock(dut, 30)
            assert queues.taken == program
            assert memory.asked == count * INSTRUCTION_BYTES
            memory.stop()
            queues.stop()


@bench(10_000)
async def the_longest_programs_begin_in_chunks(dut: Any) -> None:
    await begin(dut)
    dut.run_ready_i.value = 1
    chunk = CHUNK * INSTRUCTION_BYTES
    for bits in range(4, 32):
        for count in (1 << bits, (1 << bits) + 1, (1 << bits) + CHUNK + 3):
            start = _address(dut)
            await _start(dut, start, count)
            seen = []
            for _ in range(8):
                await RisingEdge(dut.clk_i)
                if value(dut.run_valid_o):
                    seen.append((value(dut.run_addr_o), value(dut.run_beats_o)))
            beats = chunk // value(dut.MemBytes)
            assert seen == [(start, beats), (start + chunk & ADDRESS_MASK, beats)]
            await reset(dut, 1)


@bench(3_000)
async def an_empty_program_asks_for_nothing(dut: Any) -> None:
    await begin(dut)
    memory, queues = Memory(dut, [], 0, 1.0), Queues(dut, 1.0)
    await _start(dut, 64, 0)
    await clock(dut, 50)
    assert (memory.asked, queues.taken) == (0, [])


@bench(10_000)
async def a_full_queue_stops_the_rest_and_prefetch_ends(dut: Any) -> None:
    await begin(dut)
    program = _program(dut, 50)
    program[10] = LEGAL[Opcode.DRAIN]
    program[:10] = [LEGAL[Opcode.LOAD]] * 10
    memory = Memory(dut, program, 0, 1.0)
    queues = Queues(dut, 1.0, closed=0b0100)
    await _start(dut, 0, len(program))
    await clock(dut, 2000)
    assert queues.taken == program[:10]
    assert memory.asked <= (10 + AHEAD) * INSTRUCTION_BYTES
    queues.closed = 0
    await queues.until(50)
    assert queues.taken == program


def _bad_instructions(dut: Any) -> list[int]:
    """Some of unknown opcodes and wrong versions, and every token for its own unit."""
    known = _opcodes(dut)
    engineless = [LEGAL[opcode] for opcode in ROWS if opcode not in known]
    legal = LEGAL[Opcode.COMPUTE]
    opcodes = [legal & ~0xFF | x for x in range(256) if x not in known]
    versions = [legal & ~(0xFF << 32) | v << 32 for v in range(256) if v != ISA_VERSION]
    masks = [32 * HEADER[name].word + HEADER[name].lsb for name in ("pop", "push")]
    own = [LEGAL[opcode] | 1 << bit + opcode.unit for opcode in known for bit in masks]
    return [*engineless, *random.sample(opcodes, 20), *random.sample(versions, 10), *own]


@bench(20_000)
async def nothing_illegal_leaves(dut: Any) -> None:
    await begin(dut)
    for bad in _bad_instructions(dut):
        good = _program(dut, random.randrange(3))
        program = [*good, bad, *_program(dut, 2)]
        memory, queues = Memory(dut, program, 0, 1.0), Queues(dut, 1.0)
        await _start(dut, 0, len(program))
        await wait_for(dut, lambda: bool(value(dut.illegal_o)), 400)
        await clock(dut, 30)
        assert value(dut.illegal_o)
        assert queues.taken == good
        memory.stop()
        queues.stop()
        dut.data_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut)
        assert not value(dut.illegal_o)


@bench(30_000)
async def a_reset_in_mid_program(dut: Any) -> None:
    await begin(dut)
    for _ in range(10):
        program = _program(dut, 40)
        memory, queues = Memory(dut, program, 0, 0.8), Queues(dut, 0.4)
        await _start(dut, 0, len(program))
        await clock(dut, random.randrange(3, 200))
        memory.stop()
        queues.stop()
        dut.data_valid_i.value = 0
        await reset(dut, 1)
        await clock(dut, 2)
        assert (value(dut.instr_valid_o), value(dut.run_valid_o)) == (0, 0)
        memory, queues = Memory(dut, program[:9], 4096, 0.8), Queues(dut, 0.8)
        await _start(dut, 4096, 9)
        await queues.until(9)
        assert queues.taken == program[:9]
        memory.stop()
        queues.stop()
