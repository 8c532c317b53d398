"""Imports point one way, and importing the front door is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import intaglio

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "intaglio"
LAYERS = ("hw", "compiler", "templates", "sim", "search", "report")
"""Each may import itself, those before it, and `errors`."""

TORCH_ALONE_IN = (
    "capture",
    "check",
    "graph",
    "islands",
    "kernels",
    "lower",
    "model",
    "onnx_import",
    "passes",
    "pipeline",
    "tables",
    "training",
)
"""The parts of `compiler` that work on torch graphs."""


def sources(layer: str) -> list[Path]:
    return sorted((ROOT / layer).rglob("*.py"))


def imported(tree: ast.AST) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def forbidden(path: Path, layer: str) -> set[str]:
    """What `path` of `layer` imports of intaglio although its layer may not."""
    allowed = {"errors", *LAYERS[: LAYERS.index(layer) + 1]}
    own = {name for name in imported(ast.parse(path.read_text())) if name.startswith("intaglio.")}
    return {name for name in own if name.split(".")[1] not in allowed}


@pytest.mark.parametrize("layer", [layer for layer in LAYERS if sources(layer)])
def test_a_layer_imports_only_what_stands_before_it(layer: str) -> None:
    wrong = {str(path): forbidden(path, layer) for path in sources(layer)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_an_import_against_the_direction_is_found(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def f():\n    from intaglio.sim import trace\n    import intaglio.hw\n")
    assert forbidden(module, "compiler") == {"intaglio.sim", "intaglio.sim.trace"}
    assert forbidden(module, "report") == set()


def test_only_the_graph_parts_import_torch() -> None:
    layers = [path for layer in LAYERS for path in sources(layer)]
    users = {
        path.relative_to(ROOT)
        for path in layers
        if any(name.split(".")[0] == "torch" for name in imported(ast.parse(path.read_text())))
    }
    outside = {
        str(path)
        for path in users
        if path.parts[0] != "compiler" or path.with_suffix("").parts[1] not in TORCH_ALONE_IN
    }
    assert outside == set()


def test_every_folder_is_linked_into_the_namespace() -> None:
    for layer in ("examples", *(layer for layer in LAYERS if sources(layer))):
        link = PACKAGE / layer
        assert link.is_symlink()
        assert not link.readlink().is_absolute()
        assert link.resolve() == ROOT / layer


@pytest.mark.parametrize("statement", ["import intaglio", "import intaglio.cli"])
def test_the_front_door_is_light(statement: str) -> None:
    heavy = ("torch", "torchao", "tvm", "numpy", "networkx")
    code = f"import sys; {statement}; print([m for m in {heavy!r} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == "[]"


def test_every_public_name_loads() -> None:
    for name in intaglio.__all__:
        assert getattr(intaglio, name).__name__ == name
    assert set(intaglio.__all__) <= set(dir(intaglio))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="^module 'intaglio' has no attribute 'compyle'$"):
        _ = intaglio.compyle
