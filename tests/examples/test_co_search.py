"""The co-search example: its task, and the whole of it on real digits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from intaglio import choosing
from intaglio.compiler.precision import Precision
from intaglio.examples import co_search
from intaglio.search.codesign import integer_accuracy, packed_bits
from intaglio.search.spec import read_specification


def test_a_network_is_trained_and_judged_on_digits() -> None:
    task = replace(co_search.mnist_lenet(), epochs=2)
    weights = task.train({"width": 0.25})
    assert weights == task.train({"width": 0.25})
    workload = task.workload({"width": 0.25}, weights, Precision(6, 8))
    assert integer_accuracy(workload, task.searched(), "reference") > 0.6
    assert workload.tensor("conv1.weight").shape[0] == 2
    coarse = task.workload({"width": 0.25}, weights, Precision(3, 8))
    assert packed_bits(coarse) < packed_bits(workload)


def test_digits_to_search_on_and_digits_kept_back_differ() -> None:
    task = co_search.mnist_lenet()
    searched, kept = task.searched(), task.held_back()
    assert len(searched.labels) == len(kept.labels) == 500
    assert not {image.tobytes() for image in searched.inputs["images"]} & {
        image.tobytes() for image in kept.inputs["images"]
    }


def test_the_specification_is_the_example() -> None:
    assert read_specification(co_search.SPECIFICATION).task == co_search.mnist_lenet()


@pytest.mark.slow
@pytest.mark.rtl
def test_the_search_proves_its_choice_and_is_compared_with_chance(tmp_path: Path) -> None:
    result = choosing.explore(co_search.SPECIFICATION, tmp_path / "out")
    assert result.proof is not None
    assert result.passed
    assert result.found.held_back_accuracy > 0.9
    versus = result.found.comparison
    assert versus is not None
    assert 0.5 < versus.searched < 1
    assert 0.5 < versus.random < 1
    for trial in result.found.front:
        assert trial.metrics["latency_us"] <= 100
