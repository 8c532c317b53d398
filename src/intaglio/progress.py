"""Progress bars on standard error; libraries only call the callback they are given."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Callback = Callable[[str, int, int], None]
"""Called with (step in words, done, total); a new step begins when the words change."""


def silent(step: str, done: int, total: int) -> None:
    """A callback that shows nothing."""


@contextmanager
def bars(*, wanted: bool = True) -> Iterator[Callback]:
    """A callback that draws one bar a step while the block runs, and clears them afterwards.

    Nothing is drawn unless `wanted` and standard error is a terminal.
    """
    if not (wanted and sys.stderr.isatty()):
        yield silent
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _drawer(progress)


def _drawer(progress: Progress) -> Callback:
    """The callback that keeps one task of `progress` a step."""
    tasks = {}

    def draw(step: str, done: int, total: int) -> None:
        if step not in tasks:
            tasks[step] = progress.add_task(step, total=total)
        progress.update(tasks[step], completed=done, total=total)

    return draw
