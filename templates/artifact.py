"""`Artifact`: the folder that `compile` writes and every later verb reads.

`artifact.json` names the schema, the tools and the SHA-256 of every file; beside it lie the
workload, the program, `rtl/` and `images/`.  A folder is written aside and then renamed, so that
there is a whole one or none.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from intaglio.compiler.serialise import load_workload, save_workload
from intaglio.compiler.workload import Workload
from intaglio.errors import ArtifactError, UsageError
from intaglio.templates.npu.emit import TOP, emit
from intaglio.templates.npu.program import Program, load_program, save_program

SCHEMA = 1
MANIFEST = "artifact.json"


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
        for name, digest in manifest["files"].items():
            _check_file(directory / name, digest)
        sources = (directory / "rtl" / "files.f").read_text(encoding="utf-8").split()
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

    Raises UsageError as `check_target` does.  Whatever happens, `directory` is either as it was or
    the whole new artifact.
    """
    check_target(directory, force=force)
    parent = directory.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=parent))
    try:
        _fill(aside / "new", workload, program, info)
        check_target(directory, force=force)
        _exchange(aside / "new", directory, aside / "old")
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return Artifact.open(directory)


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
