"""The whole path on one small network: check, compile, simulate, verify, report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import intaglio
from intaglio import cli
from intaglio.compiler import reference
from tests.nets import tiny

DESIGN = intaglio.NpuDesign(
    name="small",
    rows=8,
    cols=8,
    lanes=8,
    vector_lanes=8,
    activation_buffer_kib=4,
    weight_buffer_kib=4,
    accumulator_buffer_kib=2,
    memory_bytes_per_cycle=8,
)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Artifact:
    module, inputs = tiny()
    folder = tmp_path_factory.mktemp("tiny") / "artifact"
    return intaglio.compile(module, inputs, design=DESIGN, output=folder, name="tiny")


def test_check_maps_every_node() -> None:
    assert intaglio.check(*tiny(), design=DESIGN).ok


def test_the_integer_network_follows_the_float_one(artifact: intaglio.Artifact) -> None:
    module, (images,) = tiny()
    workload = artifact.workload
    integers = reference.quantise_inputs(workload, {"images": images.numpy()})
    outputs = reference.dequantise_outputs(workload, reference.run(workload, integers))
    with torch.no_grad():
        expected = module(images).numpy()
    (found,) = outputs.values()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_simulated_layers_sum_to_the_whole(artifact: intaglio.Artifact) -> None:
    trace = intaglio.simulate(artifact)
    assert [layer.name for layer in trace.layers] == ["conv1", "conv2 + pool", "fc"]
    assert 0 < sum(layer.cycles for layer in trace.layers) <= trace.cycles


@pytest.mark.rtl
def test_the_rtl_computes_every_word(artifact: intaglio.Artifact) -> None:
    found = intaglio.verify(artifact, images=2, seed=3)
    words = {"conv1": 8 * 8, "conv2": 8 * 8, "pool": 4 * 4, "fc": 1}
    assert found.passed
    assert found.words_compared == 2 * sum(words.values())
    assert [layer.name for layer in found.layers] == ["conv1", "conv2 + pool", "fc"]
    summary = intaglio.summarise(artifact)
    assert summary.verified is not None
    assert summary.verified.words_compared == found.words_compared
    assert f"{found.words_compared} words compared over 2 images, all equal" in str(summary)


@pytest.mark.rtl
def test_the_command_line_goes_the_same_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "artifact")
    design = tmp_path / "small.toml"
    values = {key: value for key, value in DESIGN.to_dict().items() if key != "name"}
    design.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    model = f"{Path(__file__).with_name('nets.py')}:tiny"
    answers = {}
    for line in (
        ("compile", model, "--design", str(design), "-o", folder),
        ("simulate", folder, "--trace", str(tmp_path / "trace.json")),
        ("verify", folder),
        ("report", folder),
    ):
        assert cli.main([*line, "--json"]) == 0
        answers[line[0]] = json.loads(capsys.readouterr().out)
    assert answers["verify"]["mismatches"] == 0
    assert answers["verify"]["cycles_simulated"] == answers["simulate"]["cycles"]
    assert answers["report"]["verified"]["cycles_rtl"] == answers["verify"]["cycles_rtl"]
    assert {"name", "op", "cycles", "macs", "utilisation"} <= answers["simulate"]["layers"][
        0
    ].keys()
    assert json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
