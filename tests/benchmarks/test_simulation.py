"""The benchmark of the simulator: times of processes of their own, and its table."""

from __future__ import annotations

import os
from pathlib import Path

from benchmarks import simulation
from benchmarks.simulation import Figures, Timing


def test_an_artifact_is_simulated_in_a_process_of_its_own(compiled: Path) -> None:
    timing = simulation.simulated(compiled, {"INTAGLIO_TEST": "1"})
    assert timing.first > 0
    assert timing.later > 0
    assert "INTAGLIO_TEST" not in os.environ


def test_the_ratio_is_that_of_cycles_a_second() -> None:
    kept, slow = Timing(first=0.5, later=0.01), Timing(first=9.0, later=1.0)
    figures = Figures("net", 2_000_000, 1_999_999, 300, slow, kept, slow, rtl_rate=200_000)
    assert (figures.rate, figures.ratio) == (200_000_000, 1000)
    row = "300 | 2000000 | 1999999 | 10.0 ms | 200 M | 0.200 M | 1000 | 1000 ms | 0.50 s | 9.0 s"
    assert f"| net | {row} |" in simulation.table([figures])
