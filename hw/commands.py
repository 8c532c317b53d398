"""Commands of other tools: each in a process group of its own, ended as one when it is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from intaglio.errors import ToolError

STEP_SECONDS = 900
"""What one command may take."""


class Children:
    """Commands at work, each with what it starts in a process group of its own.

    After `stop` they are ended and no other can start.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_work: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def start(
        self, command: list[str], folder: Path | None, environment: Mapping[str, str]
    ) -> subprocess.Popen[str]:
        """A new process with pipes, in `folder`.  Raises OSError, and ToolError after `stop`."""
        with self._lock:
            if self._stopped:
                raise ToolError(f"'{command[0]}' is not started; the build was stopped")
            process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
            self._at_work.add(process)
            return process

    def ended(self, process: subprocess.Popen[str]) -> None:
        """Forget a process that was waited for."""
        with self._lock:
            self._at_work.discard(process)

    def stop(self) -> None:
        """End every process at once; SIGTERM lets a compiler remove its temporary files."""
        with self._lock:
            self._stopped = True
            for process in self._at_work:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGTERM)


def run(
    command: list[str],
    name: str,
    children: Children | None = None,
    folder: Path | None = None,
    **environment: str,
) -> str:
    """Standard output of `command`.  Raises ToolError with the lines that say why it failed.

    Without `children` the command ends with whatever interrupts the wait for it.
    """
    own = children or Children()
    try:
        process = own.start(command, folder, environment)
    except OSError as error:
        raise ToolError(f"cannot start {name} ('{command[0]}'): {error.strerror}") from error
    try:
        out, err = process.communicate(timeout=STEP_SECONDS)
    except BaseException as error:
        own.stop()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise ToolError(f"{name} did not finish within {STEP_SECONDS} seconds") from error
        raise
    finally:
        own.ended(process)
    if process.returncode != 0:
        raise ToolError(f"{name} failed with exit code {process.returncode}: {_reason(err)}")
    return out


def _reason(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return " / ".join((errors or lines or ["it said nothing"])[:3])
