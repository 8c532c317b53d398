"""A sample of mutants: most die, the RTL without one passes, and the page shows every survivor."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import mutation
from benchmarks.mutation import Result
from benchmarks.mutation_bench import Verdict
from benchmarks.mutation_block import survivors_of_blocks
from benchmarks.mutation_draw import Mutant, draw, modules
from benchmarks.mutation_proof import Graph
from intaglio.progress import silent

SAMPLE = ("npu_marks", "stream_widen")
COUNT = 6


@pytest.mark.slow
@pytest.mark.rtl
def test_a_sample_of_mutants_is_judged(model_cache: Path) -> None:
    results = mutation.measure(SAMPLE, COUNT, cache=model_cache, progress=silent)
    assert [r.mutant.module for r in results] == [name for name in SAMPLE for _ in range(COUNT)]
    assert mutation.killed(results) >= 0.8, mutation.page(results)


@pytest.mark.slow
@pytest.mark.rtl
def test_the_tests_of_a_block_kill_its_mutants(tmp_path: Path) -> None:
    netlist = draw(("stream_widen",), COUNT, tmp_path)
    left = survivors_of_blocks(netlist, netlist.mutants, silent)
    assert len(left) < COUNT / 2


@pytest.mark.rtl
@pytest.mark.parametrize(("bit", "equivalent"), [(500, True), (112, False)])
def test_a_fault_in_a_reserved_bit_is_equivalent(
    bit: int, equivalent: bool, tmp_path: Path
) -> None:
    command = f"mutate -mode inv -module npu_top -cell u_dma -port load_i -portbit {bit}"
    mutant = Mutant(1, "npu_top", "", command)
    netlist = replace(draw((), 0, tmp_path), mutants=(mutant,))
    assert Graph.of(netlist, tmp_path).is_equivalent(mutant) is equivalent


def _result(place: str, verdict: Verdict) -> Result:
    return Result(Mutant(1, "npu_lane", place, "mutate"), verdict)


def test_a_row_counts_each_kind() -> None:
    results = [_result("npu_lane.sv:1", verdict) for verdict in Verdict]
    assert mutation.row("npu_lane", results) == "| npu_lane | 7 | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 83% |"


def test_only_faults_that_live_are_survivors() -> None:
    results = (
        _result("npu_lane.sv:0 nowhere", Verdict.LIVES),
        _result("killed", Verdict.WORDS),
        _result("spared", Verdict.EQUIVALENT),
    )
    assert mutation.survivors(results) == [
        "| npu_lane | `npu_lane.sv:0 nowhere` | **unexplained** |"
    ]
    assert mutation.spared(results) == ["| npu_lane | `spared` |"]


def test_every_reason_is_of_a_module_and_a_place_in_it() -> None:
    for module, places in mutation.reasons().items():
        assert module in modules()
        assert all(place.startswith(f"{module}.sv:") for place in places)
