"""Bars are drawn on a terminal's standard error, and nowhere else."""

from __future__ import annotations

import io
import sys

import pytest

from intaglio import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(stream: io.StringIO, patch: pytest.MonkeyPatch, *, wanted: bool = True) -> str:
    """What a step of two parts leaves on standard error."""
    patch.setattr(sys, "stderr", stream)
    patch.setenv("TERM", "xterm")
    with progress.bars(wanted=wanted) as draw:
        for done in range(3):
            draw("fold layers", done, 2)
    return stream.getvalue()


def test_a_terminal_sees_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "fold layers" in drawn(Terminal(), monkeypatch)


def test_nothing_is_drawn_unless_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(Terminal(), monkeypatch, wanted=False) == ""


def test_nothing_is_drawn_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(io.StringIO(), monkeypatch) == ""
