"""Programs compute what the integer reference says, in every legal order, on every design."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError
from intaglio.sim.hazards import check_tokens
from intaglio.sim.npu import simulate
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator, every_row_operator, every_wide_operator
from tests.templates.npu.head_networks import attentions, products
from tests.templates.npu.networks import REPEATABLE, SMALL, check, designs, networks, resnet18
from tests.templates.npu.row_networks import row_networks


@pytest.mark.parametrize("design", [NpuDesign(), SMALL], ids=lambda design: design.name)
@pytest.mark.parametrize("make", [every_operator, every_wide_operator])
def test_every_operator(make: Callable[[], Workload], design: NpuDesign) -> None:
    workload = make()
    program = schedule(workload, design)
    check(workload, program)
    check_tokens(program)


@pytest.mark.parametrize("row_lanes", [1, 2, 4])
def test_every_row_operator(row_lanes: int) -> None:
    workload = every_row_operator(row_lanes)
    program = schedule(workload, replace(SMALL, row_lanes=row_lanes, activation_buffer_kib=2))
    check(workload, program)
    check_tokens(program)


IMAGES = st.sampled_from((1, 1, 2, 3))
"""How many images a run takes."""


@settings(REPEATABLE, max_examples=60)
@given(networks(), designs(), IMAGES)
def test_random_networks_on_random_designs(
    workload: Workload, design: NpuDesign, images: int
) -> None:
    try:
        program = schedule(workload, design, images=images)
    except DesignError:
        assume(False)
    check(workload, program)
    check_tokens(program)


@settings(REPEATABLE, max_examples=60)
@given(row_networks(), designs((1, 2, 4)), IMAGES)
def test_random_rows_on_random_designs(workload: Workload, design: NpuDesign, images: int) -> None:
    try:
        program = schedule(workload, design, images=images)
    except DesignError:
        assume(False)
    check(workload, program)
    check_tokens(program)


@settings(REPEATABLE, max_examples=40)
@given(st.data(), designs((1, 2, 4)), IMAGES)
def test_random_heads_on_random_designs(
    choice: st.DataObject, design: NpuDesign, images: int
) -> None:
    workload = choice.draw(st.one_of(attentions(design.lanes), products()))
    try:
        program = schedule(workload, design, images=images)
    except DesignError:
        assume(False)
    check(workload, program, orders=(None, 0))
    check_tokens(program)


def test_progress_is_told() -> None:
    workload = every_operator()
    told: list[tuple[str, int, int]] = []
    schedule(workload, SMALL, lambda *step: told.append(step))
    count = len(workload.ops)
    assert told == [("schedule", done + 1, count) for done in range(count)]


@pytest.mark.slow
def test_resnet18() -> None:
    workload = resnet18()
    program = schedule(workload, NpuDesign())
    assert sum(layer.macs for layer in program.layers) == 1_814_073_344
    assert program.count < 6000
    assert simulate(program).cycles < 8_000_000
    check(workload, program, orders=(0,))
