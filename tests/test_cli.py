"""Every verb's answers, errors and exit codes, as a person and as a program see them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from intaglio import api, cli
from intaglio.errors import VerificationError
from intaglio.hw.npu_model import UnitCounters
from intaglio.sim import verify as proof
from intaglio.sim.verify_report import Difference, VerifyReport
from intaglio.templates import artifact as artifacts
from tests.nets import tiny

NETS = Path(__file__).with_name("nets.py")
TINY = f"{NETS}:tiny"
KNOWN_FORMS = "file.py:callable, package.module:callable, archive.pt2 or model.onnx"


class Shell:
    """Runs command lines in this process and keeps what they print."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: str | Path) -> tuple[int, str, str]:
        """Exit code, standard output and standard error."""
        code = cli.main([str(word) for word in words])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    def json(self, *words: str | Path) -> tuple[int, dict[str, Any]]:
        """Exit code and the one JSON object on standard output, where nothing else may be."""
        code, out, _ = self(*words, "--json")
        answer = json.loads(out)
        assert isinstance(answer, dict)
        return code, answer

    def refusal(self, *words: str | Path) -> tuple[int, str]:
        """Exit code and the one line on standard error; JSON must tell the same."""
        code, out, err = self(*words)
        assert out == ""
        sentence = err.removeprefix("error: ").removesuffix("\n")
        assert self.json(*words)[1]["error"]["message"] == sentence
        return code, sentence


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def write_design(folder: Path, text: str) -> Path:
    path = folder / "design.toml"
    path.write_text(text)
    return path


def test_without_a_verb_the_help_is_shown(shell: Shell) -> None:
    code, out, _ = shell()
    assert code == 0
    for verb in ("check", "compile", "simulate", "verify", "report", "doctor", "demo"):
        assert f"\n  {verb} " in out


def test_an_unknown_verb_gets_the_nearest_one(shell: Shell) -> None:
    assert shell.refusal("compyle") == (2, "No such command 'compyle'. Did you mean 'compile'?")


def test_a_missing_argument_is_wrong_usage(shell: Shell) -> None:
    assert shell.refusal("check") == (2, "Missing argument 'MODEL'.")
    assert shell.json("check")[1]["error"]["kind"] == "UsageError"


def test_an_unknown_option_is_wrong_usage(shell: Shell) -> None:
    code, sentence = shell.refusal("doctor", "--jsno")
    assert code == 2
    assert sentence.startswith("No such option: --jsno")


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from intaglio.cli import main; main(['compile', '--help']); "
        "sys.exit(any(name in sys.modules for name in ('torch', 'numpy')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, capture_output=True)


def test_doctor_lists_every_part(shell: Shell) -> None:
    code, answer = shell.json("doctor")
    assert code == 0
    assert {"python", "torch", "verilator", "g++"} <= {part["name"] for part in answer["parts"]}
    assert "torchao" in shell("doctor")[1]


def test_doctor_exits_1_without_a_core_part(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    code, answer = shell.json("doctor")
    assert (code, answer["healthy"]) == (1, False)


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
    assert [node["operation"] for node in refused] == ["cumsum.default"]
    assert "return torch.cumsum(self.conv(images), 1)" in refused[0]["line"]


def test_a_batch_of_example_inputs_is_refused(shell: Shell, tmp_path: Path) -> None:
    model = tmp_path / "batch.py"
    model.write_text(
        "import torch\n"
        "def net():\n"
        "    return torch.nn.Conv2d(3, 4, 1).eval(), torch.zeros(4, 3, 8, 8)\n"
    )
    assert shell.refusal("check", f"{model}:net") == (
        1,
        "input 'input_1' has shape (4, 3, 8, 8); give example inputs of batch 1, as in (1, "
        "channels, height, width) (calibration data may hold many images)",
    )


def test_compile_refuses_what_check_refuses(shell: Shell, tmp_path: Path) -> None:
    code, sentence = shell.refusal("compile", f"{NETS}:running", "-o", tmp_path / "out")
    assert code == 1
    assert sentence.startswith("cumsum (nets.py:")
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
    assert shell.refusal(*line) == (1, sentence)
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
        ("9,8", "weight precision of 9 bits is outside 2 to 8; choose 2 to 8"),
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


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact of the tiny network, which no test changes."""
    folder = tmp_path_factory.mktemp("compiled") / "artifact"
    module, inputs = tiny()
    api.compile(module, inputs, output=folder, name="tiny")
    return folder


@pytest.fixture
def artifact(compiled: Path, tmp_path: Path) -> Path:
    """A copy of that artifact."""
    return Path(shutil.copytree(compiled, tmp_path / "artifact"))


def test_compile_says_what_it_wrote(shell: Shell, tmp_path: Path) -> None:
    code, answer = shell.json("compile", TINY, "-o", tmp_path / "out")
    assert code == 0
    assert answer["calibration"] == "one seeded normal image"
    assert answer["layers"] == 4
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
    assert [row["cycles_rtl"] for row in answer["layers"]] == [None] * 4


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
    units = (UnitCounters(0, 0, 0, 0),) * 4
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
    units = (UnitCounters(0, 0, 0, 0),) * 4
    found = VerifyReport("tiny", 0, 2, 10, 0, None, (100, 100), 100, (), units, 0, 0)
    monkeypatch.setattr(proof, "verify", lambda *_, **__: found)
    data = tmp_path / "data.npz"
    np.savez(data, images=np.zeros((3, 3, 8, 8), np.float32))
    note = f"\n\nran 2 of the 3 images in {data}; --images 3 runs all\n"
    code, out, _ = shell("verify", artifact, "--data", data, "--images", "2")
    assert (code, out.endswith(note)) == (0, True)
    assert shell("verify", artifact, "--data", data, "--images", "3")[1].endswith("%\n")
    assert shell.json("verify", artifact, "--data", data, "--images", "2")[1]["images_given"] == 3


def test_verify_says_when_no_operator_is_on_the_host(
    shell: Shell, artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = (UnitCounters(0, 0, 0, 0),) * 4
    found = VerifyReport("tiny", 0, 1, 10, 0, None, (100,), 100, (), units, 0, 0)
    monkeypatch.setattr(proof, "verify", lambda *_, **__: found)
    note = "no operator of tiny is on the host, so --host compared nothing"
    assert shell("verify", artifact, "--host")[1].endswith(f"%\n\n{note}\n")
    assert shell.json("verify", artifact, "--host")[1]["note"] == note
    assert "note" not in shell.json("verify", artifact)[1]


def test_an_unknown_demo_network_is_wrong_usage(shell: Shell) -> None:
    expected = (2, "unknown network 'alexnet'; the demo has lenet5 and resnet8")
    assert shell.refusal("demo", "alexnet") == expected


def test_an_exception_that_nobody_meant_exits_70(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a wheel came off")

    monkeypatch.setattr(api, "simulate", broken)
    code, out, err = shell("simulate", "anywhere")
    assert (code, out) == (70, "")
    assert "Traceback" in err
    assert err.endswith("error: this is a bug in intaglio: RuntimeError: a wheel came off\n")
    assert shell.json("simulate", "anywhere") == (
        70,
        {
            "error": {
                "kind": "InternalError",
                "message": "this is a bug in intaglio: RuntimeError: a wheel came off",
            }
        },
    )


def test_an_interrupt_exits_130(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "simulate", interrupted)
    assert shell.refusal("simulate", "anywhere") == (130, "interrupted")


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


def test_an_observer_that_does_not_exist(shell: Shell, tmp_path: Path) -> None:
    asked = ("compile", TINY, "-o", tmp_path / "out", "--observer", "mean")
    assert shell.refusal(*asked) == (
        2,
        "'mean' is no observer; choose one of minmax, percentile, mse",
    )
