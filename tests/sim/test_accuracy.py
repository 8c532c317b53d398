"""Accuracy: shares with their intervals, closeness to float, and what is refused."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from intaglio.sim.accuracy import Share, closeness, measure
from tests.nets import tiny

IMAGES = np.random.default_rng(0).standard_normal((19, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def workload() -> Workload:
    module, inputs = tiny()
    return to_workload(module, inputs, calibration={"images": IMAGES})


@pytest.fixture(scope="module")
def floats() -> NDArray[np.float64]:
    with torch.no_grad():
        made: NDArray[np.float64] = tiny()[0](torch.from_numpy(IMAGES)).double().numpy()
    return made


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    # Newcombe (1998) works the example of 81 in 263; none and all of 10 are in every table.
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (1, 1, 0.2065, 1.0)],
)
def test_the_interval_is_wilsons(hits: int, total: int, low: float, high: float) -> None:
    found = Share(hits, total).interval
    assert found == pytest.approx((low, high), abs=5e-5)
    assert found[0] <= hits / total <= found[1]


def test_a_share_prints_its_interval() -> None:
    assert str(Share(81, 263)) == "0.3080 (0.2553 to 0.3662; 81 of 263)"


def test_closeness_by_hand() -> None:
    floats = np.array([[3.0, 0.0, 0.0], [0.0, 0.01, 0.0], [1.0, 0.0, 2.0], [0.0, 4.0, 0.0]])
    outputs = np.array([[3.0, 0.0, 0.0], [0.01, 0.0, 0.0], [1.0, 0.0, 2.0], [0.0, 0.0, 4.0]])
    found = closeness(floats, outputs)
    assert (found.agreement.hits, found.agreement.total) == (2, 4)
    assert found.confident is not None
    assert (found.confident.hits, found.confident.total) == (2, 3)
    assert found.cosine == pytest.approx(0.5)
    assert found.lowest_cosine == 0
    signal, noise = 9 + 1e-4 + 5 + 16, 2e-4 + 32
    assert found.decibels == pytest.approx(10 * np.log10(signal / noise))


def test_equal_outputs_are_no_number_of_decibels_apart() -> None:
    outputs = np.array([[0.0, 0.1], [0.1, 0.0]])
    found = closeness(outputs, outputs)
    assert found.agreement.share == 1
    assert found.confident is None
    assert found.to_dict()["decibels"] is None
    assert [row for row, _ in found.rows()][1] == "cosine of the outputs, mean"


def test_every_image_is_run_and_judged(workload: Workload, floats: NDArray[np.float64]) -> None:
    steps: list[tuple[int, int]] = []
    labels = floats.argmax(1)
    labels[:4] = (labels[:4] + 1) % 5
    found = measure(
        workload,
        {"images": IMAGES},
        labels=labels,
        reference_outputs=floats,
        engine="reference",
        progress=lambda step, done, total: steps.append((done, total)),
    )
    integers = reference.quantise_inputs(workload, {"images": IMAGES})
    values = reference.run(workload, integers)
    outputs = reference.dequantise_outputs(workload, values)["fc"]
    assert found.closeness == closeness(floats, outputs)
    assert found.closeness is not None
    assert found.closeness.cosine > 0.99
    assert found.top1 == Share(int((outputs.argmax(1) == labels).sum()), 19)
    assert found.top1_float == Share(15, 19)
    assert steps == [(0, 19), (8, 19), (16, 19), (19, 19)]


def test_labels_alone_and_outputs_alone(workload: Workload, floats: NDArray[np.float64]) -> None:
    data = {"images": IMAGES}
    labelled = measure(workload, data, labels=floats.argmax(1), engine="reference")
    assert (labelled.top1_float, labelled.closeness) == (None, None)
    compared = measure(workload, data, reference_outputs=floats, engine="reference")
    assert compared.top1 is None
    assert compared.closeness is not None
    assert labelled.top1 == compared.closeness.agreement


@pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="needs intaglio[tvm]")
def test_both_engines_find_the_same(workload: Workload, floats: NDArray[np.float64]) -> None:
    data = {"images": IMAGES}
    fast = measure(workload, data, reference_outputs=floats, engine="tvm")
    slow = measure(workload, data, reference_outputs=floats, engine="reference")
    assert fast.to_dict() == {**slow.to_dict(), "computed_by": "compiled kernels"}
    assert slow.to_dict()["computed_by"] == "the reference"


LABELS = np.zeros(19, np.int64)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {},
            "accuracy needs something to compare with; give labels or the float network's outputs",
        ),
        (
            {"labels": LABELS[:3]},
            "labels have shape (3,) and hold int64; give one integer for each of the 19 images",
        ),
        (
            {"labels": LABELS + 0.5},
            "labels have shape (19,) and hold float64; give one integer for each of the 19 images",
        ),
        (
            {"labels": LABELS - 1},
            "labels run from -1 to -1, the network has the classes 0 to 4; renumber them",
        ),
        (
            {"reference_outputs": np.zeros((19, 4))},
            "float outputs have shape (19, 4) and hold float64; the network makes (19, 5) real "
            "numbers of these images",
        ),
        (
            {"reference_outputs": np.full((19, 5), np.nan)},
            "float outputs hold a value that is not a finite number; make them again",
        ),
        (
            {"labels": LABELS, "engine": "gpu"},
            "'gpu' is no engine; choose one of reference, tvm",
        ),
    ],
)
def test_what_does_not_fit(workload: Workload, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        measure(workload, {"images": IMAGES}, **given)
    assert str(caught.value) == sentence


def test_a_network_that_is_no_classifier() -> None:
    conv = torch.nn.Conv2d(3, 4, 3).eval()
    made = to_workload(conv, (torch.zeros(1, 3, 8, 8),), name="edges")
    with pytest.raises(UsageError) as caught:
        measure(made, {made.inputs[0]: IMAGES}, labels=LABELS)
    assert str(caught.value) == (
        "'edges' has outputs of shape (1, 4, 6, 6); accuracy needs one output of (1, classes)"
    )
