"""Wheel, source distribution and editable install hold the whole package and run anywhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(path.name for path in (ROOT / "src" / "intaglio").iterdir() if path.is_symlink())
DATA = (".sv", ".md", ".c", ".cpp", ".h", ".vlt", ".toml", ".safetensors")
LEFT_BEHIND = (".git", ".venv", "build", "dist", "*.egg-info", "*_cache", "__pycache__", "out")
WALK = """
import importlib, intaglio, pkgutil
assert intaglio.__file__.startswith({home!r}), intaglio.__file__
names = [m.name for m in pkgutil.walk_packages(intaglio.__path__, "intaglio.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(names))
"""

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints; the test fails with its output when the command does."""
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def expected_files() -> set[str]:
    """Every source and data file, by its path inside the installed package."""
    package = {p.relative_to(ROOT / "src") for p in (ROOT / "src" / "intaglio").glob("*.py")}
    linked = {
        Path("intaglio") / path.relative_to(ROOT)
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", *DATA)
    }
    return {path.as_posix() for path in package | linked}


def environment(folder: Path) -> Path:
    """A new virtual environment that sees this one's packages; returns its interpreter."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python"


def install(python: Path, *what: str | Path, cwd: Path) -> None:
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", "--quiet")
    run(sys.executable, "-m", "pip", "--python", python, "install", *options, *what, cwd=cwd)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository, so that building leaves nothing in the tree."""
    copy = tmp_path_factory.mktemp("tree") / "copy"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    return copy


@pytest.fixture(scope="module")
def distributions(tree: Path) -> Path:
    """A folder with the source distribution and the wheel that was built from it."""
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", tree / "dist", cwd=tree)
    return tree / "dist"


@pytest.fixture(scope="module")
def wheel(distributions: Path) -> Path:
    return next(distributions.glob("*.whl"))


def test_the_wheel_holds_every_file_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert expected_files() - names == set()
    assert not [name for name in names if re.match(r"(intaglio/)?(tests|benchmarks)/", name)]


def test_the_source_distribution_holds_every_file(distributions: Path) -> None:
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in expected_files()} - names == set()
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_the_wheel_runs_outside_the_repository(wheel: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    install(python, wheel, cwd=tmp_path)
    home = str(tmp_path / "venv")
    assert int(run(python, "-c", WALK.format(home=home), cwd=tmp_path)) > 20
    diagnosis = json.loads(run(python, "-m", "intaglio", "doctor", "--json", cwd=tmp_path))
    assert diagnosis["healthy"] is True
    shown = run(python.parent / "intaglio", "--version", cwd=tmp_path)
    assert shown == "intaglio 0.1.0\n"


def test_an_editable_install_follows_the_tree(tree: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "venv")
    install(python, "--editable", tree, cwd=tmp_path)
    place = "import intaglio.compiler.workload as w; print(w.__file__)"
    shown = Path(run(python, "-c", place, cwd=tmp_path).strip())
    assert shown.resolve() == (tree / "compiler" / "workload.py").resolve()
