"""The simulator as machine code: the same cycles, kept in the user's cache, never required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from intaglio.sim import compiled
from tests.sim import drawn

PROGRAMS = 100


def run(*arguments: str, cache: Path) -> str:
    """What Python prints with machine code allowed and `cache` as the user's cache."""
    environment = {name: value for name, value in os.environ.items() if "NUMBA" not in name}
    found = subprocess.run(
        [sys.executable, *arguments],
        env=environment | {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout


@pytest.mark.slow
def test_machine_code_finds_the_cycles_that_python_finds(tmp_path: Path) -> None:
    pytest.importorskip("numba", reason="needs the extra fast")
    arguments = "-m", "tests.sim.drawn", str(PROGRAMS)
    assert not compiled.MACHINE_CODE
    assert run(*arguments, cache=tmp_path) == f"True {drawn.digest(PROGRAMS)}\n"
    [folder] = (tmp_path / "intaglio" / "simulator").iterdir()
    written = {path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}
    assert len(written) == 5, "one file an entry of the simulator"
    run("-m", "tests.sim.drawn", "1", cache=tmp_path)
    assert {path.stat().st_mtime_ns for path in folder.rglob("*.nbc")} == written


def test_without_a_place_to_keep_machine_code_the_simulator_runs_as_python(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    command = "-c", "from tests.sim.drawn import *; print(MACHINE_CODE, digest(3))"
    assert run(*command, cache=tmp_path / "file") == f"False {drawn.digest(3)}\n"


def test_machine_code_is_made_where_the_cache_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compiled.is_made()
    monkeypatch.setattr(compiled, "_CACHE", tmp_path)
    assert not compiled.is_made()
    (tmp_path / "run.go.nbc").touch()
    assert compiled.is_made()
