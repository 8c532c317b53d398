"""`Artifact`: the folder that `compile` writes and every later verb reads.

`artifact.json` names the schema, the tools, the segments in order and the SHA-256 of every file;
beside it lie the workload, `rtl/`, and for each segment of the accelerator a folder with its
program and `images/`.  A folder is written aside and then renamed, so that there is a whole one or
none.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intaglio.compiler.partition import HostSegment, Partition, Side, assemble
from intaglio.compiler.serialise import FILES as WORKLOAD_FILES
from intaglio.compiler.serialise import load_workload, save_workload
from intaglio.compiler.workload import Op, Workload
from intaglio.errors import ArtifactError, IntaglioError, UsageError, writing
from intaglio.templates.deployment import Deployment
from intaglio.templates.npu.driver import emit_driver
from intaglio.templates.npu.emit import TOP, emit_hardware, emit_images
from intaglio.templates.npu.program import FILES as PROGRAM_FILES
from intaglio.templates.npu.program import Program, load_program, save_program

SCHEMA = 2
MANIFEST = "artifact.json"
_SOURCES = "rtl/files.f"
_NEEDED = (*WORKLOAD_FILES.names, _SOURCES, f"rtl/{TOP}.sv")
"""The files without which there is no artifact; `rtl/files.f` names the others of `rtl/`."""
_IMAGES = ("images/memory.bin", "images/memory.hex", "images/memory_map.json")
_NEEDED_BY_SEGMENT = (*PROGRAM_FILES.names, *_IMAGES)
"""The files without which there is no segment of the accelerator, in its own folder."""
_LOCK = "intaglio.lock"
"""Marks a folder written aside, and is locked as long as its writer lives."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """An opened artifact.

    directory   the folder
    deployment  what is computed, and the program of each segment of the accelerator
    rtl_files   SystemVerilog sources in the order that tools read them
    top         the name of the top module
    info        what the writer noted: versions, seed, calibration
    """

    directory: Path
    deployment: Deployment
    rtl_files: tuple[Path, ...]
    top: str
    info: Mapping[str, object]

    @property
    def workload(self) -> Workload:
        """All of what is computed."""
        return self.deployment.workload

    @classmethod
    def open(cls, directory: Path) -> Artifact:
        """Read the artifact in `directory`, every file of it checked.

        Raises UsageError when `directory` is none, and ArtifactError naming the file that is
        missing, changed, corrupt or of another version.
        """
        _check_there(directory)
        manifest = _manifest(directory)
        files, segments = manifest["files"], manifest["segments"]
        _check_listed(directory, files, _needed(segments))
        for name, digest in files.items():
            _check_file(directory / name, digest)
        sources = _sources(directory / _SOURCES)
        _check_listed(directory, files, [f"rtl/{name}" for name in sources])
        return cls(
            directory,
            _load_deployment(directory, segments),
            tuple(directory / "rtl" / name for name in sources),
            TOP,
            MappingProxyType(manifest["info"]),
        )


def _check_there(directory: Path) -> None:
    """Raises UsageError when `directory` is nothing that `write` left."""
    if not directory.is_dir():
        missing = "is no folder" if directory.exists() else "does not exist"
        raise UsageError(f"artifact '{directory}' {missing}; name a folder that compile wrote")
    if not (directory / MANIFEST).exists():
        raise UsageError(
            f"folder '{directory}' holds no {MANIFEST}, so it is no artifact; name a folder that "
            "compile wrote"
        )


def _folder(index: int) -> str:
    """Where segment `index` lies."""
    return f"segments/{index}"


def _needed(segments: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The files without which there is no artifact of these segments."""
    yield from _NEEDED
    for index in _accelerated(segments):
        yield from (f"{_folder(index)}/{name}" for name in _NEEDED_BY_SEGMENT)


def _accelerated(segments: Sequence[Mapping[str, Any]]) -> list[int]:
    """Which of the manifest's entries are segments of the accelerator."""
    return [index for index, segment in enumerate(segments) if segment["on"] == "accelerator"]


def _manifest(directory: Path) -> dict[str, Any]:
    """The checked content of `artifact.json`."""
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        if manifest["schema"] != SCHEMA:
            raise ArtifactError(
                f"{path}: schema {manifest['schema']} is not {SCHEMA}, the one this version reads; "
                "compile the model again"
            )
        for key, kind in (("files", dict), ("info", dict), ("segments", list)):
            if not isinstance(manifest[key], kind):
                raise ArtifactError(f"{path}: is corrupt (no {key}); compile the model again")
        _check_segments(manifest["segments"])
    except OSError as error:
        raise ArtifactError(
            f"{path}: cannot be read ({error.strerror}); compile the model again"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise _corrupt(path, error) from error
    return dict(manifest)


def _check_segments(segments: Sequence[Mapping[str, Any]]) -> None:
    """Raises ValueError, KeyError or TypeError unless `segments` are entries of a manifest."""
    for segment in segments:
        if segment["on"] not in ("accelerator", "host"):
            raise ValueError(f"a segment is on {segment['on']!r}")
        names = [*segment["operators"], *segment.get("reasons", {}).values()]
        if not all(isinstance(name, str) for name in names):
            raise TypeError("a segment has an operator that is no text")


def _corrupt(path: Path, error: Exception) -> ArtifactError:
    return ArtifactError(
        f"{path}: is corrupt ({type(error).__name__}: {error}); compile the model again"
    )


def _load_deployment(directory: Path, segments: Sequence[Mapping[str, Any]]) -> Deployment:
    """The workload, cut as the manifest says, with its programs."""
    workload = load_workload(directory)
    try:
        made = _cut(workload, segments)
        folders = [directory / _folder(index) for index in _accelerated(segments)]
        return Deployment(made, tuple(map(load_program, folders)))
    except ArtifactError:
        raise
    except (KeyError, IntaglioError) as error:
        raise _corrupt(directory / MANIFEST, error) from error


def _cut(workload: Workload, segments: Sequence[Mapping[str, Any]]) -> Partition:
    """The partition that the manifest's entries describe."""
    ops = {op.name: op for op in workload.ops}
    groups: list[tuple[Side, tuple[Op, ...]]] = [
        (segment["on"], tuple(ops[name] for name in segment["operators"])) for segment in segments
    ]
    reasons = [segment["reasons"] for segment in segments if segment["on"] == "host"]
    return assemble(workload, groups, {name: why for part in reasons for name, why in part.items()})


def _entries(made: Partition) -> list[dict[str, object]]:
    """The segments as JSON values."""
    entries: list[dict[str, object]] = []
    for segment in made.segments:
        names = [op.name for op in segment.ops]
        if isinstance(segment, HostSegment):
            reasons = {op.name: made.reason(op) for op in segment.ops}
            entries.append({"on": "host", "operators": names, "reasons": reasons})
        else:
            entries.append({"on": "accelerator", "operators": names})
    return entries


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
            f"output '{directory}' exists; name another one or add force=True to replace it"
        )
    if not (directory / MANIFEST).is_file():
        raise UsageError(
            f"output '{directory}' exists and is no artifact, so it is not replaced; name another "
            "one"
        )


def write(
    directory: Path,
    deployment: Deployment,
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
        _fill(aside / "new", deployment, info)
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


def _fill(folder: Path, deployment: Deployment, info: Mapping[str, object]) -> None:
    """Write all files of an artifact into the new `folder`, the manifest last."""
    folder.mkdir()
    save_workload(deployment.workload, folder)
    emit_hardware(deployment.design, folder)
    for segment in deployment.scheduled():
        _fill_segment(folder / _folder(segment.index), segment.program)
    emit_driver(deployment, folder)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    manifest = {
        "schema": SCHEMA,
        "info": dict(info),
        "segments": _entries(deployment.partition),
        "files": {
            name.as_posix(): hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in names
        },
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _fill_segment(folder: Path, program: Program) -> None:
    folder.mkdir(parents=True)
    save_program(program, folder)
    emit_images(program, folder)
