"""The whole path with islands of floats on the host: check, compile, verify, report, accuracy."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import intaglio
from intaglio import cli
from tests.nets import ordered
from tests.test_tiny import DESIGN

MODEL = f"{Path(__file__).with_name('nets.py')}:ordered"
HOSTED = ["sort", "sort_2"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Artifact:
    module, inputs = ordered()
    folder = tmp_path_factory.mktemp("ordered") / "artifact"
    return intaglio.compile(
        module, inputs, design=DESIGN, output=folder, name="ordered", allow_host=True
    )


def run(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, dict[str, Any]]:
    """Exit code and JSON answer of a command line."""
    code = cli.main([*map(str, words), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_check_says_what_leave_would_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run(capsys, "check", MODEL)
    assert code == 1
    (change,) = answer["changes"]
    assert (change["nodes"][0], change["what"]) == ("sort", "add --allow-host")
    code, answer = run(capsys, "check", MODEL, "--allow-host")
    assert (code, answer["refused"]) == (0, 0)
    targets = {node["target"] for node in answer["nodes"] if node["status"] == "host"}
    assert targets == set(HOSTED)


def test_the_c_program_leaves_islands_to_the_system(artifact: intaglio.Artifact) -> None:
    folder = artifact.directory / "host"
    header = (folder / "network.h").read_text()
    assert "void host_op_sort(const uint8_t *x0, int8_t *y);" in header
    assert "   %1 = sort.stable(%0, stable=True, dim=1, descending=False)\n" in header
    assert "void host_op_sort_2(const int8_t *x0, float *y);" in header
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    made = subprocess.run(
        ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-c", "network.c"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    symbols = subprocess.run(["nm", "network.o"], cwd=folder, capture_output=True, text=True)
    (folder / "network.o").unlink()
    assert " U host_op_sort\n" in symbols.stdout


def test_accuracy_runs_islands_too(artifact: intaglio.Artifact) -> None:
    module, _ = ordered()
    data = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = module(data).numpy()
    found = intaglio.accuracy(artifact, {"images": data.numpy()}, reference=wanted)
    assert found.closeness is not None
    assert found.closeness.decibels > 25


@pytest.mark.rtl
def test_segments_between_islands_are_proven(
    capsys: pytest.CaptureFixture[str], artifact: intaglio.Artifact
) -> None:
    pytest.importorskip("tvm", reason="needs the extra tvm")
    folder = artifact.directory
    code, simulated = run(capsys, "simulate", folder)
    assert code == 0
    assert [row["name"] for row in simulated["layers"] if row["cycles"] is None] == HOSTED
    code, proven = run(capsys, "verify", folder, "--images", "2", "--host")
    assert (code, proven["mismatches"], proven["host_operators"]) == (0, 0, HOSTED)
    assert [part["index"] for part in proven["segments"]] == [0, 2]
    assert proven["cycles_simulated"] == simulated["cycles"]
    for kernel in proven["host_kernels"]:
        assert (kernel["mismatches"], kernel["microseconds"] > 0) == (0, True)
    code, answer = run(capsys, "report", folder)
    assert answer["verified"]["host_machine"] == proven["host_machine"] != ""
    assert cli.main(["report", str(folder)]) == 0
    text = capsys.readouterr().out
    assert f"on the host (time measured on {proven['host_machine']}):\n" in text
    assert (
        " us for 512 elements of sort: sort has no integer form (2 calls together in float32); "
        in text
    )


def test_what_was_saved_computes_the_same(artifact: intaglio.Artifact) -> None:
    again = intaglio.Artifact.open(artifact.directory)
    assert again.workload.ops == artifact.workload.ops
    assert np.array_equal(
        again.workload.constants["fc.weight"], artifact.workload.constants["fc.weight"]
    )
