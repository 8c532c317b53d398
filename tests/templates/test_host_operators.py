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

from intaglio.compiler import numerics, reference
from intaglio.compiler.numerics.norm import SEED
from intaglio.compiler.workload import Op, Resize, Workload, inputs
from intaglio.hw.sources import host_sources
from intaglio.templates.c_text import Names
from intaglio.templates.host_operators import declare_operators, render_operators
from tests.compiler.builders import Builder, every_operator
from tests.compiler.kernels.test_operators import moves, rows, sums, wide
from tests.hw.c_host import FLAGS, dtype, gcc, must

BUILDS = {
    "fast.so": ("-O3",),
    "checked.so": ("-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
}
"""As fast as it gets, needing nothing but itself; and so that undefined behaviour is a crash."""
Function = Callable[[Op], str]


def check(workload: Workload, seed: int = 0) -> None:
    """Compile and run all operators one after another."""
    names = Names(op.name for op in workload.ops)

    def function(op: Op) -> str:
        return f"host_op_{names[op.name]}"

    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        declared = declare_operators(workload, workload.ops, function)
        (folder / "network.h").write_text("\n".join(["#include <stdint.h>", *declared, ""]))
        (folder / "host.c").write_text(render_operators(workload, workload.ops, function))
        sources = [path for path in host_sources("host") if path.suffix == ".c"]
        for name, flags in BUILDS.items():
            link = ("-fPIC", "-shared", "-nostdlib", "-Wl,-z,defs", f"-I{sources[0].parent}", "-I.")
            must(gcc(folder, *FLAGS, *flags, *link, "host.c", *sources, "-o", name))
            run(workload, ctypes.CDLL(str(folder / name)), function, seed)


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


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize(
    ("before", "after"), [((5,), (9,)), ((4, 6), (7, 3)), ((2, 3, 4), (4, 3, 5))]
)
def test_resizing(before: tuple[int, ...], after: tuple[int, ...], aligned: bool) -> None:
    b = Builder()
    x = b.tensor("x", (1, 3, *before))
    y = b.tensor("y", (1, 3, *after))
    b.ops.append(Resize("resize", x, y, (None,) * len(before), aligned))
    check(b.build((x,), (y,)))


@pytest.mark.parametrize("strategy", [moves, sums, rows, wide], ids=lambda kind: kind.__name__)
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), seed=st.integers(0, 1 << 16))
def test_all_others(
    strategy: Callable[[], st.SearchStrategy[Workload]], data: st.DataObject, seed: int
) -> None:
    check(data.draw(strategy()), seed)


class Norm(ctypes.Structure):
    """`host_norm_t`."""

    _fields_ = (("root", ctypes.c_int64), ("shift", ctypes.c_uint))


def test_powers_and_roots_to_the_last_bit(tmp_path: Path) -> None:
    (source,) = (path for path in host_sources("host") if path.suffix == ".c")
    must(gcc(tmp_path, *FLAGS, "-O2", "-fPIC", "-shared", source, "-o", "math.so"))
    library = ctypes.CDLL(str(tmp_path / "math.so"))
    library.host_power.restype, library.host_norm.restype = ctypes.c_int64, Norm
    random = np.random.default_rng(1)
    table = (ctypes.c_int32 * 257)(*numerics.EXPONENTIAL.tolist())
    multiplier, shift = 9_876_543, 17
    for distance in random.integers(0, 1 << 16, 2000).tolist():
        wanted = int(numerics.exponential(np.array([distance]), multiplier, shift)[0])
        arguments = (ctypes.c_int64(distance), ctypes.c_int64(multiplier), shift, table)
        assert library.host_power(*arguments) == wanted, distance
    seed = (ctypes.c_int32 * 192)(*SEED.tolist())
    for bits in range(1, 63):
        for value in random.integers(1 << (bits - 1), 1 << bits, 40).tolist():
            (root,), (half_shift,) = numerics.reciprocal_root(np.array([value]))
            numbers = [ctypes.c_int64(number) for number in (1, 0, value, 0)]
            found = library.host_norm(*numbers, 0, seed)
            assert (found.root, found.shift) == (root, 35 - half_shift), value
