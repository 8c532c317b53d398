"""The store of built things: whole or absent, whatever happens."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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


def filled(home: Path, name: str, fill: store.Fill) -> Path:
    """The folder of an entry that is not in use any more."""
    with store.entry(home, name, fill) as place:
        return place


def test_an_entry_is_filled_once(tmp_path: Path) -> None:
    maker = Maker()
    place = filled(tmp_path, "a", maker)
    assert filled(tmp_path, "a", maker) == place
    assert maker.calls == 1
    assert sorted(path.name for path in place.iterdir()) == ["files.json", "half", "whole"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "a.lock", "a.use"]


def test_a_failure_leaves_no_entry(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more"):
        filled(tmp_path, "a", Maker(fails=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.lock", "a.use"]
    maker = Maker()
    filled(tmp_path, "a", maker)
    assert maker.calls == 1


@pytest.mark.parametrize("damage", ["changed", "missing", "manifest", "wrong kind"])
def test_a_damaged_entry_is_filled_again(tmp_path: Path, damage: str) -> None:
    maker = Maker()
    place = filled(tmp_path, "a", maker)
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
    filled(tmp_path, "a", maker)
    assert maker.calls == 2
    assert store.intact(place)
    assert (place / "whole").read_text() == "whole"


def test_what_a_killed_build_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "a.build-xyz"
    left.mkdir()
    other = tmp_path / "b.build-xyz"
    other.mkdir()
    filled(tmp_path, "a", Maker())
    assert not left.exists()
    assert other.exists()


MAKER_SCRIPT = """import sys
from pathlib import Path
from typing import IO
from intaglio.hw import store
home, name, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
def fill(work, result):
    (result / "data").write_bytes(bytes(10_000))
with store.entry(home, name, fill, limit_bytes=limit):
    print("ready", flush=True)
    sys.stdin.read()
"""
ROOM = 25_000
"""For two entries of the maker, with their manifests, and no third."""


@contextmanager
def another_process(home: Path, name: str, limit_bytes: int = ROOM) -> Iterator[None]:
    """A process that uses the entry `name`, made by it if need be, while the block runs."""
    command = [sys.executable, "-c", MAKER_SCRIPT, str(home), name, str(limit_bytes)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield
        process.communicate()


def used(home: Path, *names: str, limit_bytes: int = ROOM) -> None:
    """Use entries, one after the other, each a second later than the one before."""
    for name in names:
        with another_process(home, name, limit_bytes):
            pass
        manifest = home / name / store.MANIFEST
        latest = max(path.stat().st_mtime for path in home.glob(f"*/{store.MANIFEST}"))
        os.utime(manifest, (latest + 1, latest + 1))


def entries(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.is_dir())


def test_what_was_used_longest_ago_makes_room(tmp_path: Path) -> None:
    used(tmp_path, "a", "b", "c")
    assert entries(tmp_path) == ["b", "c"]
    used(tmp_path, "b", "d")
    assert entries(tmp_path) == ["b", "d"]
    assert store.intact(tmp_path / "b")


def test_what_is_removed_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no more"):
        filled(tmp_path, "failed", Maker(fails=True))
    used(tmp_path, "a", "b", "c")
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {name + end for name in "bc" for end in ("", ".lock", ".use")}


def test_a_file_that_is_removed_while_it_is_waited_for_is_made_again(tmp_path: Path) -> None:
    path, before = tmp_path / "a.use", fcntl.flock

    def removing(handle: IO[str], operation: int) -> None:
        before(handle, operation)
        with contextlib.suppress(IndexError):
            removals.pop().unlink()

    removals = [path, path]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", removing)
        with store._locked(path, fcntl.LOCK_SH) as handle:
            assert os.fstat(handle.fileno()).st_ino == path.stat().st_ino
    assert removals == []


def test_nothing_is_removed_while_there_is_room(tmp_path: Path) -> None:
    used(tmp_path, "a", "b", "c", limit_bytes=2 * ROOM)
    assert entries(tmp_path) == ["a", "b", "c"]


def test_what_another_process_uses_stays(tmp_path: Path) -> None:
    used(tmp_path, "a", "b")
    with another_process(tmp_path, "a"):
        os.utime(tmp_path / "a" / store.MANIFEST, (0, 0))
        used(tmp_path, "c")
        assert entries(tmp_path) == ["a", "c"]
    os.utime(tmp_path / "a" / store.MANIFEST, (0, 0))
    used(tmp_path, "d")
    assert entries(tmp_path) == ["c", "d"]


def test_what_this_process_uses_stays_as_long(tmp_path: Path) -> None:
    with store.entry(tmp_path, "mine", Maker()) as place:
        os.utime(place / store.MANIFEST, (0, 0))
        used(tmp_path, "a", "b", limit_bytes=1)
        assert entries(tmp_path) == ["b", "mine"]
    used(tmp_path, "c", limit_bytes=1)
    assert entries(tmp_path) == ["c"]


def test_what_is_kept_stays(tmp_path: Path) -> None:
    place = store.kept(tmp_path, "mine", Maker())
    assert store.kept(tmp_path, "mine", Maker()) == place
    os.utime(place / store.MANIFEST, (0, 0))
    used(tmp_path, "a", "b", limit_bytes=1)
    assert entries(tmp_path) == ["b", "mine"]


MANY_SCRIPT = """import resource, sys
from pathlib import Path
from typing import IO
from intaglio.hw import store
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (20, limit))
home, fill = Path(sys.argv[1]), lambda work, result: (result / "data").write_bytes(b"x")
for number in range(60):
    with store.entry(home, f"entry{number % 40}", fill) as place:
        assert (place / "data").read_bytes() == b"x"
for _ in range(60):
    store.kept(home, "kept", fill)
"""


def test_many_entries_need_few_open_files_and_leave_none(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-X", "dev", "-c", MANY_SCRIPT, str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(entries(tmp_path)) == 41


def test_what_another_process_builds_stays(tmp_path: Path) -> None:
    def fill(work: Path, result: Path) -> None:
        (work / "data").write_bytes(bytes(ROOM))
        used(tmp_path, "a", limit_bytes=1)
        (result / "whole").write_text("whole")

    assert (filled(tmp_path, "mine", fill) / "whole").read_text() == "whole"


def test_what_killed_builds_left_makes_room(tmp_path: Path) -> None:
    left = tmp_path / "gone.build-xyz"
    left.mkdir()
    (left / "data").write_bytes(bytes(ROOM))
    os.utime(left, (0, 0))
    used(tmp_path, "a")
    assert entries(tmp_path) == ["a"]


def test_an_intact_entry_serves_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(tmp_path, "a")

    def refused(*_: object, **__: object) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr(Path, "mkdir", refused)
    maker = Maker()
    assert (filled(tmp_path, "a", maker) / "data").stat().st_size == 10_000
    assert maker.calls == 0
