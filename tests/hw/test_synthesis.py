"""The whole npu through Yosys: scratchpads become block RAM, queues small RAM, nothing a latch, and
no input reaches an output within a cycle.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from intaglio.hw.lint import Linter, missing
from intaglio.hw.sources import rtl_sources

KIB = 1024
LANES = 4
BUFFER_KIB = 64
"""Of each of the three buffers."""
RAMB18_BITS = 18 * KIB
QUEUES = 32
"""Half block RAMs that may hold something else than a buffer, or be partly used."""
SCRIPT = """
import sys
from pyosys import libyosys
design = libyosys.Design()
for command in sys.argv[1:]:
    libyosys.run_pass(command, design)
"""


@pytest.mark.rtl
@pytest.mark.slow
def test_memories_are_inferred(tmp_path: Path) -> None:
    reason = missing(Linter.YOSYS)
    if reason is not None:
        pytest.skip(reason)
    sizes = {
        "Lanes": LANES,
        "Groups": 1,
        "MemBytes": LANES,
        "ActWords": BUFFER_KIB * KIB // LANES,
        "WeightWords": BUFFER_KIB * KIB // LANES,
        "AccWords": BUFFER_KIB * KIB // (8 * LANES),
    }
    chosen = " ".join(f"-chparam {name} {value}" for name, value in sizes.items())
    files = " ".join(f'"{path}"' for path in rtl_sources("npu"))
    report = tmp_path / "stat.json"
    passes = (
        f"read_verilog -sv {files}",
        f"hierarchy -check -top npu_top {chosen}",
        "synth_xilinx -family xcup -top npu_top -flatten -run begin:map_luts",
        f"tee -q -o {report} stat -json",
    )
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *passes], check=True, capture_output=True, timeout=500
    )
    cells = json.loads(report.read_text())["design"]["num_cells_by_type"]
    halves = 2 * cells.get("RAMB36E2", 0) + cells.get("RAMB18E2", 0)
    wanted = 3 * BUFFER_KIB * KIB * 8 // RAMB18_BITS
    assert wanted <= halves <= wanted + QUEUES
    flip_flops = sum(count for name, count in cells.items() if name.startswith("FD"))
    assert 1_000 < flip_flops < 20_000
    assert not [name for name in cells if "LATCH" in name.upper() or name.startswith("LD")]


REGISTERS = ("dff", "dffe", "sdff", "sdffe", "sdffce", "memwr_v2", "memrd_v2", "mem_v2")
WIRE = """
module wire_top (input logic clk_i, input logic rst_ni, input logic in_i, output logic out_o);
  logic held_q;
  always_ff @(posedge clk_i) held_q <= in_i;
  assign out_o = held_q ^ (in_i && rst_ni);
endmodule
"""


def reached(files: list[Path], top: str, sizes: dict[str, int], folder: Path) -> list[str]:
    """Outputs of `top` that inputs other than clock and reset reach through no register."""
    quoted = " ".join(f'"{path}"' for path in files)
    chosen = " ".join(f"-chparam {name} {value}" for name, value in sizes.items())
    cone = "%co*:-" + ",".join(f"${name}" for name in REGISTERS)
    found = folder / "outputs.txt"
    passes = (
        f"read_verilog -sv {quoted}",
        f"hierarchy -check -top {top} {chosen}",
        *("proc", "flatten", "opt -fast", "opt_clean"),
        f"tee -q -o {found} select -list i:* i:clk_i %d i:rst_ni %d {cone} o:* %i",
    )
    subprocess.run(
        [sys.executable, "-c", SCRIPT, *passes], check=True, capture_output=True, timeout=500
    )
    return found.read_text().split()


@pytest.mark.rtl
def test_no_input_reaches_an_output_within_a_cycle(tmp_path: Path) -> None:
    reason = missing(Linter.YOSYS)
    if reason is not None:
        pytest.skip(reason)
    sizes = {"Lanes": 4, "MemBytes": 4, "ActWords": 128, "WeightWords": 64, "AccWords": 16}
    assert reached(list(rtl_sources("npu")), "npu_top", sizes, tmp_path) == []
    wire = tmp_path / "wire_top.sv"
    wire.write_text(WIRE)
    assert reached([wire], "wire_top", {}, tmp_path) == ["wire_top/out_o"]
