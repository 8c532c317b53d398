"""The sweep's designs, what it makes of a failure, its coverage and its page; nothing is built."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks.sweep_designs import MOST_MULTIPLIERS, designs
from benchmarks.sweep_features import FEATURES, coverage, features, missing, table
from benchmarks.sweep_run import Case, Compared, Swept
from benchmarks.sweep_run import sweep as run
from intaglio.compiler.workload import Pool
from intaglio.errors import VerificationError
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import (
    every_operator,
    every_product,
    every_row_operator,
    every_wide_operator,
)
from tests.templates.npu.test_fusion import bottleneck

DESIGN = designs(large=False)[1]


def test_designs_are_of_every_shape_and_spread_over_every_range() -> None:
    small, large = designs(large=False), designs(large=True)
    assert (len(set(small)), len(set(large))) == (40, 8)
    assert all(design.multipliers <= MOST_MULTIPLIERS for design in small)
    assert all(design.multipliers > MOST_MULTIPLIERS for design in large)
    shapes = Counter((design.rows, design.cols) for design in (*small, *large))
    assert len(shapes) == 15
    assert min(shapes.values()) >= 3
    lanes = Counter(design.row_lanes for design in small)
    columns = Counter(design.window_columns for design in small)
    assert set(lanes.values()) == {10}
    assert set(columns.values()) == {5}


def _failing(case: Case, cache: Path | None) -> Compared:
    """Fails on average pools of designs with at least two window columns and eight rows."""
    design = case.design
    if design.window_columns > 1 and design.rows > 4:
        for op in case.workload.ops:
            if isinstance(op, Pool) and op.kind == "average":
                raise VerificationError(f"{op.name} differs")
    return Compared(frozenset(), 10, 100, 101)


def test_a_failure_is_shown_on_the_smallest_network_and_design(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Case, "compare", _failing)
    monkeypatch.setattr(sweep, "ROOT", tmp_path)
    found = run(designs(large=False)[12], 12, 200, None)
    assert found.failure is not None
    case = found.failure.case
    assert [type(op) for op in case.workload.ops] == [Pool]
    small = case.design
    assert (small.rows, small.cols, small.memory_bytes_per_cycle) == (8, 8, 4)
    assert (small.window_columns, small.row_lanes, small.memory_latency_cycles) == (2, 0, 1)
    assert small.weight_bits == 8
    said = "\n".join(sweep.failures({12: found}, large=False))
    assert said.startswith("\ndesign 12: VerificationError: op0 differs\nthe smallest network that")
    assert "run it again: intaglio verify build/sweep/design_12 --seed 0\n" in said
    assert said.endswith(": python -m benchmarks.sweep --only 12 --check")
    assert (tmp_path / "build" / "sweep" / "design_12" / "artifact.json").exists()


def test_a_bug_before_the_hardware_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(case: Case, cache: Path | None) -> Compared:
        raise AssertionError("no mapping")

    monkeypatch.setattr(Case, "compare", broken)
    found = run(designs(large=False)[0], 0, 5, None)
    assert found.failure is not None
    assert found.failure.reason == "AssertionError: no mapping"


def test_every_feature_is_found_in_networks_of_every_operator() -> None:
    design = replace(
        designs(large=False)[5],
        row_lanes=1,
        weight_bits=2,
        activation_buffer_kib=1,
        weight_buffer_kib=1,
        accumulator_buffer_kib=1,
    )
    found = frozenset[str]()
    for make in (every_operator, every_wide_operator, every_row_operator, every_product):
        workload = make()
        found |= features(workload, schedule(workload, design))
    for rows in (11, 24):
        workload = bottleneck(rows=rows)
        found |= features(workload, schedule(workload, DESIGN, images=2))
    assert found == set(FEATURES)


def test_what_no_network_had_is_named() -> None:
    design = replace(designs(large=False)[0], row_lanes=0)
    covered = coverage([(design, frozenset(FEATURES) - {"norm", "stride"})])
    assert missing(covered) == ["stride", "norm"]
    assert covered["padding"]["square"] == 1
    assert "| norm | 0 | 0 | 0 | 0 | 0 | 0 | – |" in table(covered)


def test_the_page_has_room_for_both_tables_and_only_they_change(tmp_path: Path) -> None:
    page = tmp_path / "sweep.md"
    page.write_text(sweep.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    swept = Swept(designs(large=False)[3], (Compared(frozenset(FEATURES), 7000, 100, 101),), ())
    text = sweep.tables({3: swept})
    assert text.startswith(
        "1 designs, 1 networks, 7,000 words compared, all equal; 100 cycles in RTL (measured), "
        "101 simulated.\n"
    )
    for large in (False, True):
        sweep.write(text, large, page)
        sweep.write(text, large, page)
    written = page.read_text(encoding="utf-8")
    assert written.count(text) == 2
    for start, end in sweep.MARKS.values():
        assert f"{start}\n\n{text}\n{end}" in written
