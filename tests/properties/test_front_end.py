"""Drawn torch modules through the whole front end, onto drawn designs."""

from __future__ import annotations

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from intaglio.compiler.pipeline import to_workload
from intaglio.templates.npu.design import NpuDesign
from tests.properties.agreement import check, fit
from tests.properties.modules import modules
from tests.properties.workloads import REPEATABLE, designs


@pytest.mark.slow
@settings(REPEATABLE, max_examples=25, phases=[Phase.generate])
@given(modules(), designs(), st.integers(0, 1 << 16))
def test_drawn_modules_on_drawn_designs(
    drawn: tuple[nn.Module, Tensor], design: NpuDesign, seed: int
) -> None:
    module, image = drawn
    workload = to_workload(module, (image,))
    program = fit(workload, design)
    check(workload, program, seed)
