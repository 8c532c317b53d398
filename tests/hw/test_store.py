"""The store of built things: whole or absent, whatever happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from intaglio.hw import store


class Maker:
    """Fills an entry with one file, counts how often, and may fail half-way."""

    def __init__(self, fails: bool = False) -> None:
        self.calls = 0
        self.fails = fails

    def __call__(self, work: Path, result: Path) -> None:
        self.calls += 1
        (work / "notes").write_text("scratch")
        (result / "half").write_text("half")
        if self.fails:
            raise ValueError("no more")
        (result / "whole").write_text("whole")


def test_an_entry_is_filled_once(tmp_path: Path) -> None:
    maker = Maker()
    place = store.entry(tmp_path, "a", maker)
    assert store.entry(tmp_path, "a", maker) == place
    assert maker.calls == 1
    assert sorted(path.name for path in place.iterdir()) == ["files.json", "half", "whole"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.lock"]


def test_a_failure_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more"):
        store.entry(tmp_path, "a", Maker(fails=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock"]
    maker = Maker()
    store.entry(tmp_path, "a", maker)
    assert maker.calls == 1


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest", "wrong kind"])
def test_a_damaged_entry_is_filled_again(tmp_path: Path, damage: str) -> None:
    maker = Maker()
    place = store.entry(tmp_path, "a", maker)
    match damage:
        case "changed":
            (place / "whole").write_text("other")
        case "missing":
            (place / "half").unlink()
        case "manifest":
            (place / store.MANIFEST).write_text("{")
        case _:
            (place / store.MANIFEST).write_text("3")
    assert not store.intact(place)
    store.entry(tmp_path, "a", maker)
    assert maker.calls == 2
    assert store.intact(place)
    assert (place / "whole").read_text() == "whole"


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "a.build-xyz"
    left.mkdir()
    other = tmp_path / "b.build-xyz"
    other.mkdir()
    store.entry(tmp_path, "a", Maker())
    assert not left.exists()
    assert other.exists()
