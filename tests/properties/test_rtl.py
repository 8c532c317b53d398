"""The hardware agrees with the reference on drawn networks, cut anywhere, and with the simulator.

One model is built a design; every network runs on it twice, without stalls, where the cycles are
compared as well, and with random stalls on every channel of the bus.  A run takes one image or two.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError, UnsupportedError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim.verify import Bench, verify
from intaglio.templates.deployment import deploy, whole
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.schedule import schedule
from tests.properties.workloads import REPEATABLE, networks
from tests.templates.npu.networks import Picky

pytestmark = [pytest.mark.slow, pytest.mark.rtl]

CYCLES_TOLERANCE = 0.05


def design(
    name: str, rows: int, cols: int, kib: tuple[int, int, int], beat: int, columns: int
) -> NpuDesign:
    """A design with `kib` KiB of activations, weights and accumulators."""
    return NpuDesign(
        rows=rows,
        cols=cols,
        lanes=rows,
        vector_lanes=rows,
        window_columns=columns,
        activation_buffer_kib=kib[0],
        weight_buffer_kib=kib[1],
        accumulator_buffer_kib=kib[2],
        memory_bytes_per_cycle=beat,
        name=name,
    )


DESIGNS = (
    design("narrow", 4, 4, (2, 2, 1), 4, 5),
    design("two groups", 4, 8, (16, 8, 4), 4, 1),
    design("wide word", 8, 16, (4, 4, 2), 4, 3),
)


@pytest.mark.parametrize("built", DESIGNS, ids=lambda built: built.name)
@settings(REPEATABLE, max_examples=25)
@given(
    workload=networks(),
    latency=st.sampled_from((1, 20, 150)),
    seed=st.integers(0, 1 << 16),
    stalls=st.integers(1, 600),
    images=st.sampled_from((1, 2)),
)
def test_drawn_networks(
    built: NpuDesign,
    workload: Workload,
    latency: int,
    seed: int,
    stalls: int,
    images: int,
    model_cache: Path,
) -> None:
    try:
        program = schedule(workload, replace(built, memory_latency_cycles=latency), images=images)
    except DesignError:
        assume(False)
    hardware = Model(rtl_sources("npu"), "npu_top", DRIVER, tuple(parameters(built).items()))
    bench = Bench(whole(workload, program), hardware)
    report = verify(bench, seed=seed, cache=model_cache)
    assert report.passed, report.first
    error = report.cycles_simulated / report.cycles_rtl - 1
    assert abs(error) <= CYCLES_TOLERANCE, (report.cycles_simulated, report.cycles_rtl)
    stalled = verify(replace(bench, stall_permille=stalls), images=2, seed=seed, cache=model_cache)
    assert stalled.passed, stalled.first


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
    built = DESIGNS[2]
    hosted = frozenset(op.name for op in workload.ops if data.draw(st.booleans()))
    try:
        made = deploy(workload, Picky(refused=hosted), built, allow_host=True, images=images)
    except UnsupportedError:
        assume(False)
    hardware = Model(rtl_sources("npu"), "npu_top", DRIVER, tuple(parameters(built).items()))
    report = verify(Bench(made, hardware), images=2, seed=seed, cache=model_cache)
    assert report.passed, str(report)
    assert hosted <= set(report.hosted)
    error = report.cycles_simulated / report.cycles_rtl - 1
    assert abs(error) <= CYCLES_TOLERANCE, (report.cycles_simulated, report.cycles_rtl)
