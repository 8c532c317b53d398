"""The hardware agrees with the reference on drawn networks, cut anywhere, and with the simulator.

A handful of the sweep's designs (`benchmarks/sweep.py`), which `make sweep` runs as a whole.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from benchmarks.sweep import failures
from benchmarks.sweep_designs import designs
from benchmarks.sweep_run import sweep
from intaglio.compiler.workload import Workload
from intaglio.errors import UnsupportedError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim.verify import Bench, verify
from intaglio.templates.deployment import deploy
from intaglio.templates.npu.emit import parameters
from tests.properties.workloads import REPEATABLE, networks
from tests.templates.npu.networks import Picky

pytestmark = [pytest.mark.slow, pytest.mark.rtl]

DESIGNS = designs(large=False)
HANDFUL = (0, 1, 5, 9, 20)
"""4 x 4, 4 x 8, 8 x 8, 16 x 16 and 8 x 32, with and without row lanes, buffers small and large."""


@pytest.mark.parametrize("number", HANDFUL)
def test_drawn_networks(number: int, model_cache: Path) -> None:
    found = sweep(DESIGNS[number], number, 15, model_cache)
    assert found.failure is None, "\n".join(failures({number: found}, large=False))
    assert len(found.compared) == 15


@settings(REPEATABLE, max_examples=15)
@given(
    workload=networks(most_operators=8),
    seed=st.integers(0, 1 << 16),
    images=st.sampled_from((1, 2)),
    data=st.data(),
)
def test_networks_cut_anywhere(
    workload: Workload, seed: int, images: int, data: st.DataObject, model_cache: Path
) -> None:
    built = DESIGNS[HANDFUL[-1]]
    hosted = frozenset(op.name for op in workload.ops if data.draw(st.booleans()))
    try:
        made = deploy(workload, Picky(refused=hosted), built, allow_host=True, images=images)
    except UnsupportedError:
        assume(False)
    sizes = tuple(parameters(built).items())
    hardware = Model(rtl_sources("npu"), "npu_top", DRIVER, sizes, quick=True)
    report = verify(Bench(made, hardware), images=2, seed=seed, cache=model_cache)
    assert report.passed, str(report)
    assert hosted <= set(report.hosted)
    assert report.cycles_simulated == report.cycles_rtl
