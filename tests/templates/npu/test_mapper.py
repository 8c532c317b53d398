"""Mappings: what is chosen, that it fits, what it costs, and what cannot be mapped."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import assume, given, settings

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError
from intaglio.sim.npu import simulate
from intaglio.templates.npu import layers as layers_module
from intaglio.templates.npu.allocator import fits
from intaglio.templates.npu.array_steps import array_regions
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.layers import MappedArray, MappedWindow, map_work
from intaglio.templates.npu.mapping import ArrayMapping, WindowMapping
from intaglio.templates.npu.memory_map import plan_layouts
from intaglio.templates.npu.schedule import mappings, schedule
from intaglio.templates.npu.translate import translate
from intaglio.templates.npu.window_steps import window_regions
from tests.compiler.builders import U8, Builder
from tests.templates.npu.networks import REPEATABLE, SMALL, check, designs, networks

DESIGN = NpuDesign()


def one_conv(
    channels: int, size: tuple[int, int], outputs: int, kernel: tuple[int, int], **more: object
) -> Workload:
    b = Builder()
    x = b.tensor("x", (1, channels, *size))
    return b.build((x,), (b.conv("op", x, outputs, kernel, **more),))  # type: ignore[arg-type]


def array_mapping(workload: Workload, design: NpuDesign) -> ArrayMapping:
    mapping = mappings(workload, design)["op"]
    assert isinstance(mapping, ArrayMapping)
    return mapping


def test_kernel_rows_and_columns_are_split_when_a_block_of_weights_is_too_large() -> None:
    rows = one_conv(4, (9, 9), 8, (9, 5))
    mapping = array_mapping(rows, SMALL)
    assert mapping.chunk_blocks == 1
    assert mapping.chunk_fy < 9
    assert mapping.chunk_columns == 5
    check(rows, schedule(rows, SMALL))
    columns = one_conv(5, (1, 40), 8, (1, 33))
    mapping = array_mapping(columns, SMALL)
    assert (mapping.chunk_blocks, mapping.chunk_fy) == (1, 1)
    assert mapping.chunk_columns < 33
    check(columns, schedule(columns, SMALL))


def test_input_channels_are_split_when_a_tile_of_all_of_them_is_too_large() -> None:
    workload = one_conv(160, (6, 6), 8, (3, 3), padding=(1, 1, 1, 1))
    mapping = array_mapping(workload, SMALL)
    assert mapping.input_blocks < 40
    check(workload, schedule(workload, SMALL))


def test_rows_are_split_when_they_are_too_wide() -> None:
    workload = one_conv(8, (3, 200), 8, (3, 3), padding=(1, 1, 1, 1))
    assert array_mapping(workload, SMALL).tile_x < 200
    check(workload, schedule(workload, SMALL))


def test_a_packed_row_is_split_at_any_pixel() -> None:
    workload = one_conv(1, (5, 150), 8, (3, 5), stride=(1, 3), padding=(1, 1, 2, 2))
    assert plan_layouts(workload, SMALL)["x"].kind == "packed"
    assert array_mapping(workload, SMALL).tile_x < 50
    check(workload, schedule(workload, SMALL))


def test_weights_stay_when_they_fit() -> None:
    workload = one_conv(32, (56, 56), 32, (3, 3), padding=(1, 1, 1, 1))
    mapping = array_mapping(workload, DESIGN)
    weights = 2 * (2 * 9 * 16 + 12)
    instructions = simulate_words(workload)
    # Input with a halo between tiles, output, weights and records once.
    assert mapping.memory_words < weights + 2 * 56 * 56 * 2 * 1.25 + instructions


def simulate_words(workload: Workload) -> int:
    """Words that fetching the program takes."""
    return 4 * schedule(workload, DESIGN).count


def test_an_input_that_fits_is_read_once_when_weights_do_not() -> None:
    workload = one_conv(128, (28, 28), 128, (3, 3), padding=(1, 1, 1, 1))
    mapping = array_mapping(workload, DESIGN)
    assert mapping.resident
    assert mapping.outputs_outer
    check(workload, schedule(workload, DESIGN))


MAPPINGS = [
    ArrayMapping(3, 5, 3, 2, 3, 3, outer, resident, inputs, weights, outputs)
    for outer in (False, True)
    for resident, inputs in ((False, 1), (False, 3), (True, 1))
    for weights, outputs in ((1, 1), (3, 2))
]
MAPPINGS += [
    ArrayMapping(1, 5, 3, 3, 3, 3, True, True, 1, 2, 2),
    ArrayMapping(4, 2, 2, 1, 2, 3, False, False, 2, 2, 2),
    ArrayMapping(2, 3, 1, 1, 1, 2, True, False, 2, 4, 1),
]


@pytest.mark.parametrize("mapping", MAPPINGS, ids=str)
def test_any_mapping_computes_the_same(
    mapping: ArrayMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one row a tile, the last strip of a resident input is nothing but padding."""
    design = replace(SMALL, activation_buffer_kib=4, weight_buffer_kib=4)
    workload = one_conv(12, (8, 5), 20, (3, 3), padding=(1, 1, 1, 1))
    monkeypatch.setattr(layers_module, "map_array", lambda *_: mapping)
    check(workload, schedule(workload, design))


@settings(REPEATABLE, max_examples=40)
@given(networks(), designs())
def test_every_mapping_fits(workload: Workload, design: NpuDesign) -> None:
    layouts = plan_layouts(workload, design)
    for op in workload.ops:
        work = translate(op, workload, layouts, design)
        if work is None:
            continue
        try:
            mapped = map_work(op.name, work, design)
        except DesignError:
            assume(False)
        if isinstance(mapped, MappedArray):
            regions = array_regions(mapped.work.shape, mapped.mapping, design)
            assert mapped.mapping.tile_y * mapped.mapping.tile_x <= design.accumulator_words
        else:
            assert isinstance(mapped, MappedWindow)
            regions = window_regions(mapped.work.shape, mapped.mapping, design)
        assert fits(regions, design)


def test_equal_shapes_share_one_mapping() -> None:
    b = Builder()
    x = b.tensor("x", (1, 32, 8, 8))
    first = b.conv("first", x, 32, (1, 1))
    found = mappings(b.build((x,), (b.conv("second", first, 32, (1, 1)),)), DESIGN)
    assert found["first"] is found["second"]


def test_a_mapping_as_text() -> None:
    workload = one_conv(128, (28, 28), 128, (3, 3), padding=(1, 1, 1, 1))
    mapping = array_mapping(workload, DESIGN)
    assert str(mapping) == (
        f"tile {mapping.tile_y}x28, weights by {mapping.chunk_blocks}x3x3 in "
        f"{mapping.weight_slots} slots, input by 8 blocks resident, loops outputs, tiles, "
        f"{mapping.cycles} cycles, {mapping.memory_words} words"
    )
    window = WindowMapping(2, 3, 4, True, 2, 2, 2, 50, 60)
    assert str(window) == "tile 2x3 of 4 blocks, loops blocks, tiles, 50 cycles, 60 words"


@pytest.mark.parametrize(
    ("design", "sentence"),
    [
        (
            NpuDesign(rows=64, cols=64, lanes=64, vector_lanes=64, weight_buffer_kib=4),
            "op: one tile needs 4864 bytes of the weight buffer, which holds 4096; raise "
            "weight_buffer_kib to 8",
        ),
        (
            NpuDesign(rows=16, activation_buffer_kib=1),
            "op: one tile needs 1312 bytes of the activation buffer, which holds 1024; raise "
            "activation_buffer_kib to 2",
        ),
    ],
    ids=["weights", "activations"],
)
def test_a_design_that_cannot_hold_one_tile(design: NpuDesign, sentence: str) -> None:
    workload = one_conv(64, (9, 9), 16, (9, 9))
    with pytest.raises(DesignError) as caught:
        mappings(workload, design)
    assert str(caught.value) == sentence


def test_a_window_that_one_tile_cannot_hold() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 20, 20))
    workload = b.build((x,), (b.pool("op", x, "max", (20, 20), (1, 1)),))
    with pytest.raises(DesignError) as caught:
        mappings(workload, SMALL)
    assert str(caught.value) == (
        "op: one tile needs 1604 bytes of the activation buffer, which holds 1024; raise "
        "activation_buffer_kib to 2"
    )


def test_a_design_that_cannot_hold_a_row() -> None:
    b = Builder()
    workload = b.build((b.tensor("x", (1, 2, 600)),), (b.norm("op", "x", "layer"),))
    with pytest.raises(DesignError) as caught:
        mappings(workload, NpuDesign(row_lanes=1, activation_buffer_kib=1))
    assert str(caught.value) == (
        "op: one tile needs 1216 bytes of the activation buffer, which holds 1024; raise "
        "activation_buffer_kib to 2"
    )


def residual_stage() -> Workload:
    """A stem with a pool and two residual blocks, larger than the default buffers."""
    b = Builder()
    x = b.tensor("x", (1, 3, 112, 112))
    y = b.conv("stem", x, 64, (7, 7), (2, 2), (3, 3, 3, 3), element=U8)
    y = b.pool("pool", y, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    for name, channels, stride in (("a", 64, 1), ("b", 128, 2)):
        short = y
        inner = b.conv(f"{name}1", y, channels, (3, 3), (stride, stride), (1, 1, 1, 1), element=U8)
        if stride > 1:
            short = b.conv(f"{name}s", y, channels, (1, 1), (stride, stride))
        y = b.conv(f"{name}2", inner, channels, (3, 3), (1, 1), (1, 1, 1, 1), residual=short)
    return b.build((x,), (y,))


def test_the_estimate_of_a_layer_is_close_to_its_simulation() -> None:
    workload = residual_stage()
    estimates = mappings(workload, DESIGN)
    for layer in simulate(schedule(workload, DESIGN)).layers:
        assert estimates[layer.name].cycles == pytest.approx(layer.cycles, rel=0.12)


def test_a_large_network_keeps_the_array_busy() -> None:
    trace = simulate(schedule(residual_stage(), DESIGN))
    for layer in trace.layers:
        if layer.op == "Conv2d" and layer.name != "stem":
            assert layer.macs > 0.9 * layer.cycles * DESIGN.multipliers


@pytest.mark.parametrize(
    ("lanes", "stored", "outputs"),
    [(4, (20000, 1, 1), 4), (16, (8, 1, 1500), 3), (4, (4, 1200, 1), 3)],
)
def test_counts_of_a_compute_stay_within_its_fields(
    lanes: int, stored: tuple[int, int, int], outputs: int
) -> None:
    values = {"rows": lanes, "cols": lanes, "memory_bytes_per_cycle": lanes}
    buffers = {"activation_buffer_kib": 4096, "weight_buffer_kib": 4096}
    design = NpuDesign.from_dict({**values, **buffers})
    b = Builder()
    x = b.tensor("x", (1, *stored))
    flat = b.reshape("flat", x, (1, prod(stored)))
    workload = b.build((x,), (b.matmul("op", flat, outputs),))
    check(workload, schedule(workload, design), (None,))
