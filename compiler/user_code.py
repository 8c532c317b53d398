"""Running the Python that a user names: `file.py:callable` or `package.module:callable`.

What that code prints goes to stderr, and whatever it raises, `SystemExit` too, becomes one
sentence.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from unittest import mock

from intaglio.errors import UsageError


def import_user_code(place: str) -> ModuleType:
    """The module that `place`, a `.py` file or a dotted name, stands for.

    Modules beside the file, or in the current folder, can be imported by it.  Raises UsageError
    when there is no such file or the import fails.
    """
    if place.endswith(".py"):
        return _import_file(Path(place))
    with _running(Path.cwd()):
        try:
            return importlib.import_module(place)
        except (Exception, SystemExit) as error:
            raise UsageError(_import_failure(place, error)) from error


def call_user_code(name: str, function: Callable[[], object], result: str) -> object:
    """What `function`, called `name`, returns; `result` says what that should be.

    Raises UsageError when it fails.
    """
    try:
        with redirect_stdout(sys.stderr):
            return function()
    except (Exception, SystemExit) as error:
        raise UsageError(
            f"{name}() failed ({_reason(error)}){_place(error)}; it must run without arguments and "
            f"return {result}"
        ) from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of a Python file")
    name = f"intaglio_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with _running(path.resolve().parent):
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            raise UsageError(_import_failure(str(path), error)) from error
    return module


@contextmanager
def _running(folder: Path) -> Iterator[None]:
    """Let modules of `folder` be imported while the block runs, and print to stderr."""
    with mock.patch.object(sys, "path", [str(folder), *sys.path]), redirect_stdout(sys.stderr):
        yield


def _import_failure(place: str, error: BaseException) -> str:
    return (
        f"{place}: cannot be imported ({_reason(error)}){_place(error)}; run it with python to see "
        "more"
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _place(error: BaseException) -> str:
    """Where the user's code failed: its last line before those of installed packages; or nothing.

    A mistake of grammar is told with its own line.
    """
    if isinstance(error, SyntaxError):
        return f" at {Path(error.filename or '').name}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_users(Path(frame.filename))]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}: {own[-1].line}" if own else ""


def _is_users(path: Path) -> bool:
    """Whether a file is neither Python's, nor installed, nor beside this one."""
    places = [*map(Path, sysconfig.get_paths().values()), Path(__file__).resolve().parent]
    return path.is_file() and not any(path.resolve().is_relative_to(folder) for folder in places)
