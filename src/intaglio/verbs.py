"""What each verb does: call the Python interface and shape the answer for a person or a program."""

from __future__ import annotations

import json
from dataclasses import dataclass

import typer
from rich.console import Console, RenderableType
from rich.table import Table

from intaglio.doctor import Part, diagnose


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer: `data` for JSON, `text` for a person, and the exit code."""

    data: dict[str, object]
    text: RenderableType
    exit_code: int = 0


def show(outcome: Outcome, as_json: bool) -> int:
    """Print one answer on standard output and return its exit code."""
    if as_json:
        typer.echo(json.dumps(outcome.data))
    else:
        Console(highlight=False).print(outcome.text)
    return outcome.exit_code


def doctor() -> Outcome:
    """What is installed and what is missing; exit 1 when a core part is missing."""
    diagnosis = diagnose()
    table = Table("part", "group", "needed for", "found", box=None)
    for part in diagnosis.parts:
        table.add_row(part.name, part.group, part.needed_for, _found(part))
    return Outcome(diagnosis.to_dict(), table, 0 if diagnosis.healthy else 1)


def _found(part: Part) -> str:
    """The version of a part, or how to get it."""
    return part.version if part.version is not None else f"missing: {part.fix}"
