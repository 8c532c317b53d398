"""Programs compute what the integer reference says, in every legal order, on every design."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, assume, given, settings

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.templates.npu.networks import SMALL, check, designs, networks


@pytest.mark.parametrize("design", [NpuDesign(), SMALL], ids=lambda design: design.name)
def test_every_operator(design: NpuDesign) -> None:
    workload = every_operator()
    check(workload, schedule(workload, design))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(networks(), designs())
def test_random_networks_on_random_designs(workload: Workload, design: NpuDesign) -> None:
    try:
        program = schedule(workload, design)
    except DesignError:
        assume(False)
    check(workload, program)
