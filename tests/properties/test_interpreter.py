"""The instruction set's interpreter agrees with the integer reference on drawn networks.

Every network runs on a drawn design in the order of its program and in two random ones that only
queues and tokens constrain.  A design that is too small must say so and which buffer to enlarge.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder
from tests.properties.agreement import check, fit
from tests.properties.workloads import REPEATABLE, designs, networks


@pytest.mark.slow
@settings(REPEATABLE, max_examples=300)
@given(networks(), designs(), st.integers(0, 1 << 16))
def test_short_networks(workload: Workload, design: NpuDesign, seed: int) -> None:
    check(workload, fit(workload, design), seed)


@pytest.mark.slow
@settings(REPEATABLE, max_examples=100)
@given(networks(most_operators=10), designs(), st.integers(0, 1 << 16))
def test_long_networks(workload: Workload, design: NpuDesign, seed: int) -> None:
    check(workload, fit(workload, design), seed)


def test_a_tile_that_only_alignment_keeps_out_is_counted_with_it() -> None:
    b = Builder()
    x = b.tensor("x", (1, 56, 8, 6))
    y = b.conv("wide", x, 2, (5, 7), (3, 2), (0, 1, 2, 3), (2, 1), groups=2)
    design = NpuDesign(
        cols=64,
        activation_buffer_kib=1,
        weight_buffer_kib=2,
        accumulator_buffer_kib=256,
        memory_bytes_per_cycle=8,
    )
    workload = b.build((x,), (y,))
    with pytest.raises(DesignError) as caught:
        schedule(workload, design)
    assert str(caught.value) == (
        "wide: one tile needs 1040 bytes of the activation buffer, which holds 1024; raise "
        "activation_buffer_kib to 2"
    )
    check(workload, fit(workload, design), 0)
