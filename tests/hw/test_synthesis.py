"""The whole npu through Yosys: scratchpads become block RAM, queues small RAM, nothing a latch."""

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
