"""The choice between compiled kernels and the reference, which compute the same."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from typing import cast, get_args

import pytest

from intaglio.compiler import execution, reference
from intaglio.compiler.execution import Engine, chosen, runner
from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from tests.compiler.builders import Builder, draw_inputs
from tests.test_imports import LAYERS, imported, sources


@pytest.fixture(scope="module")
def workload() -> Workload:
    """A convolution of 4 * 3 * 6 * 6 * 9 = 3888 multiply-accumulates, and a rescaling."""
    b = Builder()
    x = b.tensor("x", (1, 3, 8, 8))
    made = b.build((x,), (b.rescale("tail", b.conv("conv", x, 4, (3, 3))),))
    assert [made.macs(op) for op in made.ops] == [3888, 0]
    assert [tensor.elements for tensor in made.activations()] == [192, 144, 144]
    return made


def test_kernels_are_compiled_where_the_reference_would_take_as_long(
    workload: Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "kernels_can_be_built", lambda: True)
    few = int(2 * 0.5 / (3888 / 5e9 + (192 + 144 + 144) * 4e-8))
    assert chosen(workload, few) == "reference"
    assert chosen(workload, few + 1) == "tvm"
    assert chosen(workload, few, "tvm") == "tvm"
    assert chosen(workload, few + 1, "reference") == "reference"


@pytest.mark.parametrize("missing", ["tvm", "g++"])
def test_what_cannot_be_built_is_not_chosen(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else name)
    monkeypatch.setattr("shutil.which", lambda name: None if name == missing else name)
    assert not execution.kernels_can_be_built()
    assert chosen(workload, 1 << 40) == "reference"


def test_an_engine_that_does_not_exist(workload: Workload) -> None:
    with pytest.raises(UsageError) as caught:
        chosen(workload, 1, cast("Engine", "gpu"))
    assert str(caught.value) == "'gpu' is no engine; choose one of reference, tvm"


@pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="needs intaglio[tvm]")
def test_both_engines_compute_the_same_outputs(workload: Workload) -> None:
    inputs = draw_inputs(workload, images=3)
    expected = reference.run(workload, inputs)["tail.out"]
    for engine in get_args(Engine):
        assert (runner(workload, engine)(inputs)["tail.out"] == expected).all()


def test_only_accuracy_and_search_choose() -> None:
    users = {
        f"{layer}/{path.name}"
        for layer in LAYERS
        for path in sources(layer)
        if "intaglio.compiler.execution" in imported(ast.parse(path.read_text()))
    }
    assert users == {
        "report/exploration.py",
        "search/codesign.py",
        "search/exploration.py",
        "search/sensitivity.py",
        "sim/accuracy.py",
    }


def test_the_reference_needs_no_tvm() -> None:
    code = """import sys
from intaglio.compiler.execution import chosen, runner
from tests.compiler.builders import every_operator
runner(every_operator(), chosen(every_operator(), 1))
print("tvm" in sys.modules)"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"
