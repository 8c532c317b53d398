"""The numpy reference against direct loops in Python integers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.compiler.workload import (
    Concat,
    Conv2d,
    ElementType,
    Eltwise,
    MatMul,
    Op,
    Pool,
    Requantise,
    Rescale,
    Reshape,
    Workload,
)
from intaglio.errors import IntaglioError, UsageError
from tests.compiler.builders import I8, U8, Builder, draw_inputs, every_operator

Array = NDArray[np.int64]


def finish(workload: Workload, e: Requantise, k: int, acc: int, residual: int) -> int:
    constants = workload.constants
    total = acc * int(constants[e.multiplier][k]) + int(constants[e.bias][k])
    if e.residual_multiplier is not None:
        total += residual * int(constants[e.residual_multiplier][k])
    value = max(e.lo, min(e.hi, total >> int(constants[e.shift][k])))
    return value if e.table is None else int(constants[e.table][value % 256])


def finish_all(workload: Workload, e: Requantise, acc: Array, values: dict[str, Array]) -> Array:
    made = np.empty_like(acc)
    for index in np.ndindex(acc.shape):
        residual = 0 if e.residual is None else int(values[e.residual][index])
        made[index] = finish(workload, e, index[1], int(acc[index]), residual)
    return made


def pixel(x: Array, n: int, c: int, y: int, x_: int, outside: int) -> int:
    inside = 0 <= y < x.shape[2] and 0 <= x_ < x.shape[3]
    return int(x[n, c, y, x_]) if inside else outside


def convolve(workload: Workload, op: Conv2d, x: Array) -> Array:
    w = workload.constants[op.weight]
    per_group = w.shape[0] // op.groups
    acc = np.zeros((x.shape[0], *workload.tensor(op.output).shape[1:]), np.int64)
    for n, k, oy, ox in np.ndindex(acc.shape):
        total = 0
        for c, fy, fx in np.ndindex(w.shape[1:]):
            y = oy * op.stride[0] + fy * op.dilation[0] - op.padding[0]
            column = ox * op.stride[1] + fx * op.dilation[1] - op.padding[2]
            channel = (k // per_group) * w.shape[1] + c
            total += pixel(x, n, channel, y, column, 0) * int(w[k, c, fy, fx])
        acc[n, k, oy, ox] = total
    return acc


def pool(workload: Workload, op: Pool, x: Array) -> Array:
    low = workload.tensor(op.input).element.lo
    acc = np.zeros((x.shape[0], *workload.tensor(op.output).shape[1:]), np.int64)
    for n, k, oy, ox in np.ndindex(acc.shape):
        window = [
            pixel(
                x,
                n,
                k,
                oy * op.stride[0] + fy - op.padding[0],
                ox * op.stride[1] + fx - op.padding[2],
                low if op.kind == "max" else 0,
            )
            for fy, fx in np.ndindex(op.kernel)
        ]
        acc[n, k, oy, ox] = max(window) if op.kind == "max" else sum(window)
    return acc


def compute(workload: Workload, op: Op, values: dict[str, Array]) -> Array:
    match op:
        case Conv2d():
            acc = convolve(workload, op, values[op.input])
        case MatMul():
            acc = values[op.input] @ workload.constants[op.weight].T.astype(np.int64)
        case Pool():
            acc = pool(workload, op, values[op.input])
            if op.epilogue is None:
                return acc
        case Eltwise() | Rescale():
            acc = values[op.input]
        case Concat():
            parts = [
                finish_all(workload, e, values[name], values)
                for name, e in zip(op.inputs, op.epilogues, strict=True)
            ]
            return np.concatenate(parts, axis=1)
        case Reshape():
            return values[op.input].reshape(-1, *workload.tensor(op.output).shape[1:])
        case _:
            raise AssertionError(type(op).__name__)
    assert op.epilogue is not None
    return finish_all(workload, op.epilogue, acc, values)


def compare(workload: Workload, images: int = 1, seed: int = 0) -> None:
    values: dict[str, Array] = dict(draw_inputs(workload, seed, images))
    made = reference.run(workload, values)
    for op in workload.ops:
        values[op.output] = compute(workload, op, values)
    assert list(made) == list(values)
    for name, expected in values.items():
        np.testing.assert_array_equal(made[name], expected, err_msg=name)
        assert made[name].dtype == np.int64


@pytest.mark.parametrize("seed", range(3))
def test_every_operator_equals_the_direct_loops(seed: int) -> None:
    compare(every_operator(seed), images=1 + seed % 2, seed=seed)


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(deadline=None, max_examples=25)
@given(pairs, pairs, pairs, st.tuples(*[st.integers(0, 2)] * 4), st.sampled_from([1, 2, 4]))
def test_convolutions_of_any_geometry(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: tuple[int, int, int, int],
    groups: int,
) -> None:
    b = Builder()
    x = b.tensor("x", (1, 4, 7, 8), U8)
    y = b.conv("conv", x, 4, kernel, stride, padding, dilation, groups)
    compare(b.build((x,), (y,)))


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize("element", [I8, U8, ElementType(4)])
def test_pools_of_every_type(kind: str, element: ElementType) -> None:
    for kernel, stride in itertools.product([(2, 2), (3, 2)], [(1, 1), (2, 3)]):
        b = Builder()
        x = b.tensor("x", (1, 3, 6, 7), element)
        y = b.pool("pool", x, "max" if kind == "max" else "average", kernel, stride, (1, 0, 0, 1))
        compare(b.build((x,), (y,)))


def test_sums_beyond_single_precision_stay_exact() -> None:
    b = Builder()
    x = b.tensor("x", (1, 4096), U8)
    y = b.matmul("fc", x, 3, ElementType(32))
    b.constants["fc.weight"][:] = 127
    b.constants["fc.weight"][:, 0] = 125
    for name, value in {"fc.multiplier": 2, "fc.shift": 1, "fc.bias": 0}.items():
        b.constants[name] = np.full(3, value)
    made = reference.run(b.build((x,), (y,)), {"x": np.full((1, 4096), 255)})
    assert made[y].tolist() == [[(4095 * 127 + 125) * 255] * 3]


def test_the_border_rounds_half_up() -> None:
    workload = every_operator()
    made = reference.quantise_inputs(workload, {"x": np.full((1, 4, 9, 8), 0.125)})
    assert set(made["x"].ravel().tolist()) == {3}
    values = reference.run(workload, made)
    floats = reference.dequantise_outputs(workload, values)
    np.testing.assert_array_equal(floats["head.out"], values["head.out"] * 0.05)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ({}, "input 'x' of 'built' is missing; give its integers"),
        (
            {"x": np.zeros((1, 4, 9, 8), np.int64), "z": np.zeros(1, np.int64)},
            "'z' is not an input of 'built'; its inputs are x",
        ),
        (
            {"x": np.zeros((1, 4, 8, 8), np.int64)},
            "input 'x' has shape (1, 4, 8, 8), the network takes (1, 4, 9, 8) (any number of "
            "images along axis 0); reshape it",
        ),
        (
            {"x": np.zeros((1, 4, 9, 8))},
            "input 'x' holds float64, integers are needed; quantise it first",
        ),
        (
            {"x": np.full((1, 4, 9, 8), 128)},
            "input 'x' leaves the range -128..127 of its type i8; quantise it with the tensor's "
            "scale",
        ),
    ],
)
def test_bad_inputs_are_refused(inputs: dict[str, Array], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        reference.run(every_operator(), inputs)
    assert str(caught.value) == sentence


def test_a_workload_of_shapes_only_cannot_run() -> None:
    full = every_operator()
    empty = Workload(full.name, full.inputs, full.outputs, full.ops, full.tensors)
    with pytest.raises(IntaglioError) as caught:
        reference.run(empty, draw_inputs(full))
    assert str(caught.value) == (
        "workload 'built' has shapes only and cannot be computed; lower it from a model with "
        "weights"
    )
