"""The area estimate against Yosys, and its coefficients: writes the table in docs/area.md.

Yosys maps the RTL of several npus to simple CMOS gates; memories are left whole and their bits
counted.  Nothing is flattened, so each module is mapped once however often it occurs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intaglio.hw.sources import rtl_sources
from intaglio.templates.npu.area import Area, estimate_area
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import parameters

PAGE = Path(__file__).parents[1] / "docs" / "area.md"
SECONDS = 900
TRANSISTORS = {
    "$_NOT_": 2,
    "$_NAND_": 4,
    "$_NOR_": 4,
    "$_AOI3_": 6,
    "$_OAI3_": 6,
    "$_AOI4_": 8,
    "$_OAI4_": 8,
    "$_NMUX_": 8,
    "$_MUX_": 10,
    "$_XOR_": 10,
    "$_XNOR_": 10,
}
"""Of each gate in static CMOS."""
RUN = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""
SIZES = (
    (4, 4, 1, 4, 16, 16, 8),
    (4, 8, 5, 4, 16, 16, 8),
    (8, 8, 1, 4, 16, 16, 16),
    (8, 8, 5, 8, 32, 32, 16),
    (8, 16, 8, 8, 32, 32, 16),
    (16, 16, 5, 16, 128, 64, 64),
    (16, 32, 3, 8, 64, 64, 64),
)
"""Rows, columns, columns of a window at once, bytes of memory a cycle, KiB of activations, of
weights, of accumulators."""
ENGINES = ((*SIZES[2], 2), (*SIZES[5], 4))
"""The same, and the elements of a row that engines of softmax and norms handle a cycle."""
HEADER = """# Area: the estimate against Yosys

`python benchmarks/area.py` wrote this table.  *Measured* is what Yosys maps the RTL to (CMOS gates,
transistors counted gate by gate, register bits, memory bits); *estimated* is `estimate_area`, of
which `intaglio search` makes kGE.  The least squares are over all npus without engines of rows but
the last.

"""


def design_of(sizes: tuple[int, ...]) -> NpuDesign:
    """The npu of one row of `SIZES` or `ENGINES`."""
    rows, cols, window_columns, memory, activations, weights, accumulators, *engines = sizes
    return NpuDesign(
        rows=rows,
        cols=cols,
        lanes=rows,
        vector_lanes=rows,
        window_columns=window_columns,
        row_lanes=sum(engines),
        memory_bytes_per_cycle=memory,
        activation_buffer_kib=activations,
        weight_buffer_kib=weights,
        accumulator_buffer_kib=accumulators,
    )


def synthesise(design: NpuDesign) -> Area:
    """What Yosys maps the RTL of `design` to."""
    chosen = " ".join(f"-chparam {name} {value}" for name, value in parameters(design).items())
    files = " ".join(f'"{path}"' for path in rtl_sources("npu"))
    with tempfile.TemporaryDirectory() as folder:
        memories, gates = Path(folder) / "memories.json", Path(folder) / "gates.json"
        passes = (
            f"read_verilog -sv {files}",
            f"hierarchy -check -top npu_top {chosen}",
            *("proc", "opt_expr", "opt_clean"),
            f"tee -q -o {memories} stat -json",
            *("opt -nodffe -nosdff", "fsm", "opt", "wreduce", "peepopt", "opt_clean", "alumacc"),
            *("share", "opt", "memory -nomap", "opt_clean", "opt -fast -full", "techmap"),
            *("opt -fast", "abc -g cmos", "opt_clean", f"tee -q -o {gates} stat -json"),
        )
        subprocess.run(
            [sys.executable, "-c", RUN, *passes], check=True, capture_output=True, timeout=SECONDS
        )
        bits = json.loads(memories.read_text())["design"]["num_memory_bits"]
        cells = json.loads(gates.read_text())["design"]["num_cells_by_type"]
    return Area(
        sum(TRANSISTORS.get(name, 0) * count for name, count in cells.items()),
        sum(count for name, count in cells.items() if "DFF" in name),
        bits,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """One npu: what Yosys found and what the estimate says."""

    design: NpuDesign
    measured: Area

    @property
    def estimated(self) -> Area:
        """The estimate for the same npu."""
        return estimate_area(self.design)

    def __str__(self) -> str:
        made, guess = self.measured, self.estimated
        design = self.design
        cells = (
            f"{design.rows} x {design.cols}",
            f"{design.window_columns}",
            f"{design.row_lanes}",
            f"{design.memory_bytes_per_cycle}",
            f"{made.logic_transistors:,}",
            f"{guess.logic_transistors / made.logic_transistors - 1:+.1%}",
            f"{made.register_bits:,}",
            f"{guess.register_bits / made.register_bits - 1:+.1%}",
            f"{made.memory_bits:,}",
            f"{guess.memory_bits / made.memory_bits - 1:+.1%}",
            f"{made.kge:,.0f}",
            f"{guess.kge:,.0f}",
            f"{guess.kge / made.kge - 1:+.1%}",
        )
        return f"| {' | '.join(cells)} |"


def fit(rows: list[Row], values: list[int]) -> list[float]:
    """Coefficients that meet `values` with least relative error.

    They are those of the array's multipliers, the window's, the rows and 1.
    """
    designs = [row.design for row in rows]
    terms = np.array([[d.multipliers, d.window_multipliers, d.rows, 1.0] for d in designs])
    scale = np.array(values, np.float64)
    found = np.linalg.lstsq(terms / scale[:, None], np.ones(len(rows)), rcond=None)[0]
    return [float(value) for value in found]


def page(rows: list[Row]) -> str:
    """The text of docs/area.md."""
    columns = (
        "array", "window columns", "row lanes", "memory, bytes a cycle",
        "transistors of logic, measured", "estimate is off by", "register bits, measured",
        "estimate is off by", "memory bits, measured", "estimate is off by", "kGE, measured",
        "kGE, estimated", "estimate is off by",
    )  # fmt: skip
    table = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns), *map(str, rows)]
    fitted = [row for row in rows if not row.design.row_lanes][:-1]
    logic = fit(fitted, [row.measured.logic_transistors for row in fitted])
    registers = fit(fitted, [row.measured.register_bits for row in fitted])
    sentences = [
        f"{what} = {a:.0f} * multipliers + {b:.0f} * window_multipliers + {c:.0f} * rows + {d:.0f}"
        for what, (a, b, c, d) in (("transistors of logic", logic), ("register bits", registers))
    ]
    return HEADER + "\n".join(
        [*table, "", "Least squares:", "", *(f"- {s}" for s in sentences), ""]
    )


def main() -> None:
    """Synthesise every npu of `SIZES` and `ENGINES`, and write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    designs = [design_of(sizes) for sizes in SIZES + ENGINES]
    PAGE.write_text(page([Row(design, synthesise(design)) for design in designs]), encoding="utf-8")


if __name__ == "__main__":
    main()
