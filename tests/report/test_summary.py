"""The summary keeps simulated and measured apart, and says when nothing was verified."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from intaglio.errors import ArtifactError
from intaglio.report.summary import LayerRow, Summary, Verified, load_verified

ROWS = (
    LayerRow("conv1", "Conv2d", 640, 12, 90, 0.5, 91),
    LayerRow("fc", "MatMul", 160, 3, 10, 0.25, 9),
)
VERIFIED = Verified(images=2, words_compared=70, mismatches=0, cycles=100, layers={})
SUMMARY = Summary("net", {"rows": 4, "cols": 4}, 512, ROWS, 100, 0.5, VERIFIED)


def test_the_text_shows_layers_totals_and_proof() -> None:
    assert str(SUMMARY).splitlines() == [
        "net: 512 bytes of memory",
        "design: rows 4, cols 4",
        "",
        "layer         op              macs instructions  simulated        RTL    use",
        "conv1         Conv2d           640           12         90         91  50.0%",
        "fc            MatMul           160            3         10          9  25.0%",
        "whole network                  800           15        100        100  50.0%",
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
    assert all(line.split()[-2] == "-" for line in lines[4:7])
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
