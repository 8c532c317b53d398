"""`Timeline`: when every instruction was inside its unit; and the file that may hold it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intaglio.errors import UsageError
from intaglio.templates.artifact import MANIFEST

_START = '{"traceEvents": ['
"""How the file of a timeline starts."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Issue and retirement of every instruction, in cycles; arrays in the order of the text.

    `image` is the one of the run that an instruction works for.
    """

    unit: np.ndarray
    layer: np.ndarray
    image: np.ndarray
    issued: np.ndarray
    retired: np.ndarray


def free_path(path: Path) -> Path:
    """`path` without links.  Raises UsageError unless nothing but a timeline is lost there."""
    target = path.resolve()
    for folder in target.parents:
        if (folder / MANIFEST).is_file():
            raise UsageError(
                f"trace '{path}' lies inside the artifact '{folder}', which is never changed; name "
                "a file outside it"
            )
    if target.exists() and not _is_timeline(target):
        raise UsageError(
            f"trace '{path}' exists and is no earlier trace, so it is not replaced; name another "
            "file"
        )
    return target


def _is_timeline(path: Path) -> bool:
    with suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                return file.read(len(_START)) == _START.encode()
    return False
