"""What the simulator reads from an encoded program."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.sim.plan import Plan, split_run
from intaglio.sim.port import PortUse
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, encode
from tests.sim.programs import SMALL


def plan(*instructions: Instruction) -> Plan:
    return Plan(encode(instructions), SMALL)


@pytest.mark.parametrize(
    ("address", "beats", "bursts"),
    [
        (0, 256, [256]),
        (0, 600, [256, 256, 88]),
        (4096 - 12, 10, [3, 7]),
        (4096 - 4, 1, [1]),
        (2048, 512, [256, 256]),
    ],
)
def test_runs_are_split_at_256_beats_and_4_kib(address: int, beats: int, bursts: list[int]) -> None:
    assert list(split_run(address, beats, 4)) == bursts


def test_the_box_of_a_padded_load() -> None:
    fields = {
        "planes": 2, "rows": 3, "words": 5, "pad_top": 1, "pad_bottom": 2, "pad_left": 1,
        "pad_right": 2, "memory_address": 1 << 33, "memory_row_stride": 100,
        "memory_plane_stride": 1000, "buffer": Buffer.ACTIVATION,
    }  # fmt: skip
    box = plan(Instruction(Opcode.LOAD, fields)).box(0)
    assert box.planes == tuple(
        tuple(((1 << 33) + 1000 * p + 100 * r, 5) for r in range(3)) for p in range(2)
    )
    assert (box.lead, box.inside, box.trail) == (8 + 1, 15 + 2 * 3, 2 + 16)
    assert box.words == 2 * 6 * 8
    assert box.beats == 30


def test_the_box_of_a_contiguous_load_has_a_run_a_plane() -> None:
    fields = {"planes": 2, "rows": 3, "words": 5, "contiguous": 1, "memory_plane_stride": 64}
    box = plan(Instruction(Opcode.LOAD, fields)).box(0)
    assert box.planes == (((0, 15),), ((64, 15),))


def test_the_box_of_fill_alone_has_no_planes() -> None:
    fields = {"planes": 2, "words": 5, "pad_top": 3, "pad_left": 1}
    box = plan(Instruction(Opcode.LOAD, fields)).box(0)
    assert (box.planes, box.words, box.beats) == ((), 2 * 3 * 6, 0)


def test_fields_are_read_from_columns() -> None:
    made = plan(
        Instruction(Opcode.COMPUTE, {"blocks": 2, "fy": 3, "fx": 5, "y": 7, "x": 11}),
        Instruction(Opcode.SYNC_STORE),
        Instruction(Opcode.COMPUTE, {"blocks": 1, "fy": 1, "fx": 1, "y": 1, "x": 9}, layer=3),
    )
    assert made.compute_work(0) == (30, 77)
    assert made.compute_work(2) == (1, 9)
    assert [made.is_sync(k) for k in range(3)] == [False, True, False]
    assert made.layer == [0, 0, 3]


def test_a_vector_instruction_reads_taps_table_and_records_first() -> None:
    fields = {
        "y": 2, "x": 3, "window_y": 3, "window_x": 3, "table": 1, "residual": 1,
        "source_x_stride": 2, "window_x_stride": 1,
    }  # fmt: skip
    work = plan(Instruction(Opcode.WINDOW_MAC, fields)).vector_work(0)
    assert work.setup == 9 + 256 // SMALL.lanes + 12
    assert work.reads == 2 * 3 * (3 + 2 * 2) + 6


def test_a_drain_without_residual_never_stalls_on_its_port() -> None:
    work = plan(Instruction(Opcode.DRAIN, {"y": 2, "x": 30})).vector_work(0)
    assert (work.setup, work.reads, work.port) == (12, 60, PortUse(0, 1.0))


def test_a_drain_stalls_where_write_and_residual_share_a_bank() -> None:
    same = plan(Instruction(Opcode.DRAIN, {"y": 1, "x": 40, "residual": 1})).vector_work(0)
    fields = {"y": 1, "x": 40, "residual": 1, "residual_address": 1}
    other = plan(Instruction(Opcode.DRAIN, fields)).vector_work(0)
    assert (same.port.stalls, other.port.stalls) == (3, 0)


def test_a_drain_reads_a_wide_residual_in_two_cycles_a_pixel() -> None:
    fields = {"y": 2, "x": 20, "residual": 1, "residual_wide": 1, "residual_row_stride": 20}
    fields |= {"output_row_stride": 20, "residual_high_offset": 40}
    work = plan(Instruction(Opcode.DRAIN, fields)).vector_work(0)
    assert (work.setup, work.reads) == (12, 80)
    apart = plan(Instruction(Opcode.DRAIN, fields | {"residual_high_offset": 41})).vector_work(0)
    assert (work.port.stalls, apart.port.stalls) == (12, 6)


def test_columns_of_an_empty_program() -> None:
    assert Plan(np.zeros((0, 16), np.uint32), SMALL).count == 0
