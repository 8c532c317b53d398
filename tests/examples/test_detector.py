"""The detector: convolutions proven in RTL, boxes on the host, and as many digits found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from intaglio.compiler.workload import outputs
from intaglio.examples import detector
from intaglio.examples.mnist import load_digits
from intaglio.progress import silent
from intaglio.templates.artifact import Artifact
from tests.test_tiny import DESIGN


def test_scenes_are_drawn_once_and_boxes_judge_them() -> None:
    digits = load_digits()
    drawn = [detector.scenes(digits.test_images, digits.test_labels, 8, seed=3) for _ in range(2)]
    seen = drawn[0]
    assert torch.equal(seen.images, drawn[1].images)
    assert (seen.boxes[..., 2:] - seen.boxes[..., :2]).min() > 2
    assert detector.found(seen.boxes, seen.labels, seen) == 1.0
    assert detector.found(seen.boxes + 1.0, seen.labels, seen) > 0.8
    assert detector.found(seen.boxes + 30.0, seen.labels, seen) == 0.0
    assert detector.found(seen.boxes, (seen.labels + 1) % 10, seen) < 0.2


@pytest.mark.slow
@pytest.mark.rtl
def test_a_detector_finds_as_much_when_compiled(tmp_path: Path) -> None:
    pytest.importorskip("tvm", reason="needs the extra tvm")
    result = detector.run(tmp_path / "out", steps=60, design=DESIGN, progress=silent)
    assert result.mismatches == 0
    assert result.words_compared > 500
    assert result.found_float > 0.2
    assert abs(result.found_compiled - result.found_float) < 0.1
    made = Artifact.open(tmp_path / "out").deployment
    (decoding,) = made.partition.hosted
    assert [str(made.workload.tensor(name).element) for name in outputs(decoding)] == [
        "f32",
        "f32",
        "i32",
    ]
