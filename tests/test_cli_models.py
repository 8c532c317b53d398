"""Verbs that take a model: their answers, errors and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from intaglio.templates import artifact as artifacts
from intaglio.templates.artifact import Artifact
from tests.shell import NETS, TINY, Shell

KNOWN_FORMS = "file.py:callable, package.module:callable, archive.pt2 or model.onnx"


def write_design(folder: Path, text: str) -> Path:
    path = folder / "design.toml"
    path.write_text(text)
    return path


def test_check_lists_every_node(shell: Shell) -> None:
    code, answer = shell.json("check", TINY)
    assert code == 0
    assert answer["refused"] == 0
    assert {node["status"] for node in answer["nodes"]} == {"mapped", "folded"}
    code, out, _ = shell("check", TINY)
    assert code == 0
    assert out.endswith(f"tiny: all {len(answer['nodes'])} nodes mapped\n")


def test_check_exits_1_when_a_node_is_refused(shell: Shell) -> None:
    code, answer = shell.json("check", f"{NETS}:running")
    assert code == 1
    refused = [node for node in answer["nodes"] if node["status"] == "refused"]
    assert [node["operation"] for node in refused] == ["cumprod.default"]
    assert "return torch.cumprod(self.conv(images), 1)" in refused[0]["line"]


def test_a_batch_of_example_inputs_is_refused(shell: Shell, tmp_path: Path) -> None:
    model = tmp_path / "batch.py"
    model.write_text(
        "import torch\n"
        "def net():\n"
        "    return torch.nn.Conv2d(3, 4, 1).eval(), torch.zeros(4, 3, 8, 8)\n"
    )
    assert shell.refusal("check", f"{model}:net") == (
        1,
        "input 'input' has shape (4, 3, 8, 8); give example inputs of batch 1, as in (1, "
        "channels, height, width) (calibration data may hold many images)",
    )


def test_compile_refuses_what_check_refuses(shell: Shell, tmp_path: Path) -> None:
    code, sentence = shell.refusal("compile", f"{NETS}:running", "-o", tmp_path / "out")
    assert code == 1
    assert sentence.startswith("cumprod (nets.py:")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("tests/nets.py", f"MODEL 'tests/nets.py' has no known form; give {KNOWN_FORMS}"),
        ("nowhere.py:net", "nowhere.py: there is no such file; give the path of a Python file"),
        (f"{NETS}:tinny", f"{NETS}: has no callable 'tinny'; did you mean 'tiny'?"),
        (
            f"{NETS}:not_a_pair",
            "not_a_pair() returned the module Tiny without example inputs; return (module, "
            "example_inputs), a torch.nn.Module and a tuple of tensors",
        ),
        (
            f"{NETS}:Tiny",
            f"{NETS}: 'Tiny' is a torch.nn.Module class, not a function; define a function that "
            "returns (Tiny().eval(), example_inputs) and name it",
        ),
    ],
)
def test_a_wrong_model_is_wrong_usage(shell: Shell, model: str, sentence: str) -> None:
    assert shell.refusal("check", model) == (2, sentence)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("row = 8\n", "{path}: unknown key 'row'; did you mean 'rows'?"),
        ("rows = 7\n", "{path}: rows is 7, legal is 4 or 8 or 16 or 32 or 64"),
        ("rows = 'seven'\n", "{path}: rows is 'seven', legal is a whole number"),
        ("rows = \n", "design file '{path}' is not TOML: Invalid value (at line 1, column 8)"),
    ],
)
def test_a_wrong_design_file_is_wrong_usage(
    shell: Shell, tmp_path: Path, text: str, sentence: str
) -> None:
    path = write_design(tmp_path, text)
    assert shell.refusal("check", TINY, "--design", path) == (2, sentence.format(path=path))


def test_a_design_that_is_not_there_is_wrong_usage(shell: Shell) -> None:
    expected = (2, "cannot read design file 'none.toml': No such file or directory")
    assert shell.refusal("check", TINY, "--design", "none.toml") == expected


def test_a_design_that_cannot_hold_a_tile_is_refused(shell: Shell, tmp_path: Path) -> None:
    path = write_design(tmp_path, "rows = 64\ncols = 64\nweight_buffer_kib = 1\n")
    sentence = (
        "conv1: one tile needs 4864 bytes of the weight buffer, which holds 1024; raise "
        "weight_buffer_kib to 8, or add --allow-host to run it on the host"
    )
    line = ("compile", TINY, "--design", path, "-o", tmp_path / "out")
    located = sentence.replace(
        "conv1:", "conv1 (nets.py:23: x = torch.relu(self.bn1(self.conv1(images)))):"
    )
    assert shell.refusal(*line) == (1, f"{located} (2 more: run `intaglio check`)")
    assert not (tmp_path / "out").exists()
    code, out, _ = shell("check", TINY, "--design", path)
    assert code == 1
    assert sentence in out


def test_an_unknown_template_is_wrong_usage(shell: Shell) -> None:
    expected = (2, "unknown template 'npv'; did you mean 'npu'?")
    assert shell.refusal("check", TINY, "--template", "npv") == expected


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        *(
            (
                bits,
                f"--bits is '{bits}', expected two or three numbers as in --bits 8,8 or "
                "--bits 8,8,16 (weights, activations, wide values)",
            )
            for bits in ("8", "8,x", "8,8,8,8")
        ),
        ("8,8,17", "wide precision of 17 bits is outside 2 to 16; choose 2 to 16"),
        ("9,8", "weight precision of 9 bits is outside 1 to 8; choose 1 to 8"),
    ],
)
def test_wrong_bits_are_wrong_usage(shell: Shell, bits: str, sentence: str) -> None:
    assert shell.refusal("check", TINY, "--bits", bits) == (2, sentence)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"images": np.zeros((2, 3, 9, 8), np.float32)},
            "calibration input 'images' has shape (2, 3, 9, 8), the model takes (images, 3, 8, 8); "
            "reshape it, with at least one image along axis 0",
        ),
        (
            {"images": np.full((2, 3, 8, 8), np.nan, np.float32)},
            "calibration input 'images' holds NaN or infinity in image 0; remove or repair that "
            "image",
        ),
        (
            {"image": np.zeros((2, 3, 8, 8), np.float32)},
            "calibration key 'image' is no input of the model; did you mean 'images'?",
        ),
    ],
)
def test_wrong_calibration_is_refused(
    shell: Shell, tmp_path: Path, arrays: dict[str, np.ndarray], sentence: str
) -> None:
    np.savez(tmp_path / "data.npz", **arrays)  # type: ignore[arg-type]
    line = ("compile", TINY, "--calibration", tmp_path / "data.npz", "-o", tmp_path / "out")
    assert shell.refusal(*line) == (1, sentence)
    assert not (tmp_path / "out").exists()


def test_an_observer_that_does_not_exist(shell: Shell, tmp_path: Path) -> None:
    asked = ("compile", TINY, "-o", tmp_path / "out", "--observer", "mean")
    assert shell.refusal(*asked) == (
        2,
        "'mean' is no observer; choose one of minmax, percentile, mse",
    )


def test_compile_says_what_it_wrote(shell: Shell, tmp_path: Path) -> None:
    code, answer = shell.json("compile", TINY, "-o", tmp_path / "out")
    assert code == 0
    assert answer["calibration"] == "one seeded normal image"
    assert answer["layers"] == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_an_existing_output_is_kept(shell: Shell, artifact: Path) -> None:
    before = (artifact / "artifact.json").read_bytes()
    assert shell.refusal("compile", TINY, "-o", artifact) == (
        2,
        f"output '{artifact}' exists; name another one or add --force to replace it",
    )
    assert (artifact / "artifact.json").read_bytes() == before


def test_force_replaces_an_artifact(shell: Shell, artifact: Path) -> None:
    (artifact / "verify.json").write_text("{}")
    assert shell("compile", TINY, "-o", artifact, "--force")[0] == 0
    assert not (artifact / "verify.json").exists()


def test_force_replaces_nothing_but_artifacts(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    code, sentence = shell.refusal("compile", TINY, "-o", tmp_path, "--force")
    assert (code, sentence) == (
        2,
        f"output '{tmp_path}' exists and is no artifact, so it is not replaced; name another one",
    )
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_an_interrupted_compile_leaves_nothing(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(artifacts, "emit_hardware", interrupted)
    line = ("compile", TINY, "-o", tmp_path / "out")
    assert shell.refusal(*line) == (130, "interrupted")
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_bits_is_compiled_and_reported(shell: Shell, tmp_path: Path) -> None:
    bits, folder = tmp_path / "bits.toml", tmp_path / "out"
    bits.write_text("weights = 4\n[layers]\nconv1 = { weights = 8, activations = 6 }\n")
    asked = (TINY, "--precision", bits)
    assert shell.json("check", *asked)[1]["ok"]
    assert shell.json("estimate", *asked)[0] == 0
    line = ("compile", *asked, "-o", folder, "--weight-observer", "mse", "--observer", "mse")
    assert shell.json(*line)[0] == 0
    layers = {"conv1": {"weights": 8, "activations": 6}}
    precision = {
        "weights": 4,
        "activations": 8,
        "wide": 16,
        "wide_values": ["sums"],
        "layers": layers,
    }
    made = json.loads((folder / "artifact.json").read_text())["info"]
    assert made["precision"] == precision
    assert made["method"]["weights"] == "mse"
    tensors = Artifact.open(folder).workload.tensors
    held = {name: str(tensors[name].element) for name in ("conv1.weight", "conv1", "fc.weight")}
    assert held == {"conv1.weight": "i8", "conv1": "u6", "fc.weight": "i4"}
    answer = shell.json("report", folder)[1]
    assert answer["precision"] == precision
    assert answer["calibration"] == {"images": 0, "method": made["method"]}
    packed = 8 * 216 + 4 * (576 + 640)
    assert answer["weight_bits"] == packed
    lines = shell("report", folder)[1].splitlines()
    assert lines[0].endswith(f"; all weights packed at their own bits are {packed // 8} bytes")
    assert lines[2:4] == [
        "calibration: one seeded normal image; scales of activations by mse, of weights by mse, "
        "weights rounded to nearest",
        "bits: weights 4, activations 8, wide 16; conv1 weights 8, activations 6",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("weight = 4", "{path}: unknown key 'weight'; did you mean 'weights'?"),
        (
            "layers.cnv1 = { weights = 4 }",
            "precision names 'cnv1', which the network does not have; did you mean 'conv1'?",
        ),
    ],
)
def test_a_wrong_file_of_bits_is_wrong_usage(
    shell: Shell, tmp_path: Path, text: str, sentence: str
) -> None:
    path = tmp_path / "bits.toml"
    path.write_text(text)
    expected = (2, sentence.format(path=path))
    assert shell.refusal("check", TINY, "--precision", path) == expected


def test_bits_are_given_once(shell: Shell) -> None:
    assert shell.refusal("check", TINY, "--precision", "b.toml", "--bits", "4,8") == (
        2,
        "--bits 4,8 and --precision 'b.toml' are both given; keep one of them, since the file "
        "holds the bits of all layers",
    )
