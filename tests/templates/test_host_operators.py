"""C of the operators on the host: every element of every operator is the reference's."""

from __future__ import annotations

import ctypes
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.workload import Op, Workload, inputs
from intaglio.hw.sources import host_sources
from intaglio.templates.c_text import Names
from intaglio.templates.host_operators import declare, render_operators
from tests.compiler.builders import every_operator
from tests.compiler.kernels.test_operators import moves, rows, sums
from tests.hw.c_host import FLAGS, dtype, gcc, must

Function = Callable[[Op], str]


def check(workload: Workload, seed: int = 0) -> None:
    """Compile and run all operators one after another."""
    names = Names(op.name for op in workload.ops)

    def function(op: Op) -> str:
        return f"host_op_{names[op.name]}"

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        declared = "".join(f"{declare(workload, op, function(op))};\n" for op in workload.ops)
        (folder / "network.h").write_text(f"#include <stdint.h>\n{declared}")
        (folder / "host.c").write_text(render_operators(workload, workload.ops, function))
        sources = [path for path in host_sources("host") if path.suffix == ".c"]
        flags = (*FLAGS, "-O1", "-fPIC", "-shared", "-nostdlib", f"-I{sources[0].parent}", "-I.")
        must(gcc(folder, *flags, "-fsanitize-undefined-trap-on-error", "-fsanitize=undefined",
                 "host.c", *sources, "-o", "host.so"))  # fmt: skip
        run(workload, ctypes.CDLL(str(folder / "host.so")), function, seed)


def run(workload: Workload, library: ctypes.CDLL, function: Function, seed: int) -> None:
    """Every operator on the values before it, each compared."""
    random = np.random.default_rng(seed)
    values: dict[str, NDArray[np.integer]] = {}
    for tensor in map(workload.tensor, workload.inputs):
        lo, hi = tensor.element.lo, tensor.element.hi
        values[tensor.name] = random.integers(lo, hi, tensor.shape, dtype(tensor), endpoint=True)
    expected = reference.run(workload, values)
    for op in workload.ops:
        tensor = workload.tensor(op.output)
        values[op.output] = np.full(tensor.shape, 0x55, dtype(tensor))
        arrays = [values[name] for name in (*inputs(op), op.output)]
        library[function(op)](*(ctypes.c_void_p(array.ctypes.data) for array in arrays))
        np.testing.assert_array_equal(values[op.output], expected[op.output], err_msg=op.name)


def test_the_operators_of_the_npu() -> None:
    for seed in range(3):
        check(every_operator(seed), seed)


@pytest.mark.parametrize("strategy", [moves, sums, rows], ids=["moves", "sums", "rows"])
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 1 << 16))
def test_all_others(
    strategy: Callable[[], st.SearchStrategy[Workload]], data: st.DataObject, seed: int
) -> None:
    check(data.draw(strategy()), seed)
