"""Every operator on the RTL of two designs: every word, and the cycles that were simulated.

A run takes one image, or several one after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim.deployment import simulate
from intaglio.sim.hazards import check_tokens
from intaglio.sim.verify import Bench, verify
from intaglio.sim.verify_report import VerifyReport
from intaglio.templates.deployment import whole
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import Opcode, decode
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import (
    every_operator,
    every_product,
    every_row_operator,
    every_wide_operator,
)
from tests.compiler.models import Signs, images, seeded
from tests.templates.npu.networks import SMALL

pytestmark = pytest.mark.rtl

WIDE = NpuDesign(
    rows=8,
    cols=32,
    lanes=8,
    vector_lanes=8,
    window_columns=2,
    row_lanes=2,
    activation_buffer_kib=4,
    weight_buffer_kib=8,
    accumulator_buffer_kib=8,
    memory_bytes_per_cycle=4,
    memory_latency_cycles=100,
    name="wide",
)
DESIGNS = (SMALL, WIDE)


def _bench(workload: Workload, design: NpuDesign, images: int = 1) -> Bench:
    hardware = Model(rtl_sources("npu"), "npu_top", DRIVER, tuple(parameters(design).items()))
    return Bench(whole(workload, schedule(workload, design, images=images)), hardware)


def check(report: VerifyReport, bench: Bench) -> None:
    """Every word is equal, and so is every cycle: of layers, and of what each unit counts."""
    assert report.passed, str(report)
    assert [layer.simulated for layer in report.layers] == [layer.rtl for layer in report.layers]
    runs = report.images // report.images_at_once
    assert report.simulated_by_image * runs == report.cycles_by_image
    assert [unit.counters for unit in simulate(bench.deployment).units] == list(report.units)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.name)
@pytest.mark.parametrize("make", [every_operator, every_wide_operator])
def test_every_operator(
    make: Callable[[], Workload], design: NpuDesign, at_once: int, model_cache: Path
) -> None:
    bench = _bench(make(), design, at_once)
    check_tokens(bench.deployment.programs[0])
    check(verify(bench, images=3, cache=model_cache), bench)


@pytest.mark.parametrize("precision", [Precision(1, 1), Precision(2, 2), Precision(1, 3)], ids=str)
def test_few_bits(precision: Precision, model_cache: Path) -> None:
    """Signs, ternary weights, and activations of 1, 2 and 3 bits."""
    calibration = {"x": images(4, 2, 12, 12).numpy()}
    network = to_workload(
        seeded(Signs), (images(1, 2, 12, 12),), calibration=calibration, precision=precision
    )
    bench = _bench(network, SMALL)
    check(verify(bench, images=3, cache=model_cache), bench)


@pytest.mark.parametrize("at_once", [1, 3])
@pytest.mark.parametrize("make", [every_row_operator, every_product])
def test_every_row_operator(make: Callable[[], Workload], at_once: int, model_cache: Path) -> None:
    bench = _bench(make(), WIDE, at_once)
    check_tokens(bench.deployment.programs[0])
    check(verify(bench, images=3, cache=model_cache), bench)


def test_a_wrong_word_is_of_its_image(model_cache: Path) -> None:
    bench = _bench(every_operator(), SMALL, images=2)
    (program,) = bench.deployment.programs
    changed, opcodes = program.instructions.copy(), program.instructions[:, 0] & 0xFF
    last = int(np.flatnonzero(opcodes == Opcode.DRAIN)[-1])
    changed[last, 14] = 0
    wrong = whole(bench.deployment.workload, replace(program, instructions=changed))
    report = verify(replace(bench, deployment=wrong), images=4, cache=model_cache)
    assert report.first is not None
    assert report.first.image == 1
    assert report.first.layer == program.owner(decode(changed)[last].layer)[1].name


@pytest.mark.parametrize("images", [1, 3])
def test_whole_runs_are_verified(images: int, model_cache: Path) -> None:
    with pytest.raises(UsageError) as caught:
        verify(_bench(every_operator(), SMALL, images=2), images=images, cache=model_cache)
    assert str(caught.value) == (
        f"images is {images}, one run takes 2 of them; ask for a multiple of 2"
    )
