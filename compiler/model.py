"""The MODEL forms of the command line: `file.py:callable`, `module:callable`, `.pt2`, `.onnx`.

Naming a Python file or module is asking for it to be imported.  A `.pt2` archive and an `.onnx`
file are data: they are read without executing anything, an archive unless the user trusts it.
"""

from __future__ import annotations

import difflib
import importlib.util
import pickle
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NoReturn
from unittest import mock

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from intaglio.compiler.graph import quiet
from intaglio.compiler.user_code import call_user_code, import_user_code
from intaglio.errors import CaptureError, ToolError, UsageError

FORMS = "file.py:callable, package.module:callable, archive.pt2 or model.onnx"


@dataclass(frozen=True, slots=True)
class Model:
    """A model with its example inputs, and the name it was asked for by."""

    name: str
    module: nn.Module | ExportedProgram
    example_inputs: tuple[Tensor, ...]


def load_model(model: str, *, trust: bool = False) -> Model:
    """The model that a MODEL argument names.

    The callable takes nothing and returns `(module, example_inputs)`; what it prints goes to
    stderr.  `trust` allows a `.pt2` archive to run code while it is read.  Raises UsageError when
    the name, the file or the result has the wrong form, CaptureError when an archive or ONNX file
    cannot be read, and UnsupportedError for an ONNX node that cannot be imported.
    """
    if model.endswith(".pt2"):
        return _load_archive(Path(model), trust)
    if model.endswith(".onnx"):
        return _load_onnx(Path(model))
    place, colon, name = model.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise UsageError(f"MODEL '{model}' has no known form; give {FORMS}")
    return _called(name, _member(import_user_code(place), place, name))


def _member(module: ModuleType, place: str, name: str) -> Callable[[], object]:
    member: object = getattr(module, name, None)
    if isinstance(member, nn.Module) or (
        isinstance(member, type) and issubclass(member, nn.Module)
    ):
        what = "class" if isinstance(member, type) else "instance"
        raise UsageError(
            f"{place}: '{name}' is a torch.nn.Module {what}, not a function; define a function "
            f"that returns ({name}{'()' if what == 'class' else ''}.eval(), example_inputs) and "
            "name it"
        )
    if callable(member):
        return member
    names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
    near = difflib.get_close_matches(name, names, 1)
    hint = f"did you mean '{near[0]}'?" if near else "define a function that returns the model"
    raise UsageError(f"{place}: has no callable '{name}'; {hint}")


def _called(name: str, function: Callable[[], object]) -> Model:
    made = call_user_code(name, function, "(module, example_inputs)")
    match made:
        case (nn.Module() as module, Tensor() as tensor):
            return Model(name, module, (tensor,))
        case (nn.Module() as module, [Tensor(), *_] as inputs):
            tensors = tuple(value for value in inputs if isinstance(value, Tensor))
            if len(tensors) == len(inputs):
                return Model(name, module, tensors)
    raise UsageError(
        f"{name}() returned {_described(made)}; return (module, example_inputs), a torch.nn.Module "
        "and a tuple of tensors"
    )


def _described(made: object) -> str:
    """What a callable returned in place of a pair, in words."""
    match made:
        case nn.Module():
            return f"the module {type(made).__name__} without example inputs"
        case (nn.Module(), []):
            return "a module with an empty list of example inputs"
        case (nn.Module(), [*inputs]):
            kinds = ", ".join(type(value).__name__ for value in inputs)
            return f"a module with example inputs of type {kinds}"
        case (nn.Module(), inputs):
            return f"a module with {type(inputs).__name__} as example inputs"
        case [*values]:
            kinds = ", ".join(type(value).__name__ for value in values)
            return f"{type(made).__name__} of {len(values)} ({kinds})"
    return type(made).__name__


def _load_archive(path: Path, trust: bool) -> Model:
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file; give the path of a .pt2 archive")
    _check_symbols(path)
    try:
        if trust:
            program = _load(path)
        else:
            with _no_unpickling(path):
                program = _load(path)
    except CaptureError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise CaptureError(
            f"{path}: cannot be read as a .pt2 archive ({reason}); save it with torch.export.save"
        ) from error
    values = [
        node.meta["val"]
        for node in program.graph.find_nodes(op="placeholder")
        if node.name in program.graph_signature.user_inputs
    ]
    inputs = tuple(torch.zeros(tuple(value.shape)) for value in values)
    return Model(path.stem, program, inputs)


def _load_onnx(path: Path) -> Model:
    if importlib.util.find_spec("onnx") is None:
        raise ToolError("onnx is not installed; run: pip install 'intaglio[onnx]'")
    from intaglio.compiler.onnx_import import load_onnx

    return Model(path.stem, *load_onnx(path))


def _load(path: Path) -> ExportedProgram:
    with quiet():
        return torch.export.load(path)


def _check_symbols(path: Path) -> None:
    """Refuse symbolic sizes: torch evaluates their text, and no accelerator has them."""
    try:
        with zipfile.ZipFile(path) as archive:
            models = [name for name in archive.namelist() if name.endswith(".json")]
            symbolic = any(b'"as_expr"' in archive.read(name) for name in models)
    except zipfile.BadZipFile as error:
        raise CaptureError(
            f"{path}: cannot be read as a .pt2 archive (BadZipFile: {error}); save it with "
            "torch.export.save"
        ) from error
    if symbolic:
        raise CaptureError(f"{path}: holds dynamic shapes; export the model with fixed shapes")


@contextmanager
def _no_unpickling(path: Path) -> Iterator[None]:
    """Refuse every unpickling that torch.export.load would fall back to."""
    load = torch.load

    def refuse(*_: object, **__: object) -> NoReturn:
        raise CaptureError(
            f"{path}: reading it would run code stored in it (unpickling); save it with this "
            "version of PyTorch, or pass --trust if you trust its author"
        )

    def load_weights(*args: object, **options: object) -> object:
        if not options.get("weights_only", True):
            refuse()
        return load(*args, **{**options, "weights_only": True})  # type: ignore[arg-type]

    with (
        mock.patch.object(torch, "load", load_weights),
        mock.patch.object(pickle, "loads", refuse),
        mock.patch.object(torch._C, "_pickle_load_obj", refuse),
    ):
        yield
