"""The clock that the npu reaches on a Lattice ECP5: writes the table in docs/clock.md.

Each npu of `SIZES` is synthesised once and placed and routed once a seed: minutes each.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from intaglio.hw.place import Placement, place, synthesise
from intaglio.hw.sources import rtl_sources
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import TOP, render_top

PAGE = Path(__file__).resolve().parents[1] / "docs" / "clock.md"
START, END = "<!-- clocks: made by benchmarks/place.py -->", "<!-- end of clocks -->"
TARGET_MHZ = 140.0
SIZES = {
    "4 x 4": (4, 4, 16, 16, 8),
    "8 x 8": (8, 8, 32, 32, 16),
}
"""Lanes, bytes of memory a cycle, KiB of activations, of weights, of accumulators."""
BEFORE_MHZ: dict[str, float] = {"4 x 4": 68.6}
"""What the same command measured before the paths of docs/clock.md were shortened."""
COLUMNS = (
    "array", "seed", "clock before, MHz", "clock, MHz", "LUT", "FF", "18 x 18 multipliers",
    "18 kbit RAM", "slowest path: cells + wires, ns", "from, through, to",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One npu placed with one seed."""

    name: str
    placed: Placement

    def __str__(self) -> str:
        placed, before = self.placed, BEFORE_MHZ.get(self.name)
        cells = (
            self.name, placed.seed, "" if before is None else f"{before:.1f}",
            f"{placed.clock_mhz:.1f}", f"{placed.luts:,}", f"{placed.flip_flops:,}",
            placed.multipliers, placed.block_rams,
            f"{placed.logic_ns:.1f} + {placed.routing_ns:.1f}",
            ", ".join(f"`{name}`" for name in placed.path),
        )  # fmt: skip
        return f"| {' | '.join(map(str, cells))} |"


def design_of(sizes: tuple[int, ...]) -> NpuDesign:
    """The npu of one entry of `SIZES`: square, without row engines."""
    lanes, memory, activations, weights, accumulators = sizes
    return NpuDesign(
        rows=lanes,
        cols=lanes,
        lanes=lanes,
        vector_lanes=lanes,
        memory_bytes_per_cycle=memory,
        activation_buffer_kib=activations,
        weight_buffer_kib=weights,
        accumulator_buffer_kib=accumulators,
    )


def measure(name: str, seeds: Sequence[int]) -> list[Row]:
    """The npu called `name`, placed once a seed."""
    files = rtl_sources("npu")
    core = next(path for path in files if path.stem == "npu_top").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / f"{TOP}.sv"
        top.write_text(render_top(core, design_of(SIZES[name])), encoding="utf-8")
        netlist = synthesise((*files, top), TOP, Path(folder))
        return [Row(name, place(netlist, seed, TARGET_MHZ)) for seed in seeds]


def page(text: str, rows: Sequence[Row]) -> str:
    """`text` with the table between its marks replaced."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    table = (f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS), *map(str, rows))
    return "\n".join((f"{before}{START}", "", *table, "", f"{END}{after}"))


def main() -> int:
    """Place the npus asked for; the page is written when that is all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SIZES, help="one npu alone; leaves the page as it is")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="of nextpnr's placer")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rows = []
    for name in [options.only] if options.only else SIZES:
        rows += measure(name, options.seeds)
    if options.json:
        print(json.dumps({"rows": [{"array": row.name, **asdict(row.placed)} for row in rows]}))
    else:
        print(*rows, sep="\n")
    if not options.only:
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
