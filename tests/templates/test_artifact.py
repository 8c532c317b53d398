"""Artifacts: whole or not there, and every change noticed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from intaglio.errors import ArtifactError, OutputError, UsageError
from intaglio.templates import artifact
from intaglio.templates.artifact import MANIFEST, Artifact
from intaglio.templates.deployment import Deployment, whole
from intaglio.templates.npu.program import to_dict
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.templates.npu.networks import SMALL, cut

FIRST = "segments/0"
EMPTY = '{"schema": 2, "files": {}, "info": {}, "segments": '


@pytest.fixture(scope="module")
def deployment() -> Deployment:
    workload = every_operator()
    return whole(workload, schedule(workload, SMALL))


def test_an_artifact_is_what_was_written(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "out"
    artifact.write(folder, deployment, info={"seed": 3})
    opened = Artifact.open(folder)
    (program,) = deployment.programs
    (read,) = opened.deployment.programs
    assert to_dict(read) == to_dict(program)
    assert np.array_equal(read.image, program.image)
    assert opened.workload.ops == deployment.workload.ops
    assert not opened.deployment.cut
    assert dict(opened.info) == {"seed": 3}
    assert opened.rtl_files[-1] == folder / "rtl" / f"{opened.top}.sv"
    assert all(path.is_file() for path in opened.rtl_files)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]


def test_an_existing_folder_is_not_replaced(deployment: Deployment, tmp_path: Path) -> None:
    artifact.write(tmp_path / "out", deployment, info={})
    with pytest.raises(UsageError) as caught:
        artifact.write(tmp_path / "out", deployment, info={})
    assert str(caught.value) == (
        f"output '{tmp_path / 'out'}' exists; name another one or add force=True to replace it"
    )
    artifact.write(tmp_path / "out", deployment, info={"seed": 9}, force=True)
    assert Artifact.open(tmp_path / "out").info["seed"] == 9


def test_a_folder_that_is_no_artifact_is_never_replaced(
    deployment: Deployment, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(UsageError) as caught:
        artifact.write(tmp_path / "photos", deployment, info={}, force=True)
    assert str(caught.value) == (
        f"output '{tmp_path / 'photos'}' exists and is no artifact, so it is not replaced; name "
        "another one"
    )


class Stop(BaseException):
    """Stands for an interrupt."""


@pytest.mark.parametrize("where", ["emit_hardware", "save_program"])
@pytest.mark.parametrize("existing", [False, True])
def test_nothing_half_written_is_left(
    deployment: Deployment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    existing: bool,
) -> None:
    if existing:
        artifact.write(tmp_path / "out", deployment, info={"seed": 1})

    def stop(*_: object) -> None:
        raise Stop

    monkeypatch.setattr(artifact, where, stop)
    with pytest.raises(Stop):
        artifact.write(tmp_path / "out", deployment, info={}, force=True)
    assert [path.name for path in tmp_path.iterdir()] == (["out"] if existing else [])
    if existing:
        assert Artifact.open(tmp_path / "out").info["seed"] == 1


def test_the_old_artifact_returns_when_the_new_one_cannot_be_moved(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact.write(tmp_path / "out", deployment, info={"seed": 1})
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError) as caught:
        artifact.write(tmp_path / "out", deployment, info={}, force=True)
    assert str(caught.value) == (
        f"cannot write output '{tmp_path}/out': OSError; make room there or name another place"
    )
    assert Artifact.open(tmp_path / "out").info["seed"] == 1


@pytest.mark.parametrize(
    "name",
    [
        "workload.json",
        f"{FIRST}/program.safetensors",
        "rtl/npu_top.sv",
        f"{FIRST}/images/memory.bin",
    ],
)
def test_a_changed_file_is_named(deployment: Deployment, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "out"
    artifact.write(folder, deployment, info={})
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 1
    (folder / name).write_bytes(bytes(raw))
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(folder)
    assert str(caught.value) == (
        f"{folder / name}: its SHA-256 is not the one artifact.json names; compile the model again"
    )


def test_a_missing_file_is_named(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    artifact.write(folder, deployment, info={})
    (folder / FIRST / "program.json").unlink()
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(folder)
    assert str(caught.value) == (
        f"{folder / FIRST / 'program.json'}: cannot be read (No such file or directory); compile "
        "the model again"
    )


def test_a_cut_network_is_what_was_written(tmp_path: Path) -> None:
    made = cut(every_operator(), SMALL, "add", "max")
    opened = artifact.write(tmp_path / "out", made, info={}).deployment
    assert opened.partition.hosted == made.partition.hosted
    assert [to_dict(program) for program in opened.programs] == [
        to_dict(program) for program in made.programs
    ]
    for read, written in zip(opened.scheduled(), made.scheduled(), strict=True):
        assert (read.index, read.workload.ops) == (written.index, written.workload.ops)
        assert read.workload.outputs == written.workload.outputs
    assert sorted(path.name for path in (tmp_path / "out" / "segments").iterdir()) == [
        "0",
        "2",
        "4",
    ]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert manifest["segments"][1] == {
        "on": "host",
        "operators": ["add"],
        "reasons": {"add": "add: is kept there"},
    }


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('"add"', '"odd"', "KeyError: 'odd'"),
        (
            '"add"',
            '"max"',
            "IntaglioError: the segments of 'built' do not hold each of its operators once",
        ),
    ],
)
def test_segments_that_are_not_of_the_workload_are_refused(
    tmp_path: Path, old: str, new: str, reason: str
) -> None:
    folder = tmp_path / "out"
    artifact.write(folder, cut(every_operator(), SMALL, "add", "max"), info={})
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace(old, new, 1))
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(folder)
    assert str(caught.value) == (
        f"{folder / MANIFEST}: is corrupt ({reason}); compile the model again"
    )


def test_exchanged_segments_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    artifact.write(folder, cut(every_operator(), SMALL, "add"), info={})
    segments = folder / "segments"
    (segments / "0").rename(segments / "1")
    (segments / "2").rename(segments / "0")
    (segments / "1").rename(segments / "2")
    _relist(folder)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(folder)
    assert str(caught.value) == (
        f"{folder / MANIFEST}: is corrupt (IntaglioError: the program of segment 0 belongs to "
        "another); compile the model again"
    )


def _relist(folder: Path, drop: str | None = None) -> None:
    """Rewrite the hashes of the manifest to the files as they are, or drop one (`*` all)."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"] = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in manifest["files"]
        if drop not in (name, "*")
    }
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("drop", "named"),
    [
        ("*", "workload.json"),
        (f"{FIRST}/program.json", f"{FIRST}/program.json"),
        ("rtl/npu_lane.sv", "rtl/npu_lane.sv"),
        (f"{FIRST}/images/memory.bin", f"{FIRST}/images/memory.bin"),
    ],
)
def test_a_file_without_a_hash_is_named(
    deployment: Deployment, tmp_path: Path, drop: str, named: str
) -> None:
    artifact.write(tmp_path / "out", deployment, info={})
    _relist(tmp_path / "out", drop)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path}/out/artifact.json: does not list '{named}', which every artifact needs; "
        "compile the model again"
    )


def test_a_list_of_sources_that_is_no_text(deployment: Deployment, tmp_path: Path) -> None:
    artifact.write(tmp_path / "out", deployment, info={})
    (tmp_path / "out" / "rtl" / "files.f").write_bytes(b"\xff\xfe\x00")
    _relist(tmp_path / "out")
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(tmp_path / "out")
    assert str(caught.value) == (
        f"{tmp_path}/out/rtl/files.f: is no list of files (UnicodeDecodeError); compile the model "
        "again"
    )


def test_a_folder_without_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        Artifact.open(tmp_path)
    assert str(caught.value) == (
        f"folder '{tmp_path}' holds no artifact.json, so it is no artifact; name a folder that "
        "compile wrote"
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is corrupt (JSONDecodeError: Expecting property name enclosed in double quotes: "),
        ('{"schema": 2}', "is corrupt (KeyError: 'files')"),
        ("[]", "is corrupt (TypeError: "),
        ('{"schema": 2, "files": [], "info": {}}', "is corrupt (no files)"),
        ('{"schema": 2, "files": {}, "info": {}, "segments": {}}', "is corrupt (no segments)"),
        (f'{EMPTY}[{{"on": "moon"}}]}}', "is corrupt (ValueError: a segment is on 'moon')"),
        (f'{EMPTY}[{{"on": "host"}}]}}', "is corrupt (KeyError: 'operators')"),
        (
            f'{EMPTY}[{{"on": "host", "operators": [1]}}]}}',
            "is corrupt (TypeError: a segment has an operator that is no text)",
        ),
        ('{"schema": 1, "files": {}}', "schema 1 is not 2, the one this version reads"),
    ],
)
def test_a_bad_manifest(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / MANIFEST}: {reason}")
    assert str(caught.value).endswith("; compile the model again")


def test_the_manifest_names_every_file(deployment: Deployment, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    artifact.write(folder, deployment, info={})
    named = json.loads((folder / MANIFEST).read_text())["files"]
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert set(named) == present - {MANIFEST}
