"""The registry of template families."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from intaglio.errors import UsageError
from intaglio.templates import template as module
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.program import Program
from intaglio.templates.template import NpuTemplate, find_template
from tests.compiler.builders import every_operator


def test_the_npu_does_everything_a_template_does(tmp_path: Path) -> None:
    npu = find_template("npu")
    workload = every_operator()
    design = npu.design(None)
    assert design == NpuDesign()
    assert [npu.supports(op, workload, design) for op in workload] == [None] * len(workload.ops)
    program = npu.schedule(workload, design)
    assert isinstance(program, Program)
    assert Path("rtl/files.f") in npu.emit(program, tmp_path / "out")


def test_a_design_comes_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text("rows = 8\ncols = 8\nmemory_bytes_per_cycle = 8\n")
    design = NpuTemplate().design(tmp_path / "tiny.toml")
    assert (design.name, design.lanes) == ("tiny", 8)


@pytest.mark.parametrize(
    ("name", "hint"), [("mpu", "did you mean 'npu'?"), ("systolic", "known are npu")]
)
def test_an_unknown_template(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_template(name)
    assert str(caught.value) == f"unknown template '{name}'; {hint}"


def test_another_package_adds_a_template(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("mine", f"{__name__}:OTHER", module.ENTRY_POINTS)
    monkeypatch.setattr(module, "entry_points", lambda group: (point,))
    monkeypatch.setattr(EntryPoint, "load", lambda self: OTHER)
    assert find_template("mine") is OTHER


OTHER = NpuTemplate("mine")
