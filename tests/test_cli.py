"""The front of the command line: help, wrong usage, exit codes, doctor and demo."""

from __future__ import annotations

import subprocess
import sys

import pytest

from intaglio import api
from tests.shell import Shell


def test_without_a_verb_the_help_is_shown(shell: Shell) -> None:
    code, out, _ = shell()
    assert code == 0
    for verb in ("check", "compile", "simulate", "verify", "report", "doctor", "demo"):
        assert f"\n  {verb} " in out


def test_an_unknown_verb_gets_the_nearest_one(shell: Shell) -> None:
    assert shell.refusal("doctr") == (2, "No such command 'doctr'. Did you mean 'doctor'?")
    nearest = "No such command 'compyle'. Did you mean 'compile', 'compress'?"
    assert shell.refusal("compyle") == (2, nearest)


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
    assert shell("doctor")[0] == 0, "what it imports is there from now on"
    monkeypatch.setattr(sys, "path", [])
    code, answer = shell.json("doctor")
    assert (code, answer["healthy"]) == (1, False)


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
