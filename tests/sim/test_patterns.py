"""What instructions of the vector and window units ask of the buffers' ports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intaglio.sim.patterns import Pattern
from intaglio.sim.plan import Plan
from intaglio.sim.port import BANK_BITS
from intaglio.templates.npu import timing
from intaglio.templates.npu.isa import Instruction, Opcode, encode
from tests.sim.programs import SMALL

DESIGN = replace(SMALL, row_lanes=2)
RECORDS = 12


def pattern(opcode: Opcode, **fields: int) -> Pattern:
    """The pattern of one instruction."""
    [work], taken = Plan(encode([Instruction(opcode, fields)]), DESIGN).reads()
    own = np.array(taken[work.pattern : work.pattern + work.watched])
    return Pattern(work.cycles, work.stalls, own)


def slices(found: Pattern) -> list[int]:
    """Slices of the weight buffer that are read, with the cycles between left out."""
    return [int(value) - 1 for value in found.taken >> BANK_BITS if value]


def test_a_drain_reads_table_and_records_first() -> None:
    fields = {"y": 2, "x": 3, "table": 1, "table_address": 1, "record_address": 1}
    found = pattern(Opcode.DRAIN, **fields)
    table = 256 // DESIGN.lanes
    assert found.cycles == table + RECORDS + 6 + timing.VECTOR_PIPELINE
    alternate = [k % 2 for k in range(100)]
    assert slices(found) == alternate[1 : 1 + table] + alternate[1 : 1 + RECORDS]
    assert not (found.taken[: table + RECORDS] % 4).any()


def test_a_window_reads_taps_table_and_records_first() -> None:
    fields = {"y": 2, "x": 3, "window_y": 3, "window_x": 3, "table": 1, "residual": 1}
    fields |= {"source_x_stride": 2, "window_x_stride": 1, "table_address": 1, "record_address": 1}
    plan = Plan(encode([Instruction(Opcode.WINDOW_MAC, fields)]), DESIGN)
    [work], steps = plan.gathers()
    own = np.array(steps[work.first : work.end])
    table = 256 // DESIGN.lanes
    setup = 9 + table + RECORDS
    alternate = [k % 2 for k in range(100)]
    expected = alternate[:9] + alternate[1 : 1 + table] + alternate[1 : 1 + RECORDS]
    assert ((own[:setup] >> BANK_BITS) - 1).tolist() == expected
    assert own.size == setup + 2 * 3 * (3 + 2 * 2) + 6
    assert np.isin(own[setup:] % 4, (1, 2)).all()


def test_a_drain_without_residual_only_writes() -> None:
    found = pattern(Opcode.DRAIN, y=2, x=30, output_row_stride=30, output_address=1)
    assert found.stalls == 0
    assert found.taken[RECORDS:].tolist() == [0] * 12 + [2, 1] * 30


def test_a_drain_stalls_where_write_and_residual_share_a_bank() -> None:
    same = pattern(Opcode.DRAIN, y=1, x=40, residual=1)
    other = pattern(Opcode.DRAIN, y=1, x=40, residual=1, residual_address=1)
    assert (same.stalls, other.stalls) == (3, 0)


def test_a_drain_reads_a_wide_residual_in_two_cycles_a_pixel() -> None:
    fields = {"y": 2, "x": 20, "residual": 1, "residual_wide": 1, "residual_row_stride": 20}
    fields |= {"output_row_stride": 20, "residual_high_offset": 40}
    found = pattern(Opcode.DRAIN, **fields)
    assert found.cycles == RECORDS + 80 + found.stalls + timing.VECTOR_PIPELINE
    apart = pattern(Opcode.DRAIN, **fields | {"residual_high_offset": 41})
    assert (found.stalls, apart.stalls) == (12, 6)


@pytest.mark.parametrize("mask", [0, 1])
def test_a_softmax_walks_three_times_over_a_row(mask: int) -> None:
    found = pattern(Opcode.SOFTMAX, blocks=5, rows=2, mask=mask, mask_address=1)
    assert found.cycles == timing.softmax_cycles(DESIGN, 5, 2, 1 + mask) + found.stalls
    reads = 2 * 3 * 5 * (1 + mask)
    assert np.unpackbits(found.taken).sum() == reads + 2 * 5
    assert not slices(found)


def test_a_norm_reads_the_records_of_a_block_before_its_rows() -> None:
    found = pattern(Opcode.NORM, blocks=3, rows=2, record_address=1)
    assert found.cycles == timing.norm_cycles(DESIGN, 3, 2, 1) + found.stalls
    assert slices(found) == [(1 + k) % 2 for k in range(3 * RECORDS)]
    banks = found.taken % (1 << BANK_BITS)
    assert np.unpackbits(banks).sum() == 2 * 2 * 3 + 2 * 3
    before = timing.norm_sum_cycles(DESIGN, 3, 2, 1)
    assert (found.taken[before : before + RECORDS] >> BANK_BITS).all()


def test_a_norm_again_writes_both_halves_without_a_first_pass() -> None:
    fields = {"output_wide": 1, "again": 1, "output_high_offset": 1, "output_address": 1}
    found = pattern(Opcode.NORM, blocks=3, rows=2, **fields)
    assert found.cycles == timing.norm_cycles(DESIGN, 3, 2, 1, 2, again=True) + found.stalls
    assert np.unpackbits(found.taken % (1 << BANK_BITS)).sum() == 2 * 3 + 2 * 2 * 3
    assert (found.taken[:RECORDS] >> BANK_BITS).all()
