"""How tensors are stored: packed inputs, shared regions, and reshapes that cannot be."""

from __future__ import annotations

import pytest

from intaglio.compiler.workload import Workload
from intaglio.errors import UnsupportedError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.layout import Form, TensorLayout
from intaglio.templates.npu.memory_map import plan_layouts
from tests.compiler.builders import Builder, attention

DESIGN = NpuDesign()


def layout_of(workload: Workload, name: str) -> TensorLayout:
    return plan_layouts(workload, DESIGN)[name]


def test_an_input_with_few_channels_is_packed_for_all_its_readers() -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, 9, 10))
    b.conv("near", x, 4, (3, 3), padding=(1, 1, 1, 1))
    b.conv("far", x, 4, (3, 5), stride=(1, 2), padding=(0, 0, 2, 2))
    layout = layout_of(b.build((x,), ("near.out", "far.out")), "x")
    # `far` starts at pixel -2 and reads two groups of four columns from pixel 6 on.
    assert (layout.kind, layout.pixel_bytes, layout.left) == ("packed", 4, 2)
    assert layout.row_words == -(-(2 + 10 + 4) * 4 // 16)


@pytest.mark.parametrize("other", ["pool", "add", "concat"])
def test_an_input_that_the_window_or_a_concatenation_reads_is_blocked(other: str) -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, 4, 4))
    b.conv("conv", x, 3, (1, 1))
    if other == "pool":
        b.pool("other", x, "max", (2, 2), (2, 2))
    elif other == "add":
        b.eltwise("other", "add", "conv.out", x)
    else:
        b.concat("other", x, "conv.out")
    assert layout_of(b.build((x,), ("other.out",)), "x").kind == "blocked"


def test_an_input_with_many_channels_is_blocked() -> None:
    b = Builder()
    x = b.tensor("x", (1, 9, 4, 4))
    assert layout_of(b.build((x,), (b.conv("conv", x, 3, (1, 1)),)), "x").kind == "blocked"


def test_a_reshape_shares_the_region_of_its_input() -> None:
    b = Builder()
    x = b.tensor("x", (1, 20, 3, 2))
    flat = b.reshape("flat", b.pool("pool", x, "max", (1, 1), (1, 1)), (1, 120))
    again = b.reshape("again", flat, (1, 20, 1, 6))
    layouts = plan_layouts(b.build((x,), (b.matmul("head", flat, 4), again)), DESIGN)
    made, shared = layouts["pool.out"], layouts["flat.out"]
    assert (shared.address, shared.map, shared.shape) == (made.address, (20, 3, 2), (1, 120))
    assert layouts["again.out"].map == (20, 1, 6)


def test_rows_of_features_are_pixels_of_channels() -> None:
    b = Builder()
    x = b.tensor("x", (1, 6, 20))
    rows = b.matmul("up", x, 40)
    flat = b.reshape("flat", rows, (1, 240))
    split = b.reshape("split", rows, (1, 12, 20))
    one = b.reshape("one", b.matmul("head", flat, 5), (1, 1, 5))
    layouts = plan_layouts(b.build((x,), (split, one)), DESIGN)
    assert (layouts["x"].map, layouts["x"].last) == ((20, 1, 6), True)
    assert (layouts["up.out"].map, layouts["up.out"].last) == ((40, 1, 6), True)
    for name in ("flat.out", "split.out"):
        assert (layouts[name].map, layouts[name].last) == ((40, 1, 6), True)
    assert (layouts["one.out"].map, layouts["one.out"].last) == ((5, 1, 1), True)


def test_heads_of_rows_share_the_region_of_the_rows() -> None:
    b = Builder()
    x = b.tensor("x", (1, 6, 20))
    layouts = plan_layouts(b.build((x,), (attention(b, "a", x, 3, features=16),)), DESIGN)
    rows, heads = layouts["a.query.out"], layouts["a.query.heads.out"]
    assert (heads.address, heads.bytes) == (rows.address, rows.bytes)
    assert (rows.form, heads.form) == (Form((48, 1, 6), True), Form((16, 1, 6), True, 3))
    assert layouts["a.scores.out"].form == Form((6, 1, 6), True, 3)
    mixed, joined = layouts["a.mixed.out"], layouts["a.joined.out"]
    assert (mixed.address, mixed.form, joined.form) == (joined.address, heads.form, rows.form)


@pytest.mark.parametrize("shape", [(1, 16, 8), (1, 8, 16)])
def test_a_map_is_not_rows_without_moving_data(shape: tuple[int, ...]) -> None:
    b = Builder()
    x = b.tensor("x", (1, 8, 4, 4))
    rows = b.reshape("rows", b.conv("conv", x, 8, (1, 1)), shape)
    workload = b.build((x,), (b.matmul("next", rows, 4),))
    with pytest.raises(
        UnsupportedError, match=r"^next: reads 'rows\.out', which a reshape turned "
    ):
        plan_layouts(workload, DESIGN)


def test_a_reshape_that_moves_data_is_refused() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 4, 4))
    shuffled = b.reshape("fold", b.conv("conv", x, 8, (1, 1)), (1, 32, 2, 2))
    workload = b.build((x,), (b.conv("next", shuffled, 4, (1, 1)),))
    with pytest.raises(UnsupportedError) as caught:
        plan_layouts(workload, DESIGN)
    assert str(caught.value) == (
        "next: reads 'fold.out', which a reshape turned from 8x4x4 into 32x2x2 without moving "
        "data; only a linear layer on all of it, another reshape or the network's "
        "output can follow such a reshape"
    )


def test_the_lanes_beyond_the_last_channel_after_a_table_without_zero() -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, 2, 2))
    y = b.rescale("curve", x)
    entries = b.constants["curve.table"]
    entries[entries == 0] = 7
    layout = layout_of(b.build((x,), (y,)), y)
    assert layout.filler == entries[0]
