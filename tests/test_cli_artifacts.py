"""Verbs that take an artifact: their answers, errors and exit codes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from intaglio.errors import VerificationError
from intaglio.hw.npu_model import UnitCounters
from intaglio.sim import verify as proof
from intaglio.sim.verify_report import Difference, VerifyReport
from intaglio.templates.npu.isa import Unit
from tests.nets import tiny
from tests.shell import TINY, Shell


@pytest.mark.parametrize("verb", ["simulate", "verify", "report"])
def test_a_folder_that_is_no_artifact_is_refused(shell: Shell, verb: str, tmp_path: Path) -> None:
    way_out = "name a folder that compile wrote"
    assert shell.refusal(verb, tmp_path) == (
        2,
        f"folder '{tmp_path}' holds no artifact.json, so it is no artifact; {way_out}",
    )
    missing, file = tmp_path / "none", tmp_path / "file"
    assert shell.refusal(verb, missing) == (2, f"artifact '{missing}' does not exist; {way_out}")
    file.write_text("text")
    assert shell.refusal(verb, file) == (2, f"artifact '{file}' is no folder; {way_out}")


@pytest.mark.parametrize("verb", ["simulate", "verify", "report"])
def test_a_corrupt_artifact_is_refused(shell: Shell, verb: str, artifact: Path) -> None:
    path = artifact / "segments" / "0" / "program.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert shell.refusal(verb, artifact) == (
        1,
        f"{path}: its SHA-256 is not the one artifact.json names; compile the model again",
    )


def test_report_without_a_verification_says_so(shell: Shell, artifact: Path) -> None:
    code, out, _ = shell("report", artifact)
    assert code == 0
    assert out.endswith("\nnot verified; run intaglio verify\n")
    answer = shell.json("report", artifact)[1]
    assert answer["verified"] is None
    assert [row["cycles_rtl"] for row in answer["layers"]] == [None] * 3


def test_several_images_a_run(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, answer = shell.json("compile", TINY, "--images", "2", "-o", out)
    assert (code, answer["images"]) == (0, 2)
    seen = shell.json("simulate", out)[1]
    first, second = seen["cycles_by_image"]
    assert (seen["images"], seen["first_image_cycles"]) == (2, first)
    assert seen["cycles"] == first + second == 2 * seen["cycles_per_image"]
    assert seen["images_per_second"] == pytest.approx(200e6 / seen["cycles_per_image"])
    each = f"{seen['cycles_per_image']:.1f} cycles an image"
    assert f"\n2 images a run, {each}, the first after {first}; " in shell("simulate", out)[1]
    assert f"\n2 images a run: {each} simulated\n" in shell("report", out)[1]
    assert shell.json("report", out)[1]["images"] == 2
    assert shell.json("estimate", TINY, "--images", "2")[1]["cycles"] == seen["cycles"]
    assert shell.refusal("verify", out, "--images", "3") == (
        2,
        "images is 3, one run takes 2 of them; ask for a multiple of 2",
    )


def test_a_corrupt_verification_is_refused(shell: Shell, artifact: Path) -> None:
    (artifact / "verify.json").write_text('{"images": 1}')
    assert shell.refusal("report", artifact) == (
        1,
        f"{artifact}/verify.json: is corrupt (KeyError: 'words_compared'); run intaglio verify "
        "again",
    )


def test_verify_without_a_compiler_names_the_fix(
    shell: Shell, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert shell.refusal("verify", artifact) == (
        1,
        "the C++ compiler g++ is not on PATH; run: apt-get install g++",
    )


def test_verify_exits_1_on_the_first_difference(
    shell: Shell, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Difference(0, "conv1", "conv1", 3, (1, 2), 5, -5)
    units = (UnitCounters(0, 0, 0, 0),) * len(Unit)
    found = VerifyReport("tiny", 0, 1, 10, 1, first, (100,), 100, (), units, 0, 0)
    monkeypatch.setattr(proof, "verify", lambda *_, **__: found)
    code, out, _ = shell("verify", artifact)
    assert code == 1
    assert (
        "image 0, layer 'conv1': tensor 'conv1' channel 3, position (1, 2): expected 5, got -5"
        in out
    )


def test_verify_shows_the_notes_of_an_error(
    shell: Shell, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        error = VerificationError("the hardware did not finish")
        error.add_note("located in unit store")
        raise error

    monkeypatch.setattr(proof, "verify", stopped)
    assert shell("verify", artifact) == (
        1,
        "",
        "error: the hardware did not finish\nlocated in unit store\n",
    )
    assert shell.json("verify", artifact) == (
        1,
        {
            "error": {
                "kind": "VerificationError",
                "message": "the hardware did not finish",
                "notes": ["located in unit store"],
            }
        },
    )


def test_data_that_are_not_numbers_are_wrong_usage(
    shell: Shell, artifact: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "data.npz", images=np.array([["a", "b"]]))
    assert shell.refusal("verify", artifact, "--data", tmp_path / "data.npz") == (
        2,
        "data 'images' holds <U1, real numbers are needed; convert it to float32",
    )


def test_a_missing_npz_is_wrong_usage(shell: Shell, artifact: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none.npz"
    expected = (2, f"{missing}: there is no such file; give the path of an .npz file")
    assert shell.refusal("verify", artifact, "--data", missing) == expected
    line = ("compile", TINY, "--calibration", missing, "-o", tmp_path / "out")
    assert shell.refusal(*line) == expected


def test_verify_says_how_many_of_the_given_images_ran(
    shell: Shell, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = (UnitCounters(0, 0, 0, 0),) * len(Unit)
    found = VerifyReport("tiny", 0, 2, 10, 0, None, (100, 100), 100, (), units, 0, 0)

    def verify(*_: object, images: int | None, **__: object) -> VerifyReport:
        return replace(found, images=images or 2)

    monkeypatch.setattr(proof, "verify", verify)
    data = tmp_path / "data.npz"
    np.savez(data, images=np.zeros((3, 3, 8, 8), np.float32))
    note = f"\n\nran 2 of the 3 images in {data}; --images 3 runs all\n"
    code, out, _ = shell("verify", artifact, "--data", data, "--images", "2")
    assert (code, out.endswith(note)) == (0, True)
    assert shell("verify", artifact, "--data", data, "--images", "3")[1].endswith("%\n")
    assert shell.json("verify", artifact, "--data", data, "--images", "2")[1]["images_given"] == 3
    found = replace(found, simulated_by_image=(50, 50))
    assert shell("verify", artifact, "--data", data)[1].endswith("%\n")
    np.savez(data, images=np.zeros((5, 3, 8, 8), np.float32))
    note = f"\n\nran 2 of the 5 images in {data}; --images 4 runs 4\n"
    assert shell("verify", artifact, "--data", data)[1].endswith(note)


def test_verify_says_when_no_operator_is_on_the_host(
    shell: Shell, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = (UnitCounters(0, 0, 0, 0),) * len(Unit)
    found = VerifyReport("tiny", 0, 1, 10, 0, None, (100,), 100, (), units, 0, 0)
    monkeypatch.setattr(proof, "verify", lambda *_, **__: found)
    note = "no operator of tiny is on the host, so --host compared nothing"
    assert shell("verify", artifact, "--host")[1].endswith(f"%\n\n{note}\n")
    assert shell.json("verify", artifact, "--host")[1]["note"] == note
    assert "note" not in shell.json("verify", artifact)[1]


def test_accuracy_with_labels_and_float_outputs(shell: Shell, tmp_path: Path) -> None:
    images = np.random.default_rng(0).standard_normal((6, 3, 8, 8)).astype(np.float32)
    module, _ = tiny()
    with torch.no_grad():
        floats = module(torch.from_numpy(images)).numpy()
    data, calibration = tmp_path / "data.npz", tmp_path / "calibration.npz"
    np.savez(data, images=images, truth=floats.argmax(1), logits=floats)
    np.savez(calibration, images=images)
    options = ("--observer", "mse", "--correct-bias", "--rounding", "compensated")
    made = ("compile", TINY, "-o", tmp_path / "out", "--calibration", calibration, *options)
    assert shell(*made)[0] == 0
    asked = ("accuracy", tmp_path / "out", "--data", data, "--engine", "reference")
    code, answer = shell.json(*asked, "--labels", "truth", "--reference", "logits")
    assert code == 0
    assert (answer["images"], answer["computed_by"]) == (6, "the reference")
    assert answer["top1"] == answer["agreement"]
    assert answer["top1_float"]["share"] == 1
    assert answer["cosine"] > 0.99
    code, out, _ = shell(*asked, "--reference", "logits", "--labels", "truth")
    title = "tiny: the integer network on 6 images, computed by: the reference"
    assert out.startswith(f"{title}\n  top-1, integer ")
    assert shell.refusal(*asked, "--labels", "thruth") == (
        2,
        f"{data}: has no array 'thruth'; did you mean 'truth'?",
    )
    assert shell.refusal(*asked, "--labels", "truth") == (
        2,
        "data key 'logits' is no input of the network; the inputs are images",
    )
