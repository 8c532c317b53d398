"""npu_softmax: rows of every kind against the numerics, its cycles, stalls and resets."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.compiler import numerics
from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl import rows
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.vector_buffers import Buffers, driver

SOURCE, HIGH, MASK, OUTPUT = 0, 64, 128, 192


def _instruction(dut: Any) -> Instruction:
    lanes = value(dut.Lanes)
    blocks, count = random.randint(1, 5), random.randint(1, 4)
    bits = random.choice((8, 16))
    scale = random.choice((2.0**-12, 0.001, 0.02, 0.3, 5.0))
    largest = (1 << random.choice((8, 8, 8, 4, 1))) - 1
    chosen = numerics.choose_softmax("rows", scale, blocks * lanes, largest.bit_length())
    fields = {
        "input_signed": random.getrandbits(1), "input_wide": int(bits == 16),
        "mask": random.getrandbits(1), "largest": largest,
        "entries": random.randint((blocks - 1) * lanes + 1, blocks * lanes),
        "blocks": blocks, "rows": count, "source_address": SOURCE,
        "source_block_stride": 8, "source_high_offset": HIGH - SOURCE,
        "source_row_stride": random.choice((1, 2)), "mask_address": MASK,
        "mask_row_stride": random.choice((0, 1)), "mask_block_stride": 9,
        "multiplier": chosen.multiplier, "shift": chosen.shift, "output_address": OUTPUT,
        "output_block_stride": 8, "output_row_stride": random.choice((1, 2)),
    }  # fmt: skip
    return Instruction(Opcode.SOFTMAX, fields)


def _words(dut: Any, seed: int) -> np.ndarray:
    """Words of all kinds of rows: random ones, ones close together, masks that hide whole rows."""
    rng = np.random.default_rng(seed)
    shape = (value(dut.ActWords), value(dut.Lanes))
    words = rng.integers(0, 256, shape, dtype=np.uint8)
    words[HIGH:MASK] = rng.choice((0, 0, 1, 127, 128, 255), (MASK - HIGH, shape[1]))
    if seed % 3 == 0:
        words[MASK:OUTPUT] &= 0xFE
    return words


async def _check(dut: Any, seed: int, ease: float, count: int) -> None:
    words = _words(dut, seed)
    buffer = Buffers(dut, words, ease)
    program = [_instruction(dut) for _ in range(count)]
    await driver(dut).send([{"instr_i": encoded(item)} for item in program])
    await wait_for(dut, lambda: buffer.retired >= count)
    buffer.stop()
    for item in program:
        rows.softmax(words, item)
    np.testing.assert_array_equal(buffer.activations, words)
    assert buffer.writes == sum(item["rows"] * item["blocks"] for item in program)
    assert value(dut.busy_o) == 0


@bench(200_000)
async def results_are_exact_under_stalls(dut: Any) -> None:
    await begin(dut)
    for seed, ease in enumerate((1.0, 0.7, 0.3)):
        await _check(dut, seed, ease, 25)


def cycles(dut: Any, item: Instruction) -> int:
    """Cycles of a SOFTMAX that no port holds up, by the module's contract."""
    pipes, count = value(dut.Pipes), item["rows"]
    slices = value(dut.Lanes) // pipes
    reads = 1 + item["input_wide"] + item["mask"]
    length = item["blocks"] * max(reads, slices)
    last = length + min(reads, slices) + 2
    free, maximum, sums = 0, 0, [0] * (count + 1)
    for row in range(count + 2):
        if row < count:
            maximum = free + last + pipes + 2
            free += length
        if row > 1:
            free = max(free, sums[row - 2])
            over = free + last
            free += length
        if row < count:
            free = max(free, maximum, sums[row - 1])
            sums[row] = free + last + pipes + 38
            free += length
    return int(over + 19)


@bench(100_000)
async def it_takes_the_cycles_of_its_contract(dut: Any) -> None:
    await begin(dut)
    for seed in range(8):
        buffer = Buffers(dut, _words(dut, seed), 1.0)
        item = _instruction(dut)
        await driver(dut, 0.0).send([{"instr_i": encoded(item)}])
        taken = 0
        while not value(dut.retire_valid_o):
            await RisingEdge(dut.clk_i)
            taken += 1
        assert taken == 1 + cycles(dut, item), item
        buffer.stop()
        await reset(dut, 1)


@bench(60_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for seed in range(8):
        buffer = Buffers(dut, _words(dut, seed), 0.8)
        await driver(dut).send([{"instr_i": encoded(_instruction(dut))}])
        await clock(dut, random.randrange(4, 300))
        buffer.stop()
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "vr_valid_o", "vw_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 4
        await _check(dut, seed, 0.8, 2)
