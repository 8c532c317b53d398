"""The summary keeps simulated and measured apart, and says when nothing was verified."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from intaglio.compiler.calibration import Method
from intaglio.compiler.precision import Bits, Precision
from intaglio.errors import ArtifactError
from intaglio.report.origin import Origin
from intaglio.report.summary import LayerRow, Summary, Verified, load_verified
from intaglio.templates.artifact import Artifact

ROWS = (
    LayerRow("conv1", "Conv2d", 640, 12, 90, 0.5, 91, 0.125),
    LayerRow("fc", "MatMul", 160, 3, 10, 0.25, 9),
)
VERIFIED = Verified(images=2, words_compared=70, mismatches=0, cycles=100, layers={})
SUMMARY = Summary(
    "net", {"rows": 4, "cols": 4}, 512, ROWS, 100, 0.5, VERIFIED, window_utilisation=0.1125
)


def test_the_text_shows_layers_totals_and_proof() -> None:
    assert str(SUMMARY).splitlines() == [
        "net: 512 bytes of memory",
        "design: rows 4, cols 4",
        "",
        "layer         op              macs instructions  simulated        RTL    use windows",
        "conv1         Conv2d           640           12         90         91  50.0%   12.5%",
        "fc            MatMul           160            3         10          9  25.0%    0.0%",
        "whole network                  800           15        100        100  50.0%   11.2%",
        "",
        "verified: 70 words compared over 2 images, all equal",
    ]


def test_differences_are_counted_in_words() -> None:
    different = dataclasses.replace(VERIFIED, images=1, mismatches=3)
    assert str(different) == "verified: 70 words compared over 1 image, 3 differ"


def test_without_verification_there_is_no_measured_number() -> None:
    rows = tuple(dataclasses.replace(row, cycles_rtl=None) for row in ROWS)
    unverified = dataclasses.replace(SUMMARY, rows=rows, verified=None)
    lines = str(unverified).splitlines()
    assert lines[-1] == "not verified; run intaglio verify"
    assert all(line.split()[-3] == "-" for line in lines[4:7])
    assert unverified.to_dict()["verified"] is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "JSONDecodeError: Expecting property name enclosed in double quotes: "),
        ("[]", "TypeError: list indices must be integers or slices, not str"),
        ("{}", "KeyError: 'images'"),
    ],
)
def test_a_corrupt_verification_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "verify.json"
    path.write_text(text)
    with pytest.raises(ArtifactError) as caught:
        load_verified(path)
    assert str(caught.value).startswith(f"{path}: is corrupt ({reason}")
    assert str(caught.value).endswith("; run intaglio verify again")


@pytest.mark.parametrize(
    ("origin", "lines"),
    [
        (
            Origin(3, Method("percentile", 99.5, True, "compensated"), Precision(4, 8, 16)),
            [
                "calibration: 3 images; scales of activations by percentile 99.5, of weights by "
                "minmax, weights rounded compensated, biases corrected",
                "bits: weights 4, activations 8, wide 16",
            ],
        ),
        (
            Origin(None, None, Precision(layers={"fc": Bits(2), "x": Bits(activations=4)})),
            [
                "calibration: chosen by the task of the search",
                "bits: weights 8, activations 8, wide 16; fc weights 2; x activations 4",
            ],
        ),
    ],
)
def test_the_text_shows_calibration_and_bits(origin: Origin, lines: list[str]) -> None:
    shown = dataclasses.replace(SUMMARY, origin=origin)
    assert str(shown).splitlines()[2:5] == [*lines, ""]
    assert "precision" not in SUMMARY.to_dict()
    assert {"calibration", "precision"} <= set(shown.to_dict())


def test_corrupt_notes_are_refused(artifact: Path) -> None:
    opened = Artifact.open(artifact)
    assert Origin.of(dataclasses.replace(opened, info={})) is None
    info = {**opened.info, "precision": {"weights": 9}}
    with pytest.raises(ArtifactError) as caught:
        Origin.of(dataclasses.replace(opened, info=info))
    assert str(caught.value) == (
        f"{artifact}/artifact.json: is corrupt (UsageError: precision: weight precision of 9 bits "
        "is outside 1 to 8; choose 1 to 8); compile the model again"
    )
