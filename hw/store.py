"""A folder of things that were built once: each is whole or absent, whoever else builds or dies.

An entry is a folder of files under a name that says everything it was made from.  It is filled
aside and then renamed; a manifest beside the files holds their hashes, and an entry whose files do
not match is built again.  The folder stays below a size: what was used longest ago goes first, and
nothing that a process uses, or is building, goes at all.  An entry in use takes one open file.  The
files `.use` and `.lock` that processes lock go with their entry.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from intaglio.errors import ToolError

Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""
Fill = Callable[[Path, Path], None]
"""Makes an entry: gets an empty folder to work in and an empty folder for the result."""

MANIFEST = "files.json"
"""Its time of change is when the entry was last used."""
LIMIT_BYTES = 256 << 20
"""Size above which old entries are removed: more than a hundred models of an npu."""
_BUILDING = ".build-"
_kept = contextlib.ExitStack()
"""Entries that are in use until this process ends."""
_kept_places: set[Path] = set()
atexit.register(_kept.close)


@contextlib.contextmanager
def entry(
    home: Path,
    name: str,
    fill: Fill,
    progress: Progress | None = None,
    *,
    limit_bytes: int = LIMIT_BYTES,
) -> Iterator[Path]:
    """The folder `home/name`, filled by `fill` unless it is there and intact.

    It stays while the block runs; what was loaded from it works on afterwards.  Of several
    processes that want one entry, one fills it and the others wait.  Filling removes entries that
    were used longest ago while all of `home` is larger than `limit_bytes`.  Raises ToolError when
    `home` cannot be written, and whatever `fill` raises.
    """
    place = home / name
    with _use(place):
        if not intact(place):
            with _lock(home, name, progress):
                if not intact(place):
                    _fill(place, fill, limit_bytes)
        with contextlib.suppress(OSError):
            os.utime(place / MANIFEST)
        yield place


def kept(home: Path, name: str, fill: Fill, progress: Progress | None = None) -> Path:
    """The folder of `entry`, which stays until this process ends: for few and large ones."""
    with entry(home, name, fill, progress) as place:
        if place not in _kept_places:
            _kept.enter_context(_use(place))
            _kept_places.add(place)
        return place


@contextlib.contextmanager
def _use(place: Path) -> Iterator[None]:
    """Keep an entry from being removed; where nothing can be written, nothing is removed."""
    with contextlib.ExitStack() as files:
        with contextlib.suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            files.enter_context(_locked(place.with_name(f"{place.name}.use"), fcntl.LOCK_SH))
        yield


def _fill(place: Path, fill: Fill, limit_bytes: int) -> None:
    """Fill an entry and make room for it."""
    try:
        _fill_aside(place, fill)
        _prune(place.parent, limit_bytes)
    except OSError as error:
        raise _unwritable(place.parent, error) from error


def _locked(path: Path, operation: int) -> IO[str]:
    """The open file `path`, locked; opened again when it was removed before it could be locked.

    Raises BlockingIOError when `operation` does not wait, OSError when the file cannot be made.
    """
    while True:
        with contextlib.ExitStack() as files:
            handle = files.enter_context(path.open("w"))
            fcntl.flock(handle, operation)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(handle.fileno()).st_ino:
                    files.pop_all()
                    return handle


def _prune(home: Path, limit_bytes: int) -> None:
    """Remove entries, and what killed builds left, from the one used longest ago on."""
    for file in (*home.glob("*.use"), *home.glob("*.lock")):
        if not file.with_suffix("").is_dir():
            _removed(file.with_suffix(""))
    folders = sorted((path for path in home.iterdir() if path.is_dir()), key=_last_use)
    sizes = {folder: _size(folder) for folder in folders}
    excess = sum(sizes.values()) - limit_bytes
    for folder in folders:
        if excess <= 0:
            return
        if _removed(folder):
            excess -= sizes[folder]


def _removed(folder: Path) -> bool:
    """Whether a folder was free to be removed, and was, with the files that are locked for it."""
    name = folder.name.partition(_BUILDING)[0]
    files = [folder.with_name(f"{name}.{kind}") for kind in ("use", "lock")]
    with contextlib.ExitStack() as locks:
        for file in files:
            try:
                locks.enter_context(_locked(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
            except BlockingIOError:
                return False
        shutil.rmtree(folder, ignore_errors=True)
        for file in files:
            file.unlink(missing_ok=True)
    return True


def _last_use(folder: Path) -> float:
    for path in (folder / MANIFEST, folder):
        with contextlib.suppress(OSError):
            return path.stat().st_mtime
    return 0.0


def _size(folder: Path) -> int:
    """Bytes of all files below `folder`; those that vanish meanwhile do not count."""
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


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
        handle = _waited(home / f"{name}.lock", progress)
    except OSError as error:
        raise _unwritable(home, error) from error
    with handle:
        yield


def _waited(path: Path, progress: Progress | None) -> IO[str]:
    """The open file `path`, locked by this process alone, after others that hold it."""
    try:
        return _locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if progress is not None:
            progress("wait for another process that builds the same", 0, 1)
        return _locked(path, fcntl.LOCK_EX)


def _fill_aside(place: Path, fill: Fill) -> None:
    """Fill a new folder and rename it to `place`; what killed builds left is removed first."""
    for stale in place.parent.glob(f"{place.name}{_BUILDING}*"):
        shutil.rmtree(stale, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{place.name}{_BUILDING}", dir=place.parent))
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
