"""A sample of mutants: most die, the RTL without one passes, and the page shows every survivor."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import mutation
from benchmarks.mutation import Mutant, Result
from benchmarks.mutation_bench import Verdict
from intaglio.progress import silent

SAMPLE = ("npu_lane", "npu_tokens", "npu_writer")
COUNT = 8


@pytest.mark.slow
@pytest.mark.rtl
def test_a_sample_of_mutants_is_killed(model_cache: Path) -> None:
    results = mutation.measure(SAMPLE, COUNT, cache=model_cache, progress=silent)
    assert [r.mutant.module for r in results] == [name for name in SAMPLE for _ in range(COUNT)]
    assert sum(r.verdict.kills for r in results) >= 0.8 * len(results), mutation.page(results)


def _result(place: str, verdict: Verdict) -> Result:
    return Result(Mutant(1, "npu_lane", place, "mutate"), verdict)


def test_a_row_counts_each_kind() -> None:
    verdicts = (Verdict.WORDS, Verdict.STOPS, Verdict.TIME, Verdict.LIVES)
    results = [_result("npu_lane.sv:1", verdict) for verdict in verdicts]
    assert mutation.row("npu_lane", results) == "| npu_lane | 4 | 3 | 1 | 1 | 0 | 1 | 75% |"


def test_a_survivor_without_a_reason_is_shown_as_unexplained() -> None:
    results = (_result("npu_lane.sv:0 nowhere", Verdict.LIVES), _result("killed", Verdict.WORDS))
    assert mutation.survivors(results) == [
        "| npu_lane | `npu_lane.sv:0 nowhere` | **unexplained** |"
    ]


def test_every_reason_is_of_a_module_and_a_place_in_it() -> None:
    for module, places in mutation.reasons().items():
        assert module in mutation.modules()
        assert all(place.startswith(f"{module}.sv:") for place in places)
