"""The tables that the npu's row engines hold in logic, as SystemVerilog packages."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.numerics.norm import SEED
from intaglio.compiler.numerics.softmax import EXPONENTIAL

POWER_BITS, POWER_STEP_BITS, SEED_BITS = 22, 13, 16
_HEAD = """\
// SPDX-License-Identifier: Apache-2.0
// {what}
// Rendered by templates/npu/tables_package.py; edit that file, not this one.

/* verilator lint_off UNUSEDPARAM */
package {name};
"""
_TAIL = """\
endpackage
/* verilator lint_on UNUSEDPARAM */
"""


def render_power_package() -> str:
    """Powers of 1/2 and the steps between them, entry 0 lowest."""
    head = _HEAD.format(name="npu_power_pkg", what="Powers of 1/2 for npu_power.")
    steps = EXPONENTIAL[:-1] - EXPONENTIAL[1:]
    entries = _table("ENTRIES", POWER_BITS, EXPONENTIAL[:-1])
    return head + entries + _table("STEPS", POWER_STEP_BITS, steps) + _TAIL


def render_root_package() -> str:
    """First guesses of a reciprocal root, entry 0 lowest."""
    what = "First guesses of reciprocal roots for npu_root."
    return _HEAD.format(name="npu_root_pkg", what=what) + _table("SEEDS", SEED_BITS, SEED) + _TAIL


def _table(name: str, bits: int, values: np.ndarray) -> str:
    """One packed constant of `values`, six to a line."""
    numbers = [f"{bits}'d{value}" for value in values.tolist()[::-1]]
    lines = [", ".join(numbers[first : first + 6]) for first in range(0, len(numbers), 6)]
    body = ",\n    ".join(lines)
    return f"  localparam logic [{bits * len(numbers) - 1}:0] {name} = {{\n    {body}\n  }};\n"
