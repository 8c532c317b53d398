"""The one family of errors that intaglio raises on purpose.

Every message is one sentence that names the thing, the value, the limit and the way out.
The command line alone turns them into exit codes; anything else that is raised is a bug.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class IntaglioError(Exception):
    """Base of every deliberate refusal; `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(IntaglioError):
    """The request itself is malformed: a wrong option or path, or a file with a wrong key or value.

    A design that is legal in itself but too small for a network is a DesignError.
    """

    exit_code = 2


class CaptureError(IntaglioError):
    """The model cannot be turned into a static graph."""


class UnsupportedError(IntaglioError):
    """A node of the model has no exact integer form here."""


class DesignError(IntaglioError):
    """A design's parameters are illegal, or a workload does not fit on the design."""


class CalibrationError(IntaglioError):
    """Calibration data do not match the model's inputs."""


class ArtifactError(IntaglioError):
    """An artifact on disk is missing, corrupt or of another version."""


class OutputError(IntaglioError):
    """A file or folder cannot be written."""


class ToolError(IntaglioError):
    """An outside tool or optional package is missing or failed."""


class VerificationError(IntaglioError):
    """Hardware and reference could not be compared, or the hardware stopped."""


_WAYS_OUT = {
    errno.ENOENT: "make the folder it is to lie in",
    errno.ENOTDIR: "make a folder of what it is to lie in",
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "allow writing there"),
}
"""What makes a place writable, by the system's reason; else there is no room."""


@contextmanager
def writing(what: str) -> Iterator[None]:
    """Turns the system's refusal to write `what`, as on a full disk, into an OutputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        way_out = _WAYS_OUT.get(error.errno or 0, "make room there")
        raise OutputError(
            f"cannot write {what}: {reason}; {way_out} or name another place"
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a file aside, then rename it: there is a whole one or the old one.

    Raises OutputError when the system refuses.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with writing(f"'{path}'"):
        try:
            aside.write_text(text, encoding="utf-8")
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
