"""Ways out name Python's arguments in Python, and options on the command line."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import intaglio
from intaglio import api, choosing, cli, options
from tests.nets import shuffled

ROOT = Path(__file__).parents[1]
LIBRARIES = ("compiler", "templates", "sim", "search", "report", "hw")


def test_a_refusal_names_the_argument_in_python_and_the_option_on_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    module, inputs = shuffled()
    with pytest.raises(intaglio.UnsupportedError) as caught:
        intaglio.compile(module, inputs)
    assert str(caught.value).endswith(
        "; add allow_host=True to run it on the host (1 more: run `intaglio check`)"
    )
    model = f"{ROOT}/tests/nets.py:shuffled"
    for words in (("compile", model, "-o", str(tmp_path / "out")), ("check", model)):
        for extra in ((), ("--json",)):
            assert cli.main([*words, *extra]) == 1
            printed = "".join(capsys.readouterr())
            assert "add --allow-host to run it on the host" in printed
            assert "allow_host" not in printed


def test_every_option_stands_for_an_argument() -> None:
    accepted = {
        name
        for verb in (api.check, api.compile, choosing.explore)
        for name in inspect.signature(verb).parameters
    }
    flags = [word.removeprefix("add ") for word in options.OPTIONS if word.endswith("=True")]
    named = {flag.removesuffix("=True") for flag in flags}
    assert named == {"allow_host", "force", "resume"}
    assert named <= accepted


@pytest.mark.parametrize("layer", LIBRARIES)
def test_no_library_speaks_of_options(layer: str) -> None:
    for path in (ROOT / layer).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not [option for option in options.OPTIONS.values() if option in text], path
