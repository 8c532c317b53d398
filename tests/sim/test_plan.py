"""What the simulator reads from an encoded program."""

from __future__ import annotations

import numpy as np

from intaglio.sim.plan import Plan
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, Unit, encode
from tests.sim.programs import SMALL


def plan(*instructions: Instruction) -> Plan:
    return Plan(encode(instructions), SMALL)


def test_the_box_of_a_padded_load() -> None:
    fields = {
        "planes": 2, "rows": 3, "words": 5, "pad_top": 1, "pad_bottom": 2, "pad_left": 1,
        "pad_right": 2, "memory_address": 1 << 33, "memory_row_stride": 100,
        "memory_plane_stride": 1000, "buffer": Buffer.ACTIVATION,
    }  # fmt: skip
    [box] = plan(Instruction(Opcode.LOAD, fields)).boxes()
    assert (box.planes, box.runs, box.beats) == (2, 3, 5)
    assert (box.address, box.plane_stride, box.run_stride) == (1 << 33, 1000, 100)
    assert (box.lead, box.inside, box.trail) == (8 + 1, 15 + 2 * 3, 2 + 16)
    assert (box.buffer, box.fill, box.passing) == (Buffer.ACTIVATION, 0, 15 + 2 * 3)


def test_the_box_of_a_contiguous_load_has_a_run_a_plane() -> None:
    fields = {"planes": 2, "rows": 3, "words": 5, "contiguous": 1, "memory_plane_stride": 64}
    [box] = plan(Instruction(Opcode.LOAD, fields)).boxes()
    assert (box.planes, box.runs, box.beats, box.plane_stride) == (2, 1, 15, 64)


def test_the_box_of_fill_alone_has_no_planes() -> None:
    fields = {"planes": 2, "words": 5, "pad_top": 3, "pad_left": 1}
    [box] = plan(Instruction(Opcode.LOAD, fields)).boxes()
    assert (box.planes, box.fill) == (0, 2 * 3 * 6)


def test_the_box_of_a_store_has_no_fill() -> None:
    fields = {"planes": 2, "rows": 3, "words": 5}
    box, nothing = plan(
        Instruction(Opcode.STORE, fields), Instruction(Opcode.STORE, fields | {"rows": 0})
    ).boxes()
    assert (box.lead, box.inside, box.trail, box.fill) == (0, 15, 0, 0)
    assert (nothing.planes, nothing.fill) == (0, 0)


def test_fields_are_read_from_columns() -> None:
    made = plan(
        Instruction(Opcode.COMPUTE, {"blocks": 2, "fy": 3, "fx": 5, "y": 7, "x": 11}),
        Instruction(Opcode.SYNC_STORE, pop=(Unit.LOAD, Unit.VECTOR)),
        Instruction(Opcode.COMPUTE, {"blocks": 1, "fy": 1, "fx": 1, "y": 1, "x": 2}, layer=3),
    )
    assert [(work.tiles, work.pixels, work.fill, work.period) for work in made.tiles()] == [
        (30, 77, SMALL.rows, 77),
        (1, 2, SMALL.rows, SMALL.rows),
    ]
    assert [(task.sync, task.work) for task in made.tasks()] == [(False, 0), (True, 0), (False, 1)]
    assert [task.pop for task in made.tasks()] == [0, 0b0101, 0]
    assert made.layer.tolist() == [0, 0, 3]


def test_a_vector_instruction_reads_taps_table_and_records_first() -> None:
    fields = {
        "y": 2, "x": 3, "window_y": 3, "window_x": 3, "table": 1, "residual": 1,
        "source_x_stride": 2, "window_x_stride": 1,
    }  # fmt: skip
    [work] = plan(Instruction(Opcode.WINDOW_MAC, fields)).reads()
    assert work.setup == 9 + 256 // SMALL.lanes + 12
    assert work.reads == 2 * 3 * (3 + 2 * 2) + 6


def test_a_drain_without_residual_never_stalls_on_its_port() -> None:
    [work] = plan(Instruction(Opcode.DRAIN, {"y": 2, "x": 30})).reads()
    assert (work.setup, work.reads, work.stalls, work.share) == (12, 60, 0, 1.0)


def test_a_drain_stalls_where_write_and_residual_share_a_bank() -> None:
    [same] = plan(Instruction(Opcode.DRAIN, {"y": 1, "x": 40, "residual": 1})).reads()
    fields = {"y": 1, "x": 40, "residual": 1, "residual_address": 1}
    [other] = plan(Instruction(Opcode.DRAIN, fields)).reads()
    assert (same.stalls, other.stalls) == (3, 0)


def test_a_drain_reads_a_wide_residual_in_two_cycles_a_pixel() -> None:
    fields = {"y": 2, "x": 20, "residual": 1, "residual_wide": 1, "residual_row_stride": 20}
    fields |= {"output_row_stride": 20, "residual_high_offset": 40}
    [work] = plan(Instruction(Opcode.DRAIN, fields)).reads()
    assert (work.setup, work.reads) == (12, 80)
    [apart] = plan(Instruction(Opcode.DRAIN, fields | {"residual_high_offset": 41})).reads()
    assert (work.stalls, apart.stalls) == (12, 6)


def test_columns_of_an_empty_program() -> None:
    made = Plan(np.zeros((0, 16), np.uint32), SMALL)
    assert made.count == 0
    assert not any(map(len, (made.tasks(), made.tiles(), made.reads(), made.boxes())))
