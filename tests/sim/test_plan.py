"""What the simulator reads from an encoded program."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from intaglio.sim.plan import Plan
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, Unit, encode
from tests.sim.programs import SMALL


def plan(*instructions: Instruction) -> Plan:
    return Plan(encode(instructions), SMALL)


def test_the_box_of_a_padded_load() -> None:
    fields = {
        "planes": 2, "rows": 3, "words": 5, "pad_top": 1, "pad_bottom": 2, "pad_left": 3,
        "pad_right": 4, "memory_address": 1 << 33, "memory_row_stride": 100,
        "memory_plane_stride": 1000, "buffer": Buffer.WEIGHT, "local_address": 7,
        "local_row_stride": 8, "local_plane_stride": 9,
    }  # fmt: skip
    box, nothing = plan(Instruction(Opcode.LOAD, fields)).boxes()
    assert (box.buffer, box.planes, box.rows, box.words) == (Buffer.WEIGHT, 2, 3, 5)
    assert (box.top, box.bottom, box.left, box.right) == (1, 2, 3, 4)
    assert (box.runs, box.beats) == (3, 5)
    assert (box.address, box.plane_stride, box.run_stride) == (1 << 33, 1000, 100)
    assert (box.local, box.local_row_stride, box.local_plane_stride) == (7, 8, 9)
    assert not any(astuple(nothing))


def test_the_box_of_a_contiguous_load_has_a_run_a_plane() -> None:
    fields = {"planes": 2, "rows": 3, "words": 5, "contiguous": 1, "memory_plane_stride": 64}
    box, _ = plan(Instruction(Opcode.LOAD, fields)).boxes()
    assert (box.planes, box.runs, box.beats, box.plane_stride) == (2, 1, 15, 64)


@pytest.mark.parametrize("absent", ["planes", "rows", "words"])
def test_a_box_without_words_in_memory_has_no_runs(absent: str) -> None:
    fields = {"planes": 2, "rows": 2, "words": 5, "pad_top": 3, "pad_left": 1}
    box, _ = plan(Instruction(Opcode.LOAD, fields | {absent: 0})).boxes()
    assert box.runs == 0


def test_the_box_of_a_store_has_no_padding() -> None:
    fields = {"planes": 2, "rows": 3, "words": 5}
    box, _ = plan(Instruction(Opcode.STORE, fields)).boxes()
    assert (box.top, box.bottom, box.left, box.right) == (0, 0, 0, 0)


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


def test_equal_vector_instructions_share_a_pattern() -> None:
    drain = Instruction(Opcode.DRAIN, {"y": 2, "x": 3})
    other = Instruction(Opcode.DRAIN, {"y": 3, "x": 2})
    (one, two, three), taken = plan(drain, other, drain).reads()
    assert one == three
    assert one.pattern != two.pattern
    assert two.pattern + two.watched == len(taken)


def test_columns_of_an_empty_program() -> None:
    made = Plan(np.zeros((0, 16), np.uint32), SMALL)
    assert made.count == 0
    assert not any(map(len, (made.tasks(), made.tiles(), made.reads()[0])))
    assert len(made.boxes()) == 1
