"""The doctor finds what is there, what is missing, and names the fix."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from intaglio import doctor


def found(name: str) -> doctor.Part:
    return next(part for part in doctor.diagnose().parts if part.name == name)


def test_an_installed_package_has_its_version() -> None:
    part = found("numpy")
    assert part.version is not None
    assert part.version[0].isdigit()


def test_every_extra_is_looked_at() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"]) - {"all", "dev"}
    looked_at = {part.group for part in doctor.diagnose().parts} - {"core", "optional"}
    assert looked_at == extras
    [everything] = project["optional-dependencies"]["all"]
    assert set(everything.removeprefix("intaglio[").removesuffix("]").split(",")) == extras


def test_a_program_that_is_missing_names_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    part = found("g++")
    assert part.version is None
    assert part.fix == "apt-get install g++"
    assert doctor.diagnose().healthy


def test_a_missing_core_package_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    diagnosis = doctor.diagnose()
    assert not diagnosis.healthy
    assert diagnosis.to_dict()["healthy"] is False


def test_a_program_that_does_not_run_counts_as_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iverilog").write_text("#!/nowhere/interpreter\n")
    (tmp_path / "iverilog").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found("iverilog").version is None
