"""A folder of things that were built once: each is whole or absent, whoever else builds or dies.

An entry is a folder of files under a name that says everything it was made from.  It is filled
aside and then renamed; a manifest beside the files holds their hashes, and an entry whose files do
not match is built again.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from intaglio.errors import ToolError

Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""
Fill = Callable[[Path, Path], None]
"""Makes an entry: gets an empty folder to work in and an empty folder for the result."""

MANIFEST = "files.json"


def entry(home: Path, name: str, fill: Fill, progress: Progress | None = None) -> Path:
    """The folder `home/name`, filled by `fill` unless it is there and intact.

    Of several processes that want one entry, one fills it and the others wait.  Raises ToolError
    when `home` cannot be written, and whatever `fill` raises.
    """
    place = home / name
    if intact(place):
        return place
    with _lock(home, name, progress):
        if not intact(place):
            try:
                _fill_aside(place, fill)
            except OSError as error:
                raise _unwritable(home, error) from error
    return place


def _unwritable(home: Path, error: OSError) -> ToolError:
    return ToolError(
        f"cannot write the cache folder '{home}': {error.strerror}; make room there, or set "
        "XDG_CACHE_HOME to another folder"
    )


def intact(place: Path) -> bool:
    """Whether every file that the manifest of `place` names has the bytes that were built."""
    try:
        expected = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        found = {name: _digest(place / name) for name in expected}
    except (OSError, ValueError, TypeError):
        return False
    return bool(expected == found)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _lock(home: Path, name: str, progress: Progress | None) -> Iterator[None]:
    """Holds the lock of one entry; the system releases it when the process ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = (home / f"{name}.lock").open("w")
    except OSError as error:
        raise _unwritable(home, error) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress is not None:
                progress("wait for another process that builds the same", 0, 1)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _fill_aside(place: Path, fill: Fill) -> None:
    """Fill a new folder and rename it to `place`; what killed builds left is removed first."""
    for stale in place.parent.glob(f"{place.name}.build-*"):
        shutil.rmtree(stale, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{place.name}.build-", dir=place.parent))
    work, result = aside / "work", aside / "result"
    try:
        work.mkdir()
        result.mkdir()
        fill(work, result)
        manifest = {path.name: _digest(path) for path in sorted(result.iterdir())}
        (result / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        result.rename(place)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
