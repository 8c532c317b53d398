"""Precisions as files: what is written is read back, and what is wrong is refused by name."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from intaglio.compiler import precision_file
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.precision_file import read_precision, to_dict, to_toml, write_precision
from intaglio.errors import OutputError, UsageError

MIXED = Precision(
    4,
    6,
    12,
    wide_values=("sums", "outputs"),
    layers={"conv1": Bits(8), "b.0/größe 2": Bits(2, 4), "images": Bits(activations=5)},
)


@pytest.mark.parametrize("precision", [Precision(), MIXED])
def test_what_is_written_is_read_back(tmp_path: Path, precision: Precision) -> None:
    path = tmp_path / "bits.toml"
    write_precision(path, precision, "made by a test")
    assert read_precision(path) == precision
    assert path.read_text().startswith("# made by a test\nweights = ")


def test_a_file_reads_as_people_write_it() -> None:
    assert to_toml(MIXED) == (
        "weights = 4\nactivations = 6\nwide = 12\n"
        'wide_values = ["sums", "outputs"]\n\n[layers]\n'
        'conv1 = { weights = 8 }\n"b.0/größe 2" = { weights = 2, activations = 4 }\n'
        "images = { activations = 5 }\n"
    )


def test_every_field_of_a_precision_is_in_the_file() -> None:
    named = {*precision_file._GLOBAL.values(), "layers"}
    assert named == {field.name for field in fields(Precision)}
    assert set(precision_file._OWN) == {field.name for field in fields(Bits)}
    assert list(to_dict(Precision())) == [*precision_file._GLOBAL, "layers"]


def test_what_a_file_leaves_out_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "bits.toml"
    path.write_text("[layers.fc]\nweights = 2\n")
    assert read_precision(path) == Precision(layers={"fc": Bits(2)})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("weigths = 4", "{path}: unknown key 'weigths'; did you mean 'weights'?"),
        (
            "zzz = 4",
            "{path}: unknown key 'zzz'; known are weights, activations, wide, wide_values, layers",
        ),
        (
            "weights = 9",
            "{path}: weight precision of 9 bits is outside 1 to 8; choose 1 to 8",
        ),
        (
            'wide_values = ["sum"]',
            "{path}: precision has no wide values called 'sum'; did you mean 'sums'?",
        ),
        (
            'wide_values = "sums"',
            "{path}: precision takes wide values as 'sums'; list their names, as in ('sums',)",
        ),
        (
            "wide = 4.5",
            "{path}: wide precision is 4.5, expected a whole number of bits, as in 8",
        ),
        ("layers = 4", "{path}: layers is 4, expected a table, as in [layers]"),
        (
            "[layers]\nfc = 4",
            "{path}: layers.fc is 4, expected a table, as in {{ weights = 4 }}",
        ),
        (
            "[layers.fc]\nactivation = 4",
            "{path}: layers.fc: unknown key 'activation'; did you mean 'activations'?",
        ),
        (
            "[layers.fc]\nactivations = 0",
            "{path}: fc: activation precision of 0 bits is outside 1 to 16; choose 1 to 16",
        ),
        (
            "[layers.fc]\nweights = '4'",
            "{path}: fc: weight precision is '4', expected a whole number of bits, as in 8",
        ),
        (
            "weights",
            "precision '{path}' is not TOML: Expected '=' after a key in a key/value pair (at end "
            "of document); docs/precision.md has an example",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bits.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_precision(path)
    assert str(caught.value) == sentence.format(path=path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    with pytest.raises(UsageError) as caught:
        read_precision(path)
    assert str(caught.value) == (
        f"cannot read precision '{path}': No such file or directory; give the path of a TOML file"
    )
    with pytest.raises(OutputError):
        write_precision(tmp_path / "none" / "bits.toml", Precision())
