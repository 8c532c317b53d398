"""Command lines run in this process, and the network that most of them are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from intaglio import cli

NETS = Path(__file__).with_name("nets.py")
TINY = f"{NETS}:tiny"


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
