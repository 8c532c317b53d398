"""The area estimate: what it grows with, and what Yosys makes of one npu."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.area import SIZES, design_of, synthesise
from intaglio.hw.lint import Linter, missing
from intaglio.templates.npu.area import Area, estimate_area
from intaglio.templates.npu.design import NpuDesign


def test_every_part_costs_area() -> None:
    small = NpuDesign.repaired({"rows": 8, "cols": 8, "memory_bytes_per_cycle": 4})
    larger = (
        replace(small, cols=16),
        replace(small, window_columns=6),
        replace(small, row_lanes=1),
        replace(small, memory_bytes_per_cycle=8),
        replace(small, activation_buffer_kib=256),
        replace(small, weight_buffer_kib=128),
        replace(small, accumulator_buffer_kib=128),
        NpuDesign.repaired({"rows": 16, "cols": 16, "memory_bytes_per_cycle": 4}),
    )
    for design in larger:
        assert estimate_area(design).kge > estimate_area(small).kge


def test_memory_bits_are_the_buffers_and_the_queues() -> None:
    design = NpuDesign()
    more = replace(design, weight_buffer_kib=2 * design.weight_buffer_kib)
    added = estimate_area(more).memory_bits - estimate_area(design).memory_bits
    assert added == design.weight_buffer_kib * 1024 * 8


def test_a_gate_equivalent_is_four_transistors() -> None:
    assert Area(4000, 1000, 2000).kge == (4000 + 24 * 1000 + 6 * 2000) / 4000


@pytest.mark.rtl
@pytest.mark.slow
def test_the_estimate_meets_yosys() -> None:
    reason = missing(Linter.YOSYS)
    if reason is not None:
        pytest.skip(reason)
    design = design_of(SIZES[0])
    measured, estimated = synthesise(design), estimate_area(design)
    assert estimated.logic_transistors == pytest.approx(measured.logic_transistors, rel=0.1)
    assert estimated.register_bits == pytest.approx(measured.register_bits, rel=0.1)
    assert estimated.memory_bits == pytest.approx(measured.memory_bits, rel=0.05)
