"""Fixtures that every test folder shares."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shell import Shell

# The simulator runs as Python here: tests call its inner functions, and none waits for a compiler.
# tests/sim/test_machine_code.py runs it compiled, in a process of its own.
os.environ["NUMBA_DISABLE_JIT"] = "1"

Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write golden files instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden(name, text)` compares `text` with golden/`name` beside the test's file."""

    def compare(name: str, text: str) -> None:
        path = Path(request.path).parent / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert path.exists(), f"{path} is missing; run pytest --update-golden"
        assert text == path.read_text(encoding="utf-8")

    return compare


@pytest.fixture(scope="session")
def model_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of built hardware models that all tests of one run share."""
    base = tmp_path_factory.getbasetemp()
    workers = "PYTEST_XDIST_WORKER" in os.environ
    return (base.parent if workers else base) / "models"


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the tiny network, which no test changes."""
    # Tests that need no torch are spared its import.
    from intaglio import api
    from tests.nets import tiny

    folder = tmp_path_factory.mktemp("compiled") / "artifact"
    module, inputs = tiny()
    api.compile(module, inputs, output=folder, name="tiny")
    return folder


@pytest.fixture
def artifact(compiled: Path, tmp_path: Path) -> Path:
    """A copy of that artifact."""
    return Path(shutil.copytree(compiled, tmp_path / "artifact"))
