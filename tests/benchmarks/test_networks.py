"""The table of networks: a row is measured, and the page changes only between its markers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import networks


def test_a_row_is_measured(tmp_path: Path) -> None:
    row = networks.measure(networks.NETWORKS[0], tmp_path / "lenet5")
    assert (row.mapped, row.hosted, row.refused) == (13, 0, 0)
    assert row.macs == row.npu_macs == 416520
    assert 0.99 < row.cosine <= 1
    assert row.engine == "reference"
    assert row.cells()[1] == "13 / 0 / 0"


def test_one_network_alone_leaves_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = networks.Row("ResNet-8", 20, 0, 0, 100, 100, 0.99, "tvm", 7)
    monkeypatch.setattr(
        networks, "measure", lambda network, folder: replace(row, name=network.name)
    )
    monkeypatch.setattr(networks, "write", None)
    monkeypatch.setattr("sys.argv", ["networks.py", "--only", "ResNet-8"])
    assert networks.main() == 0
    assert capsys.readouterr().out == (
        f"{networks.table([row])}\nResNet-8: integers computed by: compiled kernels\n"
    )


def test_only_the_table_changes(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{networks.BEGIN}old\n{networks.END}after\n")
    networks.write("| new |\n", page=page)
    assert page.read_text() == f"before\n{networks.BEGIN}\n| new |\n\n{networks.END}after\n"


def test_the_readme_has_room_for_the_table() -> None:
    text = networks.PAGE.read_text()
    assert text.index(networks.BEGIN) < text.index(networks.END)
