"""The emitted files are accepted, without a warning, by all tools; and the tools do look."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from intaglio.errors import ToolError, UsageError
from intaglio.hw.lint import Linter, lint, missing
from intaglio.hw.sources import rtl_sources

LEGAL = """module half #(parameter int Width = 4) (input logic [Width-1:0] a_i, output logic b_o);
  assign b_o = ^a_i;
endmodule
"""
BROKEN = {
    "a missing semicolon": LEGAL.replace("^a_i;", "^a_i"),
    "an unknown module": LEGAL.replace("assign b_o = ^a_i;", "absent u_absent (.a(a_i), .b(b_o));"),
}
DOUBTFUL = {
    Linter.VERILATOR: LEGAL.replace("^a_i", "a_i[0]"),
    Linter.ICARUS: LEGAL.replace("^a_i", "^half.a_i[9:8]"),
    Linter.YOSYS: LEGAL.replace("^a_i", "^a_i & b_o"),
}
"""Legal text with a mistake in it that the tool finds: an unused input, bits that are not there, a
combinational loop."""

SIZES = [
    (lanes, groups, mem_bytes)
    for lanes in (4, 16, 32)
    for groups in (1, 2, 4)
    for mem_bytes in (4, 8, 16, 32)
    if mem_bytes <= lanes and lanes * groups <= 64
]


def _require(linter: Linter) -> None:
    reason = missing(linter)
    if reason is not None:
        pytest.skip(reason)


def _write(folder: Path, text: str) -> tuple[Path, ...]:
    path = folder / "half.sv"
    path.write_text(text)
    return (path,)


def _parameters(lanes: int, groups: int, mem_bytes: int) -> dict[str, int]:
    return {
        "Lanes": lanes,
        "Groups": groups,
        "ActWords": 256,
        "WeightWords": 1024,
        "AccWords": 64,
        "MemBytes": mem_bytes,
        "RowPipes": {1: 4, 2: 0, 4: 1}[groups],
        "WeightBits": {1: 2, 2: 4, 4: 8}[groups],
    }


@pytest.mark.rtl
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
@pytest.mark.parametrize("linter", [Linter.VERILATOR, Linter.ICARUS])
def test_npu_is_clean(linter: Linter, size: tuple[int, int, int]) -> None:
    _require(linter)
    assert lint(rtl_sources("npu"), "npu_top", _parameters(*size), [linter]) == ()


@pytest.mark.rtl
@pytest.mark.parametrize("size", [(4, 1, 4), (4, 4, 4), (16, 2, 8)], ids=str)
def test_npu_is_clean_in_yosys(size: tuple[int, int, int]) -> None:
    _require(Linter.YOSYS)
    assert lint(rtl_sources("npu"), "npu_top", _parameters(*size), [Linter.YOSYS]) == ()


def test_every_file_is_one_module_that_is_used() -> None:
    files = rtl_sources("npu")
    texts = {path.stem: path.read_text() for path in files}
    for name, text in texts.items():
        opened = [line.split()[1] for line in text.splitlines() if _opens_module(line)]
        assert [word.rstrip(";") for word in opened] == [name]
        used = any(re.search(rf"\b{name}(::| #| u_)", t) for n, t in texts.items() if n != name)
        assert used or name == "npu_top"
    assert files[0].stem == "npu_isa_pkg"


def test_every_file_begins_with_its_licence() -> None:
    line = "// SPDX-License-Identifier: Apache-2.0\n"
    assert [p.name for p in rtl_sources("npu") if not p.read_text().startswith(line)] == []


def _opens_module(line: str) -> bool:
    return line.startswith(("module ", "package "))


@pytest.mark.rtl
@pytest.mark.parametrize("linter", list(Linter))
@pytest.mark.parametrize("fault", BROKEN)
def test_an_error_is_a_finding(linter: Linter, fault: str, tmp_path: Path) -> None:
    _require(linter)
    assert lint(_write(tmp_path, BROKEN[fault]), "half", linters=[linter])


@pytest.mark.rtl
@pytest.mark.parametrize("linter", list(Linter))
def test_a_warning_is_a_finding(linter: Linter, tmp_path: Path) -> None:
    _require(linter)
    assert lint(_write(tmp_path, LEGAL), "half", {"Width": 8}, [linter]) == ()
    findings = lint(_write(tmp_path, DOUBTFUL[linter]), "half", {"Width": 8}, [linter])
    assert findings
    assert str(findings[0]).startswith(f"{linter}: ")


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolError) as caught:
        lint(_write(tmp_path, LEGAL), "half", linters=[Linter.ICARUS])
    assert str(caught.value) == "iverilog is not on PATH; run: apt-get install iverilog"


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        rtl_sources("gpu")
    assert str(caught.value) == "no RTL of family 'gpu'; known are npu"
