"""`intaglio compress`: bits of layers under a budget, and the file that compile reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from intaglio.compiler.precision_file import read_precision
from intaglio.templates.artifact import Artifact
from tests.shell import TINY, Shell


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    np.savez(path, images=np.random.default_rng(0).standard_normal((8, 3, 8, 8), np.float32))
    return path


def test_what_is_chosen_is_compiled(shell: Shell, tmp_path: Path, data: Path) -> None:
    bits, folder = tmp_path / "bits.toml", tmp_path / "out"
    asked = ("compress", TINY, "--data", data, "-o", bits, "--weights", "2,8", "--kib", "2.2")
    code, answer = shell.json(*asked)
    assert code == 0
    assert [option["layer"] for option in answer["options"][::2]] == ["conv1", "conv2", "fc"]
    assert answer["size_bits"] <= answer["budget"]["size_bits"] == int(2.2 * 8192)
    assert answer["size_bits"] < answer["size_bits_at_8_bits"]
    assert 0 < answer["cycles"] < answer["cycles_at_8_bits"]
    assert answer["bits_change_cycles"]
    assert 0 <= answer["measured_at_8_bits"] < answer["measured"]
    chosen = read_precision(bits)
    assert {name: own.weights for name, own in chosen.layers.items()} == {
        name: own["weights"] for name, own in answer["precision"]["layers"].items()
    }
    made = ("compile", TINY, "--precision", bits, "--calibration", data, "-o", folder)
    assert shell.json(*made)[0] == 0
    tensors = Artifact.open(folder).workload.tensors
    held = {name: tensors[f"{name}.weight"].element.bits for name in chosen.layers}
    assert held == {name: own.weights for name, own in chosen.layers.items()}
    assert (
        json.loads((folder / "artifact.json").read_text())["info"]["precision"]
        == (answer["precision"])
    )


def test_the_text_says_what_bits_buy(shell: Shell, tmp_path: Path, data: Path) -> None:
    bits = tmp_path / "bits.toml"
    asked = ("compress", TINY, "--data", data, "-o", bits, "--weights", "8", "--cycles", "9999")
    code, out, _ = shell(*asked)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "tiny: 3 layers, 3 options measured on 8 images"
    assert [line.split() for line in lines[3:6]] == [
        [name, "8", "8", "+0.00e+00"] for name in ("conv1", "conv2", "fc")
    ]
    assert lines[-2].endswith(" at 8 bits, 9999 allowed; no option changes them on this design")
    assert lines[-1] == f"written to {bits}: compile with --precision {bits}"
    assert shell.refusal(*asked) == (
        2,
        f"output '{bits}' exists; name another one or add --force to replace it",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "no budget is given; add --kib, --cycles or both"),
        (
            ("--kib", "1", "--weights", "2;8"),
            "--weights is '2;8', expected numbers of bits as in --weights 4,8",
        ),
        (
            ("--kib", "1", "--weights", "9"),
            "weight precision of 9 bits is outside 1 to 8; choose 1 to 8",
        ),
        (
            ("--kib", "1", "--divergence", "l1"),
            "'l1' is no divergence; choose one of kl, mse",
        ),
    ],
)
def test_a_wrong_request_is_wrong_usage(
    shell: Shell, tmp_path: Path, data: Path, options: tuple[str, ...], sentence: str
) -> None:
    asked = ("compress", TINY, "--data", data, "-o", tmp_path / "bits.toml")
    assert shell.refusal(*asked, *options) == (2, sentence)
