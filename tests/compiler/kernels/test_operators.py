"""Operators on tensors of any rank, at sizes that fill no vector, against the reference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intaglio.compiler import numerics, reference
from intaglio.compiler.kernels import compile_network
from intaglio.compiler.kernels.definition import Definition
from intaglio.compiler.kernels.operators import define
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Constant,
    ElementType,
    Expand,
    Gather,
    MatMul,
    Multiply,
    Norm,
    Op,
    Pad,
    Reduce,
    Requantise,
    Rescale,
    Reshape,
    Resize,
    Shape,
    Slice,
    Softmax,
    Source,
    Transpose,
    Workload,
    channel_axis,
)
from intaglio.errors import UnsupportedError
from tests.compiler.builders import I8, U8, Builder, every_operator
from tests.compiler.kernels.agreement import check
from tests.compiler.models import Calls, images
from tests.properties.workloads import REPEATABLE, elements


class Tensors(Builder):
    """Appends operators whose extents follow from their operands'."""

    def made(self, kind: Any, name: str, shape: Shape, element: ElementType, /, **rest: Any) -> str:
        output = self.tensor(f"{name}.out", shape, element)
        self.ops.append(kind(name=name, output=output, **rest))
        return output

    def moved(self, kind: Any, name: str, source: str, shape: Shape, /, **rest: Any) -> str:
        return self.made(kind, name, shape, self.tensors[source].element, input=source, **rest)

    def finished(
        self, kind: Any, name: str, shape: Shape, gain: float, /, per_tensor: bool, **rest: Any
    ) -> str:
        channels = 1 if per_tensor else shape[channel_axis(len(shape))]
        residual = rest.pop("residual", None)
        epilogue = self.epilogue(name, channels, I8, gain, residual)
        return self.made(kind, name, shape, I8, epilogue=epilogue, **rest)


shapes = st.lists(st.integers(1, 7), min_size=1, max_size=3).map(lambda rest: (1, *rest))


@st.composite
def moves(draw: st.DrawFn) -> Workload:
    """Every operator that moves, each on one drawn tensor or on what the last one made."""
    b = Tensors(draw(st.integers(0, 1 << 16)))
    shape = draw(shapes)
    x = b.tensor("x", shape, draw(elements()))
    order = tuple(draw(st.permutations(range(len(shape)))))
    turned = tuple(shape[axis] for axis in order)
    t = b.moved(Transpose, "transpose", x, turned, permutation=order)
    before = tuple(draw(st.integers(0, 2)) for _ in turned)
    after = tuple(draw(st.integers(0, 2)) for _ in turned)
    padded = tuple(sum(extents) for extents in zip(before, turned, after, strict=True))
    p = b.moved(Pad, "pad", t, padded, before=before, after=after)
    starts = tuple(draw(st.integers(0, extent - 1)) for extent in padded)
    steps = tuple(draw(st.integers(1, 3)) for _ in padded)
    cut = zip(padded, starts, steps, strict=True)
    left = tuple(-(-(extent - start) // step) for extent, start, step in cut)
    s = b.moved(Slice, "slice", p, left, starts=starts, steps=steps)
    wide = (*(draw(st.integers(1, 3)) if e == 1 else e for e in left),)
    wide = (draw(st.integers(1, 2)), *wide) if len(wide) < 4 else wide
    e = b.moved(Expand, "expand", s, wide)
    flat = b.moved(Reshape, "reshape", e, (1, int(np.prod(wide))))
    axis = draw(st.integers(0, len(padded) - 1))
    index = b.tensor("index", draw(shapes)[:2], ElementType(5))
    picked = (*padded[:axis], *b.tensors[index].shape, *padded[axis + 1 :])
    g = b.moved(Gather, "gather", p, picked, index=index, axis=axis)
    return b.build((x, index), (flat, g))


@st.composite
def sums(draw: st.DrawFn) -> Workload:
    """Products of two computed operands, reductions and joins, with and without channels."""
    b = Tensors(draw(st.integers(0, 1 << 16)))
    per_tensor, transposed = draw(st.booleans()), draw(st.booleans())
    lead = draw(st.sampled_from([(1,), (2,), (1, 3)]))
    m, n, k = (draw(st.integers(1, 40)) for _ in range(3))
    x = b.tensor("x", (*lead, m, k), draw(elements()))
    w = b.tensor("w", (*lead, n, k) if transposed else (*lead, k, n), draw(elements()))
    shape, gain = (*lead, m, n), 0.01 / np.sqrt(k)
    operands = {"input": x, "other": w, "transposed": transposed}
    y = b.finished(BatchMatMul, "batch", shape, gain, per_tensor=per_tensor, **operands)
    weight = b.constant("weight", b.random.integers(-128, 128, (n, k), np.int8), I8)
    rest = {"input": x, "weight": weight, "residual": y}
    z = b.finished(MatMul, "matmul", shape, gain, per_tensor=per_tensor, **rest)
    row = b.moved(Slice, "row", z, (*lead, 1, n), starts=(0,) * len(shape), steps=(1,) * len(shape))
    scaled = {"input": y, "other": row}
    v = b.finished(Multiply, "multiply", shape, 0.01, per_tensor=per_tensor, **scaled)
    axes = tuple(sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))))
    kept = tuple(1 if axis in axes else extent for axis, extent in enumerate(shape))
    r = b.finished(Reduce, "sum", kept, 0.1, per_tensor=True, kind="sum", input=v, axes=axes)
    last = b.moved(Reduce, "max", v, shape[:-1], kind="max", axes=(len(shape) - 1,), epilogue=None)
    c = b.made(
        Constant, "constant", shape, I8, value=b.constant("c", b.random.integers(-9, 9, shape), I8)
    )
    axis = draw(st.integers(0, len(shape) - 1))
    joined = tuple(2 * extent if i == axis else extent for i, extent in enumerate(shape))
    epilogues = tuple(b.epilogue(f"join{i}", 1, I8, 0.8) for i in range(2))
    j = b.made(Concat, "join", joined, I8, inputs=(v, c), epilogues=epilogues, axis=axis)
    return b.build((x, w), (r, last, j))


@settings(REPEATABLE, max_examples=4)
@given(workload=moves())
def test_moves_equal_the_reference(workload: Workload, kernel_cache: Path) -> None:
    check(workload, kernel_cache, 2)


@settings(REPEATABLE, max_examples=4)
@given(workload=sums())
def test_products_and_reductions_equal_the_reference(
    workload: Workload, kernel_cache: Path
) -> None:
    check(workload, kernel_cache, 2)


@st.composite
def wide(draw: st.DrawFn) -> Workload:
    """Every operator of the npu on values of up to 16 bits, in, out and as residuals."""
    b = Builder(draw(st.integers(0, 1 << 16)))
    most = st.sampled_from((ElementType(16), ElementType(15, "unsigned"), ElementType(12), U8, I8))
    first, size = draw(most), draw(st.integers(3, 9))
    x = b.tensor("x", (1, 4, size, draw(st.integers(3, 9))), first)
    same = (1, 1, 1, 1)
    dense = b.conv("dense", x, 8, element=draw(most), padding=same)
    thin = b.conv("depthwise", dense, 8, groups=8, element=draw(most), residual=dense, padding=same)
    grouped = b.conv("grouped", thin, 8, groups=2, element=draw(most), residual=thin, padding=same)
    most_of = b.pool("max", grouped, "max", (2, 2), (1, 1), (1, 0, 0, 1))
    total = b.eltwise("sub", "sub", most_of, thin, draw(most))
    mean = b.pool("average", total, "average", (2, 3), (1, 1))
    narrow = b.rescale("narrow", mean, I8, table=False)
    table = b.rescale("table", narrow, draw(most))
    joined = b.concat("concat", table, mean)
    flat = b.reshape("flatten", joined, (1, int(np.prod(b.tensors[joined].shape))))
    return b.build((x,), (b.matmul("head", flat, 5, draw(most)), total))


@settings(REPEATABLE, max_examples=3)
@given(workload=wide())
def test_values_of_16_bits_equal_the_reference(workload: Workload, kernel_cache: Path) -> None:
    check(workload, kernel_cache, 2)


@st.composite
def rows(draw: st.DrawFn) -> Workload:
    """Softmax under a mask and without, and the three norms, on one drawn tensor."""
    b = Tensors(draw(st.integers(0, 1 << 16)))
    shape = (1, draw(st.sampled_from((2, 4, 6))), *(draw(st.integers(1, 9)) for _ in range(2)))
    element = ElementType(draw(st.sampled_from((8, 16))))
    x = b.tensor("x", shape, element)
    stretched = (1, *shape[draw(st.integers(1, 3)) :])
    mask = b.tensor("mask", stretched, ElementType(1, "unsigned"))
    out, scale = ElementType(draw(st.sampled_from((8, 16))), "unsigned"), 0.002
    chosen = numerics.choose_softmax("softmax", scale, shape[-1], out.bits)
    factors = {"multiplier": chosen.multiplier, "shift": chosen.shift}
    made = [
        b.made(Softmax, f"softmax{i}", shape, out, input=x, mask=kept, **factors)
        for i, kept in enumerate((None, mask))
    ]
    groups = draw(st.sampled_from((1, 2)))
    for kind in ("layer", "rms", "group"):
        along = shape[1] if kind == "group" else shape[3]
        count = shape[1] // groups * shape[2] * shape[3] if kind == "group" else along
        gamma, beta = b.random.normal(size=(2, along))
        epsilon = draw(st.sampled_from((0.0, 1e-5)))
        c = numerics.choose_norm(kind, scale, element, count, epsilon, gamma, beta, 0.03)
        epilogue = Requantise(
            b.constant(f"{kind}.multiplier", c.multiplier, numerics.NORM_MULTIPLIER),
            b.constant(f"{kind}.shift", c.shift, numerics.SHIFT),
            b.constant(f"{kind}.bias", c.bias, numerics.BIAS),
            I8.lo,
            I8.hi,
        )
        rest = {"epsilon": c.epsilon, "fraction": c.fraction, "epilogue": epilogue}
        parts = groups if kind == "group" else 1
        made.append(b.made(Norm, kind, shape, I8, kind=kind, input=x, groups=parts, **rest))
    return b.build((x, mask), tuple(made))


@settings(REPEATABLE, max_examples=4)
@given(workload=rows())
def test_softmax_and_norms_equal_the_reference(workload: Workload, kernel_cache: Path) -> None:
    check(workload, kernel_cache, 3)


@pytest.mark.parametrize("aligned", [False, True])
def test_resizing_equals_the_reference(aligned: bool, kernel_cache: Path) -> None:
    b = Tensors()
    x = b.tensor("x", (1, 3, 5, 7), ElementType(16))
    larger = b.moved(Resize, "up", x, (1, 3, 10, 15), factors=(2.0, None), aligned=aligned)
    y = b.moved(Resize, "down", larger, (1, 3, 10, 4), factors=(None,), aligned=aligned)
    check(b.build((x,), (y,)), kernel_cache, 2)


def extreme(weight: int, inputs: int, element: ElementType, bias: int = 0) -> Workload:
    """One product whose accumulators are as large as `weight` on every input makes them."""
    b = Builder()
    x = b.tensor("x", (1, inputs), element)
    y = b.matmul("fc", x, 3, ElementType(48))
    wide = ElementType(16)
    b.constant("fc.weight", np.full((3, inputs), weight), wide)
    numbers = {"fc.multiplier": 1, "fc.shift": 1, "fc.bias": bias}
    b.constants.update({name: np.full(3, value) for name, value in numbers.items()})
    return b.build((x,), (y,))


@pytest.mark.parametrize(
    ("weight", "inputs", "element"),
    [
        (127, 66051, U8),
        (-128, 65793, U8),
        (127, 131071, I8),
        (-128, 131071, I8),
        (-128, 131072, I8),
        (127, 66312, I8),
        (-32768, 3, ElementType(16)),
        (32767, 65535, ElementType(16)),
        (32767, 2, ElementType(16, "unsigned")),
        (-1, 5, ElementType(1, "bipolar")),
    ],
)
def test_accumulators_at_and_beyond_32_bits_are_exact(
    weight: int, inputs: int, element: ElementType, kernel_cache: Path
) -> None:
    workload = extreme(weight, inputs, element)
    network = compile_network(workload, cache=kernel_cache)
    for value in (element.lo, element.hi):
        given_inputs = {"x": np.full((2, inputs), value)}
        np.testing.assert_array_equal(
            network.run(given_inputs)["fc.out"], [[(value * weight * inputs) >> 1] * 3] * 2
        )
        expected = reference.run(workload, given_inputs)["fc.out"]
        np.testing.assert_array_equal(network.run(given_inputs)["fc.out"], expected)


@pytest.mark.parametrize("bias", [(1 << 47) - 1, -(1 << 47)])
def test_biases_of_48_bits_are_added_in_full(bias: int, kernel_cache: Path) -> None:
    workload = extreme(127, 1000, U8, bias)
    found = compile_network(workload, cache=kernel_cache).run({"x": np.full((1, 1000), 255)})
    assert found["fc.out"].tolist() == [[(255 * 127 * 1000 + bias) >> 1] * 3]


def test_a_sum_beyond_32_bits_in_the_epilogue_is_not_split(kernel_cache: Path) -> None:
    """Products of opposite signs, each beyond 32 bits: TVM may regroup, never wrap."""
    b = Builder()
    x = b.tensor("x", (1, 2), ElementType(32))
    b.ops.append(
        Rescale("wide", x, b.tensor("y", (1, 2), ElementType(32)), b.epilogue("e", 2, I8, 1.0, x))
    )
    numbers = {"multiplier": 65535, "shift": 1, "bias": -(1 << 40), "residual_multiplier": -65535}
    b.constants.update({f"e.{name}": np.full(2, value) for name, value in numbers.items()})
    workload = b.build((x,), ("y",))
    inputs = {"x": np.array([[(1 << 31) - 1, -(1 << 31)]])}
    found = compile_network(workload, cache=kernel_cache).run(inputs)["y"]
    np.testing.assert_array_equal(found, reference.run(workload, inputs)["y"])
    assert found.tolist() == [[-128, -128]]


@dataclass(frozen=True)
class Wish:
    """An operator that no table knows."""

    name: str
    output: str
    source: Source


def test_tensors_without_axes(kernel_cache: Path) -> None:
    gate = Calls(lambda m, x: torch.sigmoid((x * x).sum()) * x.max() + x.mean()).eval()
    workload = to_workload(gate, (images(1, 3, 4),))
    shapes = {type(op): workload.tensor(op.output).shape for op in workload}
    assert shapes[Rescale] == shapes[Multiply] == ()
    check(workload, kernel_cache, 3)


def test_an_operator_without_a_definition_is_refused() -> None:
    wish = Wish("wish", "y", Source((), "model.py:7"))
    with pytest.raises(UnsupportedError) as caught:
        define(Definition(every_operator(), cast(Op, wish)))
    assert str(caught.value) == (
        "wish (model.py:7): Wish has no compiled kernel, only BatchMatMul, Concat, Constant, "
        "Conv2d, Eltwise, Expand, Gather, MatMul, Multiply, Norm, Pad, Pool, Reduce, Rescale, "
        "Reshape, Resize, Slice, Softmax, Transpose have; use the reference"
    )
