"""The whole path with operators on the host: check, compile, simulate, verify, report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import intaglio
from intaglio import cli
from tests.compiler.models import line_of
from tests.nets import Shuffled, shuffled, transformer
from tests.test_tiny import DESIGN

MODEL = f"{Path(__file__).with_name('nets.py')}:shuffled"
HOSTED = ["permute", "reshape_2", "mul"]
HOST = "add --allow-host to run it on the host"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Artifact:
    module, inputs = shuffled()
    folder = tmp_path_factory.mktemp("shuffled") / "artifact"
    return intaglio.compile(
        module, inputs, design=DESIGN, output=folder, name="shuffled", allow_host=True
    )


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON answer of a command line."""
    code = cli.main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_check_refuses_what_only_the_host_runs(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run(capsys, "check", MODEL)
    assert (code, answer["ok"], answer["refused"], answer["host"]) == (1, False, 2, 0)
    refused = {node["target"]: node for node in answer["nodes"] if node["status"] == "refused"}
    assert refused["permute"]["reason"] == "permute: the npu has no instruction for Transpose"
    assert refused["mul"]["way_out"] == HOST


def test_check_lists_and_prices_what_the_host_may_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run(capsys, "check", MODEL, "--allow-host")
    assert (code, answer["ok"], answer["refused"], answer["host"]) == (0, True, 0, 3)
    assert answer["mapped"] + answer["folded"] + answer["host"] == len(answer["nodes"])
    hosted = {node["target"]: node for node in answer["nodes"] if node["status"] == "host"}
    assert list(hosted) == HOSTED
    assert (hosted["mul"]["macs"], hosted["mul"]["elements"]) == (0, 8 * 8 * 8)
    assert cli.main(["check", MODEL, "--allow-host"]) == 0
    assert capsys.readouterr().out.endswith(" nodes on the host, all others mapped\n")


def test_compile_needs_leave(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, answer = run(capsys, "compile", MODEL, "-o", tmp_path / "out")
    line = line_of(Shuffled.forward, "transpose")
    assert code == 1
    assert answer["error"] == {
        "kind": "UnsupportedError",
        "message": f"permute ({line}): the npu has no instruction for Transpose; {HOST} (1 more: "
        "run `intaglio check`)",
    }
    assert list(tmp_path.iterdir()) == []


def test_compile_says_what_is_on_the_host(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, answer = run(capsys, "compile", MODEL, "--allow-host", "-o", tmp_path / "out")
    assert code == 0
    assert (answer["segments"], answer["host_operators"]) == (3, HOSTED)
    line = ["compile", MODEL, "--allow-host", "-o", str(tmp_path / "out"), "--force"]
    assert cli.main(line) == 0
    assert " bytes of memory, 3 operators on the host, calibrated " in capsys.readouterr().out


def test_report_says_why_an_operator_is_on_the_host(
    capsys: pytest.CaptureFixture[str], artifact: intaglio.Artifact
) -> None:
    code, answer = run(capsys, "report", artifact.directory)
    assert code == 0
    rows = {row["name"]: row for row in answer["layers"]}
    assert [name for name, row in rows.items() if row["on"] == "host"] == HOSTED
    assert rows["mul"]["reason"] == "mul: the npu has no instruction for Multiply"
    assert rows["mul"]["cycles_simulated"] is None
    assert cli.main(["report", str(artifact.directory)]) == 0
    text = capsys.readouterr().out
    assert "on the host (time measured by intaglio verify --host):\n" in text
    line = f"{'-':>10s} us for 512 elements of mul: the npu has no instruction for Multiply\n"
    assert line in text


@pytest.mark.rtl
def test_every_segment_is_proven(
    capsys: pytest.CaptureFixture[str], artifact: intaglio.Artifact, tmp_path: Path
) -> None:
    folder = artifact.directory
    code, simulated = run(capsys, "simulate", folder, "--trace", tmp_path / "trace.json")
    assert code == 0
    assert [row["name"] for row in simulated["layers"] if row["cycles"] is None] == HOSTED
    code, proven = run(capsys, "verify", folder, "--images", "2", "--host")
    assert (code, proven["mismatches"], proven["host_operators"]) == (0, 0, HOSTED)
    assert proven["cycles_simulated"] == simulated["cycles"]
    assert [part["index"] for part in proven["segments"]] == [0, 2, 4]
    assert [kernel["name"] for kernel in proven["host_kernels"]] == HOSTED
    assert {kernel["mismatches"] for kernel in proven["host_kernels"]} == {0}
    summary = intaglio.summarise(artifact)
    assert summary.verified is not None
    assert summary.verified.cycles == proven["cycles_rtl"]
    assert all(row.cycles_rtl is not None for row in summary.layers)
    for row, kernel in zip(summary.hosted, proven["host_kernels"], strict=True):
        assert row.microseconds == kernel["microseconds"] > 0
        assert f"{row.microseconds:10.1f} us for {row.elements} elements of {row.name}: " in (
            str(summary)
        )


@pytest.mark.rtl
def test_a_transformer_is_proven_segment_by_segment(tmp_path: Path) -> None:
    module, inputs = transformer()
    made = intaglio.compile(
        module, inputs, design=DESIGN, output=tmp_path / "out", name="transformer", allow_host=True
    )
    hosted = {type(op).__name__ for op in made.deployment.partition.hosted}
    assert {"Softmax", "Norm", "BatchMatMul", "Transpose"} <= hosted
    layers = {layer.name for program in made.deployment.programs for layer in program.layers}
    assert {"patch", "qkv", "up", "head"} <= layers
    report = intaglio.verify(made, images=2, seed=5, host=True)
    assert report.passed, str(report)
    assert len(report.kernels) == len(made.deployment.partition.hosted)
