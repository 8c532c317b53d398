"""Constants as bytes: records, taps, tiles and tables, read back by the words of docs/npu.md."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.workload import Workload, epilogues
from intaglio.templates.npu.constants import (
    Filler,
    array_constants,
    filler,
    records,
    table_bytes,
    window_constants,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.memory_map import plan_layouts
from intaglio.templates.npu.translate import translate
from intaglio.templates.npu.work import ArrayWork, WindowWork
from tests.compiler.builders import U8, Builder

DESIGN = NpuDesign(rows=4, cols=8, lanes=4, vector_lanes=4, memory_bytes_per_cycle=4)


def work_of(workload: Workload, name: str) -> ArrayWork | WindowWork:
    layouts = plan_layouts(workload, DESIGN)
    op = next(op for op in workload.ops if op.name == name)
    work = translate(op, workload, layouts, DESIGN)
    assert isinstance(work, ArrayWork | WindowWork)
    return work


def test_a_record_holds_bias_multipliers_and_shift() -> None:
    b = Builder()
    x = b.tensor("x", (1, 6, 2, 2))
    workload = b.build((x,), (b.eltwise("op", "sub", x, x),))
    raw = records(workload.ops[0], workload, 6, DESIGN).astype(np.int64)
    assert raw.shape == (2, 12, 4)
    for channel in range(6):
        byte = raw[channel // 4, :, channel % 4]
        bias = sum(int(byte[i]) << 8 * i for i in range(6))
        bias -= (bias >> 47) << 48
        assert bias == b.constants["op.bias"][channel]
        assert byte[6] | byte[7] << 8 | byte[8] << 16 == b.constants["op.multiplier"][channel]
        residual = int(byte[9] | byte[10] << 8)
        assert (-residual if byte[11] & 64 else residual) == b.constants["op.residual_multiplier"][
            channel
        ]
        assert byte[11] & 63 == b.constants["op.shift"][channel]
    assert raw[1, :, 2:].tolist() == [[0, 0]] * 11 + [[1, 1]]


def test_a_max_pool_passes_values_through() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 2, 2))
    workload = b.build((x,), (b.pool("op", x, "max", (2, 2), (1, 1)),))
    raw = records(workload.ops[0], workload, 4, DESIGN)[0]
    assert raw[:, 0].tolist() == [0] * 6 + [2, 0, 0, 0, 0, 1]


def test_padding_lanes_find_an_entry_of_zero_in_the_table() -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, 2, 2))
    b.rescale("op", x, U8)
    entries = b.constants["op.table"]
    entries[:] = 9
    entries[200] = 0
    workload = b.build((x,), ("op.out",))
    assert filler(workload.ops[0], workload) == Filler(200, 0)
    raw = records(workload.ops[0], workload, 3, DESIGN)[0]
    assert raw[:2, 3].tolist() == [400 & 0xFF, 400 >> 8]
    table = table_bytes(epilogues(workload.ops[0])[0], workload, DESIGN)
    assert table.shape == (64, 4)
    assert table[50].tolist() == [0, 9, 9, 9]


def test_taps_come_before_records() -> None:
    b = Builder()
    x = b.tensor("x", (1, 6, 5, 5))
    workload = b.build((x,), (b.conv("op", x, 6, (2, 3), groups=6),))
    work = work_of(workload, "op")
    assert isinstance(work, WindowWork)
    constants = window_constants(work, workload, DESIGN, 6)
    assert constants.shape == (2, 6 + 12, 4)
    taps = constants[:, :6].view(np.int8)
    weight = b.constants["op.weight"]
    assert taps[1, 4, 1] == weight[5, 0, 1, 1]
    assert taps[1, :, 2:].any() == np.False_


def test_a_weight_tile_is_rows_by_columns() -> None:
    b = Builder()
    x = b.tensor("x", (1, 6, 5, 5))
    workload = b.build((x,), (b.conv("op", x, 10, (2, 3)),))
    work = work_of(workload, "op")
    assert isinstance(work, ArrayWork)
    blocks = array_constants(work, workload, plan_layouts(workload, DESIGN), DESIGN)
    assert [block.shape for block in blocks] == [(12 * 8 + 24, 4)] * 2
    tiles = blocks[1][: 12 * 8].view(np.int8).reshape(2, 2, 3, 4, 8)
    weight = b.constants["op.weight"]
    assert tiles[1, 0, 2, 1, 1] == weight[9, 5, 0, 2]
    assert not tiles[1, :, :, 2:].any()
    assert not tiles[..., 2:].any()


def test_kernel_columns_are_folded_into_rows() -> None:
    b = Builder()
    x = b.tensor("x", (1, 2, 5, 9))
    workload = b.build((x,), (b.conv("op", x, 8, (1, 2), dilation=(1, 2)),))
    work = work_of(workload, "op")
    assert isinstance(work, ArrayWork)
    assert (work.shape.pixel_bytes, work.shape.columns) == (2, 2)
    layouts = plan_layouts(workload, DESIGN)
    tiles = array_constants(work, workload, layouts, DESIGN)[0][:16].view(np.int8)
    weight = b.constants["op.weight"]
    folded = tiles.reshape(2, 4, 8)
    assert np.array_equal(folded[0, :2], weight[:, :, 0, 0].T)
    assert np.array_equal(folded[1, :2], weight[:, :, 0, 1].T)
    assert not folded[:, 2:].any()


def test_a_concatenation_selects_channels_across_blocks() -> None:
    b = Builder()
    x, y = b.tensor("x", (1, 3, 2, 2)), b.tensor("y", (1, 6, 2, 2))
    workload = b.build((x, y), (b.concat("op", x, y),))
    work = work_of(workload, "op")
    assert isinstance(work, ArrayWork)
    layouts = plan_layouts(workload, DESIGN)
    blocks = array_constants(work, workload, layouts, DESIGN)
    assert work.shape.weight_bits == 2
    words = blocks[0][: 3 * 2].reshape(3, 1, 8)
    tiles = np.concatenate([words >> shift & 3 for shift in (0, 2, 4, 6)], axis=1)
    joined = np.zeros((9, 8), np.int64)
    joined[:3] = tiles[0, :3]
    joined[3:] = tiles[1:].reshape(8, 8)[:6]
    assert np.array_equal(joined[:8], np.eye(8))
    assert [(t.operand, t.first, t.end) for t in work.shape.touched[1]] == [(1, 1, 2)]
