"""npu_norm: layer and RMS norms against the numerics, its cycles, stalls and resets."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from cocotb.triggers import RisingEdge

from intaglio.compiler import numerics
from intaglio.compiler.tensor import ElementType
from intaglio.templates.npu.isa import MAX_NORM_ROWS, Instruction, Opcode
from tests.rtl import rows
from tests.rtl.cocotb_bench import begin, bench, clock, encoded, reset, value, wait_for
from tests.rtl.vector_buffers import Buffers, driver

SOURCE, HIGH, OUTPUT, HIGH_OUTPUT, AGAIN = 0, 320, 640, 1000, 1400
RECORDS = 3


@dataclass(frozen=True, slots=True)
class Case:
    """An instruction, the buffer it meets, and its records."""

    item: Instruction
    activations: np.ndarray
    weights: np.ndarray
    records: dict[str, np.ndarray]


def _values(rng: np.random.Generator, element: ElementType, shape: tuple[int, int]) -> np.ndarray:
    """Rows spread widely, rows close together, rows of one value, rows at the ends of the range."""
    centre = rng.integers(element.lo, element.hi, (shape[0], 1), endpoint=True)
    spread = rng.choice((0, 1, 9, 700, 1 << 16), (shape[0], 1))
    values = centre + rng.integers(-spread, spread, shape, endpoint=True)
    clipped: np.ndarray = np.clip(values, element.lo, element.hi)
    return clipped


def _case(dut: Any, seed: int, count: int | None = None) -> Case:
    rng, lanes = np.random.default_rng(seed), value(dut.Lanes)
    wide, signed = bool(rng.integers(2)), bool(rng.integers(2))
    element = ElementType(16 if wide else 8, "signed" if signed else "unsigned")
    features = int(rng.integers(1, 5 * lanes))
    blocks, count = -(-features // lanes), count or int(rng.integers(1, 6))
    scale = float(rng.choice((2.0**-10, 0.03, 0.7)))
    gamma, beta = rng.normal(size=features) * 2, rng.normal(size=features)
    output_bits = int(rng.choice((8, 8, 16)))
    chosen = numerics.choose_norm(
        "rows", scale, element, features, float(rng.choice((0.0, 1e-5, 0.1))), gamma, beta,
        6.0 / (1 << output_bits - 1),
    )  # fmt: skip
    records = {
        "multiplier": np.atleast_1d(chosen.multiplier),
        "shift": np.atleast_1d(chosen.shift),
        "bias": np.atleast_1d(chosen.bias),
    }
    values = np.zeros((count, blocks * lanes), np.int64)
    values[:, :features] = _values(rng, element, (count, features))
    activations = rng.integers(0, 256, (value(dut.ActWords), lanes), dtype=np.uint8)
    fields = {
        "input_signed": int(signed), "input_wide": int(wide), "centred": int(rng.integers(2)),
        "output_wide": int(output_bits == 16), "output_high_offset": HIGH_OUTPUT - OUTPUT,
        "blocks": blocks, "rows": count,
        "count": features, "source_address": SOURCE, "source_block_stride": count,
        "source_high_offset": HIGH - SOURCE, "source_row_stride": 1, "record_address": RECORDS,
        "epsilon_low": chosen.epsilon & 0xFFFFFFFF, "epsilon_high": chosen.epsilon >> 32,
        "fraction": chosen.fraction, "output_address": OUTPUT, "output_block_stride": count + 1,
        "output_row_stride": 1, "lo": -(1 << output_bits - 1), "hi": (1 << output_bits - 1) - 1,
    }  # fmt: skip
    item = Instruction(Opcode.NORM, fields)
    for half in range(1 + wide):
        plane = (values >> 8 * half & 0xFF).astype(np.uint8).reshape(count, blocks, lanes)
        for row in range(count):
            words = rows.row_words(
                item, row, "source_address", "source_row_stride", "source_block_stride"
            )
            activations[words + half * fields["source_high_offset"]] = plane[row]
    weights = rng.integers(0, 256, (value(dut.WeightWords), lanes), dtype=np.uint8)
    words = rows.record_words(records, lanes)
    weights[RECORDS : RECORDS + len(words)] = words
    return Case(item, activations, weights, records)


async def _check(dut: Any, case: Case, ease: float) -> None:
    buffer = Buffers(dut, case.activations, ease, case.weights)
    await driver(dut).send([{"instr_i": encoded(case.item)}])
    await wait_for(dut, lambda: buffer.retired > 0)
    buffer.stop()
    wanted = case.activations.copy()
    rows.norm(wanted, case.item, case.records)
    np.testing.assert_array_equal(buffer.activations, wanted)
    made = 1 + case.item["output_wide"]
    assert buffer.writes == made * case.item["rows"] * case.item["blocks"]
    assert value(dut.busy_o) == 0


@bench(200_000)
async def results_are_exact_under_stalls(dut: Any) -> None:
    await begin(dut)
    for seed in range(40):
        await _check(dut, _case(dut, seed), (1.0, 0.7, 0.3)[seed % 3])


@bench(60_000)
async def it_keeps_as_many_rows_as_it_says(dut: Any) -> None:
    await begin(dut)
    await _check(dut, _case(dut, 100, MAX_NORM_ROWS), 0.9)


@bench(60_000)
async def it_goes_again_over_rows_with_the_sums_it_has(dut: Any) -> None:
    await begin(dut)
    for seed in range(300, 306):
        await _check_again(dut, _case(dut, seed))


async def _check_again(dut: Any, case: Case) -> None:
    own = {"again": 1, "output_address": AGAIN, "output_wide": 0, "lo": -9, "hi": 100}
    items = case.item, Instruction(Opcode.NORM, {**case.item.fields, **own})
    buffer = Buffers(dut, case.activations, 0.9, case.weights)
    await driver(dut).send([{"instr_i": encoded(item)} for item in items])
    await wait_for(dut, lambda: buffer.retired > 1)
    buffer.stop()
    wanted = case.activations.copy()
    for item in items:
        rows.norm(wanted, item, case.records)
    np.testing.assert_array_equal(buffer.activations, wanted)


def cycles(dut: Any, item: Instruction) -> int:
    """Cycles of a NORM that no port holds up, by the module's contract."""
    pipes = value(dut.Pipes)
    slices, reads = value(dut.Lanes) // pipes, 1 + item["input_wide"]
    made, blocks, count = 1 + item["output_wide"], item["blocks"], item["rows"]
    summing, applying = max(reads, slices), max(reads, slices, made)
    row = blocks * summing + reads + slices - summing + pipes + 7
    sums = 0 if item["again"] else row + (count - 1) * max(row, 56) + 56
    block = count * applying + reads + slices - applying + 20
    return int(sums + blocks * block + 9 + made - 1)


@bench(100_000)
async def it_takes_the_cycles_of_its_contract(dut: Any) -> None:
    await begin(dut)
    for seed in range(200, 212):
        case = _case(dut, seed)
        item = Instruction(Opcode.NORM, {**case.item.fields, "again": int(seed % 3 == 2)})
        buffer = Buffers(dut, case.activations, 1.0, case.weights)
        await driver(dut, 0.0).send([{"instr_i": encoded(item)}])
        taken = 0
        while not value(dut.retire_valid_o):
            await RisingEdge(dut.clk_i)
            taken += 1
        assert taken == 1 + cycles(dut, item), (taken, cycles(dut, item), item)
        buffer.stop()
        await reset(dut, 1)


@bench(60_000)
async def a_reset_in_mid_flight(dut: Any) -> None:
    await begin(dut)
    for seed in range(8):
        case = _case(dut, seed)
        buffer = Buffers(dut, case.activations, 0.8, case.weights)
        await driver(dut).send([{"instr_i": encoded(case.item)}])
        await clock(dut, random.randrange(4, 300))
        buffer.stop()
        await reset(dut, 1)
        await clock(dut)
        outputs = ("busy_o", "retire_valid_o", "wr_valid_o", "vr_valid_o", "vw_valid_o")
        assert [value(getattr(dut, name)) for name in outputs] == [0] * 5
        await _check(dut, case, 0.8)
