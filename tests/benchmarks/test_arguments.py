"""A benchmark explains itself, and an option that it does not have starts nothing."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(benchmarks.__path__[0])
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "\ndef main()" in path.read_text())


def test_all_scripts_are_known() -> None:
    known = {"area", "efficientnet", "kernels", "mutation", "networks", "rtl", "simulation"}
    assert known <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_and_an_unknown_option_run_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = importlib.import_module(f"benchmarks.{name}").main
    for option, code in (("--help", 0), ("--halp", 2)):
        monkeypatch.setattr("sys.argv", [f"{name}.py", option])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
    shown = capsys.readouterr()
    assert shown.out.startswith(f"usage: {name}.py [-h]")
    assert shown.err.endswith(f"{name}.py: error: unrecognized arguments: --halp\n")
