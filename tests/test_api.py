"""The Python interface where the command line does not reach."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import intaglio
from intaglio.compiler.calibration import Observer
from intaglio.errors import UsageError
from tests.nets import tiny


def test_without_an_output_a_temporary_folder_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module, inputs = tiny()
    artifact = intaglio.compile(module, inputs)
    assert artifact.directory.is_relative_to(tmp_path)
    assert artifact.directory.name == "Tiny"
    assert intaglio.Artifact.open(artifact.directory).workload.ops == artifact.workload.ops


def test_an_artifact_says_how_it_was_made(tmp_path: Path) -> None:
    module, inputs = tiny()
    images = np.random.default_rng(0).standard_normal((3, 3, 8, 8), np.float32)
    artifact = intaglio.compile(
        module, inputs, calibration={"images": images}, output=tmp_path / "out", seed=7
    )
    assert artifact.info["calibration_images"] == 3
    assert artifact.info["seed"] == 7
    versions = artifact.info["versions"]
    assert isinstance(versions, dict)
    assert versions["intaglio"] == intaglio.__version__


def test_every_observer_compiles(tmp_path: Path) -> None:
    module, inputs = tiny()
    images = np.random.default_rng(0).standard_normal((4, 3, 8, 8), np.float32)
    scales = {}
    for observer in get_args(Observer):
        method = intaglio.Method(observer, percentile=90)
        data = {"images": images}
        folder = tmp_path / observer
        artifact = intaglio.compile(module, inputs, calibration=data, method=method, output=folder)
        scales[observer] = artifact.workload.tensor("images").scale
    assert scales["percentile"] < scales["mse"] <= scales["minmax"]
    assert scales["percentile"] == pytest.approx(np.quantile(np.abs(images), 0.9) / 127, rel=0.02)


def test_a_failing_compile_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module, inputs = tiny()
    small = intaglio.NpuDesign(rows=64, cols=64, lanes=64, vector_lanes=64, weight_buffer_kib=1)
    with pytest.raises(intaglio.DesignError):
        intaglio.compile(module, inputs, design=small)
    assert list(tmp_path.iterdir()) == []


def test_progress_names_the_steps(tmp_path: Path) -> None:
    steps: list[str] = []
    module, inputs = tiny()
    intaglio.compile(
        module,
        inputs,
        output=tmp_path / "out",
        progress=lambda step, done, total: steps.append(step),
    )
    assert list(dict.fromkeys(steps)) == ["capture", "calibrate", "lower", "schedule"]


def test_an_unknown_template_is_refused() -> None:
    with pytest.raises(UsageError, match="^unknown template 'nqu'; did you mean 'npu'?"):
        intaglio.check(*tiny(), template="nqu")
