"""The instruction set's interpreter agrees with the integer reference on drawn networks.

Every network runs on a drawn design in the order of its program and in two random ones that only
queues and tokens constrain.  A design that is too small must say so and which buffer to enlarge.
"""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.compiler.workload import Workload
from intaglio.templates.npu.design import NpuDesign
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
