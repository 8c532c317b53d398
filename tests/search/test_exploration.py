"""A whole search on a small task: by the Python interface and by the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intaglio import choosing, cli
from intaglio.errors import DesignError, UsageError
from intaglio.templates.artifact import Artifact

SMALL = Path(__file__).with_name("small.toml")


def variant(folder: Path, old: str, new: str) -> Path:
    text = SMALL.read_text()
    assert old in text
    path = folder / "variant.toml"
    path.write_text(text.replace(old, new))
    return path


@pytest.fixture
def unverified(tmp_path: Path) -> Path:
    return variant(tmp_path, "verify_images = 2", "verify_images = 0")


@pytest.mark.rtl
def test_a_search_ends_in_proven_rtl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert cli.main(["search", str(SMALL), "-o", str(folder), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer == json.loads((folder / "search.json").read_text())
    assert answer["verification"]["mismatches"] == 0
    assert answer["verification"]["images"] == 2
    assert answer["chosen"] in answer["front"]
    assert answer["chosen"]["metrics"]["latency_us"] <= 20
    artifact = Artifact.open(folder / "chosen")
    assert artifact.info["candidate"] == answer["chosen"]["point"]
    (program,) = artifact.deployment.programs
    assert program.design.rows == answer["chosen"]["point"]["design.rows"]
    kinds = {name: metric["kind"] for name, metric in answer["metrics"].items()}
    assert (kinds["accuracy"], kinds["cycles"], kinds["area_kge"]) == (
        "measured",
        "simulated",
        "estimated",
    )


def test_a_resumed_search_gives_the_same_answer(unverified: Path, tmp_path: Path) -> None:
    first = choosing.explore(unverified, tmp_path / "out")
    again = choosing.explore(unverified, tmp_path / "out", resume=True)
    other = choosing.explore(unverified, tmp_path / "other")
    assert str(first) == str(again) == str(other)
    assert first.found == again.found == other.found
    assert "hypervolume: nsga2 " in str(first)
    assert " measured" in str(first)


def test_an_output_that_exists_is_kept(unverified: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        choosing.explore(unverified, tmp_path)
    assert str(caught.value) == (
        f"output '{tmp_path}' exists; name another one or add resume=True to go on with its study"
    )
    with pytest.raises(UsageError) as caught:
        choosing.explore(unverified, tmp_path, resume=True)
    assert str(caught.value) == (f"output '{tmp_path}' exists and holds no study; name another one")


def test_a_limit_that_nothing_keeps_names_the_closest(tmp_path: Path) -> None:
    path = variant(tmp_path, "at_most = 20.0", "at_most = 0.001")
    with pytest.raises(DesignError) as caught:
        choosing.explore(path, tmp_path / "out")
    sentence = str(caught.value)
    assert sentence.startswith("none of 8 candidates keeps the limits; the closest has ")
    assert " for latency_us <= 0.001 (bits.weights " in sentence
    assert sentence.endswith("); loosen the limit, widen the space or allow more trials")


def test_chance_alone_is_compared_with_nothing(unverified: Path, tmp_path: Path) -> None:
    unverified.write_text('strategy = "random"\n' + unverified.read_text())
    result = choosing.explore(unverified, tmp_path / "out")
    assert result.found.comparison is None
    assert "hypervolume" not in str(result)


def test_a_wrong_specification_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = variant(tmp_path, "trials = 8", "trails = 8")
    assert cli.main(["search", str(path), "-o", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err == (
        f"error: {path}: unknown key 'trails'; did you mean 'trials'?\n"
    )
    assert not (tmp_path / "out").exists()
