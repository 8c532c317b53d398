"""SystemVerilog read by three tools that disagree about what is legal: Verilator, Icarus, Yosys."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from intaglio.errors import ToolError
from intaglio.hw import yosys
from intaglio.hw.verilator import find_tools

_SECONDS = 600
_PREFIX = re.compile(r"^%?(?P<kind>Warning|Error|warning|error|ERROR)[-: ]")


class Linter(StrEnum):
    """The tools, by the names they are known by."""

    VERILATOR = "Verilator"
    ICARUS = "Icarus Verilog"
    YOSYS = "Yosys"


@dataclass(frozen=True, slots=True)
class Finding:
    """One complaint of one tool: an error or a warning, in the tool's own words."""

    linter: Linter
    text: str

    def __str__(self) -> str:
        return f"{self.linter}: {self.text}"


def missing(linter: Linter) -> str | None:
    """Why `linter` cannot run here and what would cure it; None when it can."""
    match linter:
        case Linter.VERILATOR:
            try:
                find_tools()
            except ToolError as error:
                return str(error)
        case Linter.ICARUS:
            if shutil.which("iverilog") is None:
                return "iverilog is not on PATH; run: apt-get install iverilog"
        case Linter.YOSYS:
            return None if yosys.installed() else yosys.MISSING
    return None


def lint(
    sources: Sequence[Path],
    top: str,
    parameters: Mapping[str, int] | None = None,
    linters: Iterable[Linter] = tuple(Linter),
) -> tuple[Finding, ...]:
    """Every error and warning about `top` and what it instantiates; no findings is clean.

    `sources` are read in order, packages first; `parameters` override those of `top`.  Verilator
    runs with all its warnings, Yosys also looks for combinational loops and undriven nets.
    Raises ToolError when a tool is missing or does not finish.
    """
    numbers = dict(parameters or {})
    findings: list[Finding] = []
    for linter in linters:
        reason = missing(linter)
        if reason is not None:
            raise ToolError(reason)
        command, environment = _command(linter, [str(p) for p in sources], top, numbers)
        findings += _findings(linter, *_run(linter, command, environment))
    return tuple(findings)


def _command(
    linter: Linter, files: list[str], top: str, parameters: dict[str, int]
) -> tuple[list[str], dict[str, str]]:
    """The command line and what it adds to the environment."""
    pairs = parameters.items()
    match linter:
        case Linter.VERILATOR:
            tools = find_tools()
            flags = ["--lint-only", "-Wall", "--top-module", top]
            flags += [f"-G{name}={value}" for name, value in pairs]
            return [str(tools.translator), *flags, *files], {"VERILATOR_ROOT": str(tools.root)}
        case Linter.ICARUS:
            flags = ["-g2012", "-Wall", "-tnull", "-s", top]
            flags += [f"-P{top}.{name}={value}" for name, value in pairs]
            return ["iverilog", *flags, *files], {}
        case Linter.YOSYS:
            quoted = " ".join(f'"{name}"' for name in files)
            chosen = " ".join(f"-chparam {name} {value}" for name, value in pairs)
            passes = (
                f"read_verilog -sv {quoted}",
                f"hierarchy -check -top {top} {chosen}",
                "proc",
                "flatten",
                "check -assert",
            )
            return yosys.command(*passes), {}


def _run(linter: Linter, command: list[str], environment: dict[str, str]) -> tuple[int, list[str]]:
    """Exit code and the lines of both outputs."""
    try:
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, text=True,
            timeout=_SECONDS, check=False,
        )  # fmt: skip
    except OSError as error:
        raise ToolError(f"cannot start {linter} ('{command[0]}'): {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{linter} did not finish within {_SECONDS} seconds") from error
    return done.returncode, [*done.stdout.splitlines(), *done.stderr.splitlines()]


def _findings(linter: Linter, code: int, lines: list[str]) -> list[Finding]:
    """What the tool complains of; a failure without a word is a finding too."""
    complaints = [line.strip() for line in lines if _is_complaint(linter, line)]
    if code != 0 and not complaints:
        complaints = [f"exit code {code}"]
    return [Finding(linter, text) for text in complaints]


def _is_complaint(linter: Linter, line: str) -> bool:
    # Icarus says nothing at all about files it accepts.
    return bool(line.strip()) if linter is Linter.ICARUS else bool(_PREFIX.match(line))
