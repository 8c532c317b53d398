"""`Artifact`: the folder that `compile` writes and every later verb reads.

`artifact.json` names the schema, the tools and the SHA-256 of every file; beside it lie the
workload, the program, `rtl/` and `images/`.  A folder is written aside and then renamed, so that
there is a whole one or none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intaglio.compiler.serialise import FILES as WORKLOAD_FILES
from intaglio.compiler.serialise import load_workload, save_workload
from intaglio.compiler.workload import Workload
from intaglio.errors import ArtifactError, UsageError, writing
from intaglio.templates.npu.emit import TOP, emit
from intaglio.templates.npu.program import FILES as PROGRAM_FILES
from intaglio.templates.npu.program import Program, load_program, save_program

SCHEMA = 1
MANIFEST = "artifact.json"
_SOURCES = "rtl/files.f"
_NEEDED = (
    *WORKLOAD_FILES.names,
    *PROGRAM_FILES.names,
    _SOURCES,
    f"rtl/{TOP}.sv",
    "images/memory.bin",
    "images/memory.hex",
    "images/memory_map.json",
)
"""The files without which there is no artifact; `rtl/files.f` names the others."""
_LOCK = "intaglio.lock"
"""Marks a folder written aside, and is locked as long as its writer lives."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact.

    directory   the folder
    workload    what is computed
    program     the program for its design
    rtl_files   SystemVerilog sources in the order that tools read them
    top         the name of the top module
    info        what the writer noted: versions, seed, calibration
    """

    directory: Path
    workload: Workload
    program: Program
    rtl_files: tuple[Path, ...]
    top: str
    info: Mapping[str, object]

    @classmethod
    def open(cls, directory: Path) -> Artifact:
        """Read the artifact in `directory`, every file of it checked.

        Raises ArtifactError naming the file that is missing, changed, corrupt or of another
        version.
        """
        manifest = _manifest(directory)
        files = manifest["files"]
        _check_listed(directory, files, _NEEDED)
        for name, digest in files.items():
            _check_file(directory / name, digest)
        sources = _sources(directory / _SOURCES)
        _check_listed(directory, files, [f"rtl/{name}" for name in sources])
        return cls(
            directory,
            load_workload(directory),
            load_program(directory),
            tuple(directory / "rtl" / name for name in sources),
            TOP,
            MappingProxyType(manifest["info"]),
        )


def _manifest(directory: Path) -> dict[str, Any]:
    """The checked content of `artifact.json`."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        schema, files, info = manifest["schema"], manifest["files"], manifest["info"]
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); name a folder that compile wrote"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{path}: is corrupt ({type(error).__name__}: {error}); compile the model again"
        ) from error
    if schema != SCHEMA:
        raise ArtifactError(
            f"{path}: schema {schema} is not {SCHEMA}, the one this version reads; compile the "
            "model again"
        )
    if not isinstance(files, dict) or not isinstance(info, dict):
        raise ArtifactError(f"{path}: is corrupt (no list of files); compile the model again")
    return {"files": files, "info": info}


def _check_listed(directory: Path, files: Mapping[str, str], names: Iterable[str]) -> None:
    """Raises ArtifactError unless the manifest has a hash of each of `names`."""
    for name in names:
        if name not in files:
            raise ArtifactError(
                f"{directory / MANIFEST}: does not list '{name}', which every artifact needs; "
                "compile the model again"
            )


def _sources(path: Path) -> list[str]:
    """The names in the list of sources."""
    try:
        return path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(
            f"{path}: is no list of files ({type(error).__name__}); compile the model again"
        ) from error


def _check_file(path: Path, digest: str) -> None:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); compile the model again"
        ) from error
    if found != digest:
        raise ArtifactError(
            f"{path}: its SHA-256 is not the one {MANIFEST} names; compile the model again"
        )


def check_target(directory: Path, *, force: bool) -> None:
    """Raises UsageError when an artifact cannot be written to `directory`.

    With `force` an artifact that is there is replaced; anything else never is.
    """
    if not directory.exists() and not directory.is_symlink():
        return
    if not force:
        raise UsageError(
            f"output '{directory}' exists; name another one or add --force to replace it"
        )
    if not (directory / MANIFEST).is_file():
        raise UsageError(
            f"output '{directory}' exists and is no artifact, so it is not replaced; name another "
            "one"
        )


def write(
    directory: Path,
    workload: Workload,
    program: Program,
    *,
    info: Mapping[str, object],
    force: bool = False,
) -> Artifact:
    """Write an artifact to `directory` and open it; `info` is kept beside it as JSON values.

    Raises UsageError as `check_target` does, and OutputError when the system refuses to write.
    `directory` is then as it was.  A process that is killed leaves a folder aside, which the next
    writer of `directory` removes; it may leave no `directory`, but never a part of one.
    """
    check_target(directory, force=force)
    with writing(f"output '{directory}'"), _aside(directory) as aside:
        _fill(aside / "new", workload, program, info)
        check_target(directory, force=force)
        _exchange(aside / "new", directory, aside / "old")
    return Artifact.open(directory)


@contextlib.contextmanager
def _aside(directory: Path) -> Iterator[Path]:
    """A new folder beside `directory`, removed at the end."""
    parent, prefix = directory.absolute().parent, f".{directory.name}."
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        if left.name.startswith(prefix) and _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        with (aside / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _abandoned(folder: Path) -> bool:
    """Whether `folder` was written aside by a process that is dead."""
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _exchange(new: Path, directory: Path, old: Path) -> None:
    """Move `new` to `directory`; what was there goes to `old`, or back when anything fails."""
    try:
        if directory.exists():
            directory.rename(old)
        new.rename(directory)
    except BaseException:
        if old.exists() and not directory.exists():
            old.rename(directory)
        raise


def _fill(folder: Path, workload: Workload, program: Program, info: Mapping[str, object]) -> None:
    """Write all files of an artifact into the new `folder`, the manifest last."""
    folder.mkdir()
    save_workload(workload, folder)
    save_program(program, folder)
    emit(program, folder)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    manifest = {
        "schema": SCHEMA,
        "info": dict(info),
        "files": {
            name.as_posix(): hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in names
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
