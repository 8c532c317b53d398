"""Compiled networks against the reference: every activation, at tolerance 0."""

from __future__ import annotations

import ast
import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.compiler import reference
from intaglio.compiler.kernels import compile_network
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import IntaglioError, ToolError, UsageError
from intaglio.examples.networks import Model, lenet5, resnet8
from tests.compiler.builders import U8, Builder, draw_inputs, every_operator
from tests.compiler.kernels.agreement import check
from tests.compiler.models import Signs, images, seeded
from tests.properties.workloads import REPEATABLE, networks
from tests.test_imports import LAYERS, PACKAGE, ROOT, imported, sources


@pytest.mark.parametrize("images", [1, 3])
def test_every_operator_equals_the_reference(images: int, kernel_cache: Path) -> None:
    check(every_operator(), kernel_cache, images)


@pytest.mark.slow
@settings(REPEATABLE, max_examples=8)
@given(workload=networks(), seed=st.integers(0, 1 << 16))
def test_drawn_networks_equal_the_reference(
    workload: Workload, seed: int, kernel_cache: Path
) -> None:
    check(workload, kernel_cache, 2, seed)


@pytest.mark.parametrize("network", [lenet5, resnet8])
def test_whole_networks_equal_the_reference(
    network: Callable[[], Model], kernel_cache: Path
) -> None:
    check(to_workload(*network()), kernel_cache, 3)


def test_a_network_of_one_bit_equals_the_reference(kernel_cache: Path) -> None:
    batch = images(1, 2, 12, 12)
    check(to_workload(seeded(Signs), (batch,), precision=Precision(1, 1)), kernel_cache, 3)


def test_only_outputs_are_kept_unless_asked(kernel_cache: Path) -> None:
    workload = every_operator()
    inputs = draw_inputs(workload, images=2)
    network = compile_network(workload, cache=kernel_cache)
    found, expected = network.run(inputs), reference.run(workload, inputs)
    assert list(found) == list(workload.outputs)
    for name, values in found.items():
        assert values.dtype == np.int64
        np.testing.assert_array_equal(values, expected[name])


def test_no_images_are_no_images(kernel_cache: Path) -> None:
    workload = every_operator()
    found = compile_network(workload, cache=kernel_cache).run(draw_inputs(workload, images=0))
    assert {name: array.shape for name, array in found.items()} == {
        "head.out": (0, 5),
        "tail.out": (0, 8, 4, 9),
    }


def test_images_beyond_one_batch_are_computed_in_several(
    kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intaglio.compiler.kernels.network.BATCH_BYTES", 1)
    check(every_operator(), kernel_cache, 3)


def test_what_is_built_is_not_built_again(
    kernel_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compile_network(every_operator(1), cache=kernel_cache)
    monkeypatch.setattr("intaglio.compiler.kernels.library.Kernel._fill", None)
    again = compile_network(every_operator(2), cache=kernel_cache)
    assert len(again.steps) == len(first.steps)


def test_a_compiled_network_needs_no_files(tmp_path: Path) -> None:
    workload, cache = every_operator(), tmp_path / "kernels"
    network = compile_network(workload, cache=cache)
    held = {path.resolve() for path in Path("/proc/self/fd").iterdir()}
    assert not [path for path in held if path.is_relative_to(cache)]
    shutil.rmtree(cache)
    inputs = draw_inputs(workload)
    expected = reference.run(workload, inputs)
    for name, array in network.run(inputs).items():
        assert (array == expected[name]).all()


def test_inputs_are_checked_as_by_the_reference(kernel_cache: Path) -> None:
    network = compile_network(every_operator(), cache=kernel_cache)
    with pytest.raises(UsageError) as caught:
        network.run({})
    assert str(caught.value) == "input 'x' of 'built' is missing; give its integers"


def test_inputs_of_different_numbers_of_images_are_refused(kernel_cache: Path) -> None:
    b = Builder()
    x, z = (b.tensor(name, (1, 3, 2, 2)) for name in "xz")
    workload = b.build((x, z), (b.eltwise("add", "add", x, z),))
    network = compile_network(workload, cache=kernel_cache)
    given = {"x": np.zeros((2, 3, 2, 2), np.int64), "z": np.zeros((3, 3, 2, 2), np.int64)}
    for run in (network.run, lambda inputs: reference.run(workload, inputs)):
        with pytest.raises(UsageError) as caught:
            run(given)
        assert str(caught.value) == (
            "input 'z' of 'built' holds 3 images, 'x' holds 2; give every input as many"
        )


def test_progress_counts_kernels_of_one_structure_once(kernel_cache: Path) -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, 2, 2))
    y = b.eltwise("first", "add", x, x)
    workload = b.build((x,), (b.eltwise("second", "add", y, x),))
    steps: list[tuple[str, int, int]] = []
    compile_network(workload, cache=kernel_cache, progress=lambda *step: steps.append(step))
    assert steps == [("compile kernels", 1, 1)]


def test_a_workload_of_shapes_only_cannot_be_compiled() -> None:
    full = every_operator()
    empty = Workload(full.name, full.inputs, full.outputs, full.ops, full.tensors)
    with pytest.raises(IntaglioError) as caught:
        compile_network(empty)
    assert str(caught.value) == (
        "workload 'built' has shapes only and cannot be computed; lower it from a model with "
        "weights"
    )


def test_without_tvm_the_refusal_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        compile_network(every_operator())
    assert str(caught.value) == "TVM is not installed; run: pip install 'intaglio[tvm]'"


def test_without_a_linker_the_refusal_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    b = Builder()
    x = b.tensor("x", (1, 3), U8)
    with pytest.raises(ToolError) as caught:
        compile_network(b.build((x,), (b.matmul("fc", x, 2),)), cache=tmp_path)
    assert str(caught.value) == "the C++ compiler g++ is not on PATH; run: apt-get install g++"


def test_importing_the_package_brings_no_tvm() -> None:
    code = "import sys, intaglio.compiler.kernels; print('tvm' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == "False"


def test_tvm_and_its_ffi_fit_together() -> None:
    """With a wrong FFI, TVM imports and compiles but crashes when it writes a function down."""
    code = (
        "import tvm\n"
        "from tvm import te\n"
        "x = te.placeholder((4,), 'int8', 'x')\n"
        "y = te.compute((4,), lambda i: x[i] + x[i], 'y')\n"
        "print(tvm.ir.save_json(te.create_prim_func([x, y]))[0])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert (run.returncode, run.stdout.strip()) == (0, "{")


def test_nothing_else_imports_tvm() -> None:
    layers = [path for layer in LAYERS for path in sources(layer)]
    users = {
        path.relative_to(ROOT).parts[:2]
        for path in [*layers, *PACKAGE.glob("*.py")]
        if any(name.split(".")[0] == "tvm" for name in imported(ast.parse(path.read_text())))
    }
    assert users == {("compiler", "kernels")}
