"""Candidates of network and hardware: legal, deterministic, and trained once."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler import reference
from intaglio.search.codesign import MEASURES, CoDesign, Repair, integer_accuracy, packed_bits
from intaglio.search.objectives import Infeasible, Metrics
from intaglio.search.space import Point, Scalar
from intaglio.search.store import Store
from tests.search.tasks import CLASSES, SmallTask

FIXED = {"activation_buffer_kib": 4, "weight_buffer_kib": 4, "accumulator_buffer_kib": 2}
POINT = Point.of(
    {
        "network.width": 4,
        "bits.weights": 6,
        "design.rows": 4,
        "design.cols": 8,
        "design.memory_bytes_per_cycle": 4,
    }
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "study.sqlite", "test") as opened:
        yield opened


def changed(**values: int) -> Point:
    return Point.of({**POINT.to_dict(), **{k.replace("__", "."): v for k, v in values.items()}})


def test_evaluation_is_deterministic(store: Store) -> None:
    first = CoDesign(SmallTask(), FIXED, store)(POINT)
    assert isinstance(first, Metrics)
    assert list(first.to_dict()) == [measure.name for measure in MEASURES]
    assert CoDesign(SmallTask(), FIXED, store)(POINT) == first


def test_metrics_follow_the_choices(store: Store) -> None:
    evaluate = CoDesign(SmallTask(), FIXED, store)

    def metrics(point: Point) -> Metrics:
        found = evaluate(point)
        assert isinstance(found, Metrics)
        return found

    base = metrics(POINT)
    assert base["latency_us"] == base["cycles"] / 200
    assert metrics(changed(design__cols=16))["area_kge"] > base["area_kge"]
    assert metrics(changed(network__width=8))["packed_kib"] > base["packed_kib"]
    coarse = metrics(changed(bits__weights=2))
    assert coarse["packed_kib"] < base["packed_kib"]
    assert coarse["accuracy"] < base["accuracy"]
    assert coarse["area_kge"] == base["area_kge"]


def test_each_network_is_trained_once(store: Store) -> None:
    trained: list[Mapping[str, Scalar]] = []

    class Counting(SmallTask):
        def train(self, choices: Mapping[str, Scalar]) -> bytes:
            trained.append(choices)
            return SmallTask.train(self, choices)

    evaluate = CoDesign(Counting(), FIXED, store)
    for point in (POINT, changed(bits__weights=8), changed(design__cols=4)):
        evaluate(point)
    CoDesign(Counting(), FIXED, store)(changed(bits__weights=4))
    assert trained == [{"width": 4}]


def test_what_does_not_fit_is_infeasible_and_says_why(store: Store) -> None:
    evaluate = CoDesign(SmallTask(), {**FIXED, "weight_buffer_kib": 1}, store)
    found = evaluate(changed(design__rows=64, design__cols=64))
    assert isinstance(found, Infeasible)
    assert "weight" in found.reason


def test_repair_is_legal_and_idempotent() -> None:
    repair = Repair(tuple(FIXED.items()))
    point = repair(changed(design__rows=32, design__memory_bytes_per_cycle=64))
    assert point.part("design") == {"rows": 32, "cols": 32, "memory_bytes_per_cycle": 32}
    assert point.part("network") == {"width": 4}
    assert repair(point) == point


def test_accuracy_counts_what_the_integer_network_names(store: Store) -> None:
    task = SmallTask()
    workload = CoDesign(task, FIXED, store).workload(POINT)
    images = task.searched()
    integers = reference.quantise_inputs(workload, images.inputs)
    logits = reference.run(workload, integers)[workload.outputs[0]]
    assert logits.shape == (60, CLASSES)
    expected = float(np.mean(logits.argmax(1) == images.labels))
    assert integer_accuracy(workload, images, "reference") == pytest.approx(expected)
    assert 1 / CLASSES < expected <= 1


@pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="needs intaglio[tvm]")
def test_compiled_kernels_find_the_same_accuracy(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = CoDesign(SmallTask(), FIXED, store)(POINT)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("intaglio.compiler.execution.SECONDS_PER_KERNEL", 0.0)
    evaluate = CoDesign(SmallTask(), FIXED, store)
    assert evaluate.engine(evaluate.workload(POINT)) == "tvm"
    assert evaluate(POINT) == found
    assert list((tmp_path / "intaglio" / "kernels").glob("conv2d-*"))


def test_packed_bits_are_those_of_weights_and_activations(store: Store) -> None:
    workload = CoDesign(SmallTask(), FIXED, store).workload(POINT)
    weights = 4 * 2 * 9 + CLASSES * 4 * 9
    activations = sum(t.elements * t.element.bits for t in workload.activations())
    assert packed_bits(workload) == 6 * weights + activations
