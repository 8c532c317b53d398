"""Pairs of operators that share the activation buffer: what they compute, save and refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intaglio.compiler.workload import Workload
from intaglio.sim.hazards import check_tokens
from intaglio.sim.kept import places
from intaglio.sim.npu import simulate
from intaglio.templates.npu import layers as layers_module
from intaglio.templates.npu.chain import ChainMapping, map_chain
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.fused_mapping import FusedMapping, FusedShape
from intaglio.templates.npu.mapping import ArrayMapping, WindowMapping
from intaglio.templates.npu.schedule import mappings, schedule
from intaglio.templates.npu.work import ArrayShape
from tests.compiler.builders import U8, Builder
from tests.templates.npu.networks import SMALL, check

ROOMY = replace(SMALL, activation_buffer_kib=8, weight_buffer_kib=4, accumulator_buffer_kib=2)


def bottleneck(stride: int = 1, kernel: int = 3, rows: int = 11) -> Workload:
    """Expand, filter channel by channel, project and add, with channels that fill no word."""
    b, pad = Builder(), kernel // 2
    x = b.tensor("x", (1, 6, rows, 9))
    y = b.conv("expand", x, 22, (1, 1), element=U8)
    filtered = b.conv(
        "filter", y, 22, (kernel, kernel), (stride, stride), (pad, pad, pad, pad), groups=22
    )
    residual = x if stride == 1 else None
    return b.build((x,), (b.conv("project", filtered, 6, (1, 1), residual=residual),))


def fused(strip: int, tile: int, *, kept: int = 3, slots: int = 2, inputs: int = 8) -> FusedMapping:
    """Strips of `strip` rows of the 11 x 9 results, made `tile` rows at a time."""
    producer = ArrayMapping(tile, 9, 2, 2, 1, 1, False, False, inputs, 2, slots)
    return FusedMapping(producer, WindowMapping(strip, 9, 2, False, slots, kept, slots))


@pytest.mark.parametrize(
    "mapping",
    [
        fused(11, 1, inputs=11),
        fused(4, 3),
        fused(4, 2, kept=1),
        fused(1, 1, slots=1),
        fused(3, 3, inputs=2),
        fused(5, 3, kept=2, inputs=3),
    ],
    ids=str,
)
def test_any_fused_mapping_computes_the_same(
    mapping: FusedMapping, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers_module, "map_fused", lambda *_: mapping)
    workload = bottleneck()
    program = schedule(workload, ROOMY)
    assert [layer.name for layer in program.layers] == ["expand + filter", "project"]
    check(workload, program)


@pytest.mark.parametrize("design", [SMALL, ROOMY, NpuDesign()], ids=lambda design: design.name)
@pytest.mark.parametrize(("stride", "kernel"), [(1, 3), (2, 3), (2, 5), (1, 5)])
def test_bottlenecks(design: NpuDesign, stride: int, kernel: int) -> None:
    workload = bottleneck(stride, kernel)
    check(workload, schedule(workload, design))


def test_every_word_that_stays_is_made() -> None:
    program = schedule(bottleneck(), ROOMY)
    layout = program.tensors["expand.out"]
    assert layout.address >= program.memory_bytes
    assert "tensor expand.out" not in program.regions
    wanted = layout.address + layout.lanes * np.arange(layout.words)
    assert np.array_equal(np.unique(places(program)[1]), wanted)


@pytest.fixture
def no_tails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs alone."""
    monkeypatch.setattr(layers_module, "map_chain", lambda *_: None)


@pytest.mark.usefixtures("no_tails")
def test_what_stays_is_neither_written_nor_read() -> None:
    workload = bottleneck()
    together = simulate(schedule(workload, ROOMY))
    program = schedule(workload, ROOMY, fuse=False)
    assert [layer.name for layer in program.layers] == ["expand", "filter", "project"]
    apart = simulate(program)
    size = program.tensors["expand.out"].bytes
    assert apart.bytes_written - together.bytes_written == size
    assert apart.bytes_read - together.bytes_read >= size // 2
    assert together.cycles < apart.cycles


@pytest.mark.usefixtures("no_tails")
def test_a_pair_is_one_layer() -> None:
    workload = bottleneck()
    (first, second) = schedule(workload, ROOMY).layers
    assert (first.op, first.ops) == ("Conv2d + Conv2d", ("expand", "filter"))
    assert first.macs == sum(workload.macs(op) for op in workload.ops[:2])
    assert second.ops == ("project",)
    mapping = mappings(workload, ROOMY)["expand + filter"]
    assert str(mapping) == (
        f"strips of 11 rows made by 3, {mapping.cycles} cycles, {mapping.memory_words} words"
    )


CHAIN = replace(SMALL, activation_buffer_kib=16, weight_buffer_kib=16, accumulator_buffer_kib=4)


def at_no_cost(pair: FusedShape, tail: ArrayShape, design: NpuDesign) -> ChainMapping:
    """The mapping of a chain, made to look cheaper than anything else."""
    found = map_chain(pair, tail, design)
    assert found is not None
    return replace(found, cycles=0)


@pytest.mark.parametrize(("stride", "kernel", "rows"), [(1, 3, 24), (2, 5, 31), (1, 5, 23)])
def test_a_tail_is_worked_off_beside_its_pair(
    stride: int, kernel: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload = bottleneck(stride, kernel, rows)
    monkeypatch.setattr(layers_module, "map_chain", at_no_cost)
    program = schedule(workload, CHAIN)
    (layer,) = program.layers
    assert layer.ops == ("expand", "filter", "project")
    check(workload, program)
    check_tokens(program)
    assert program.tensors["filter.out"].address < program.memory_bytes


def test_a_result_that_leaves_or_has_two_readers_goes_to_memory() -> None:
    b = Builder()
    x = b.tensor("x", (1, 8, 8, 8))
    first = b.conv("first", x, 8, (1, 1))
    second = b.conv("second", first, 8, (1, 1))
    third = b.conv("third", second, 8, (1, 1))
    sparse = b.pool("sparse", third, "max", (1, 1), (2, 2))
    outputs = (
        b.pool("pool", first, "max", (2, 2), (2, 2)),
        b.pool("again", second, "max", (2, 2), (2, 2)),
        first,
        sparse,
    )
    program = schedule(b.build((x,), outputs), NpuDesign())
    assert len(program.layers) == 6
    assert not len(program.kept)
