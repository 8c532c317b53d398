"""Yosys and ABC from the wheel of pyosys, each run as a process of its own."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from intaglio.errors import ToolError

_PASSES = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""
MISSING = "pyosys is not installed; run: pip install 'intaglio[rtl]'"


def installed() -> bool:
    """Whether the wheel is there."""
    return importlib.util.find_spec("pyosys") is not None


def command(*passes: str) -> list[str]:
    """The command line that runs `passes` on an empty design."""
    return [sys.executable, "-c", _PASSES, *passes]


def abc(*commands: str) -> list[str]:
    """The command line that runs `commands` of ABC; raises ToolError when the wheel is missing."""
    found = importlib.util.find_spec("pyosys")
    if found is None or found.origin is None:
        raise ToolError(MISSING)
    return [str(Path(found.origin).with_name("yosys-abc")), "-c", "; ".join(commands)]
