"""Workloads with seeded random constants, built operator by operator."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.numerics import (
    BIAS,
    MULTIPLIER,
    NORM_MULTIPLIER,
    RESIDUAL_MULTIPLIER,
    SHIFT,
    choose_norm,
    choose_softmax,
    exact_reciprocal,
)
from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Conv2d,
    ElementType,
    Eltwise,
    MatMul,
    Norm,
    Op,
    Padding,
    Pool,
    Requantise,
    Rescale,
    Reshape,
    Shape,
    Softmax,
    Tensor,
    Transpose,
    Workload,
    channel_axis,
)

I8 = ElementType(8)
U8 = ElementType(8, "unsigned")
MIXED = (I8, ElementType(4), ElementType(2), ElementType(3), ElementType(2, "ternary"))
"""Types of weights that take 8, 4 and 2 bits on the npu."""


@dataclass
class Builder:
    """Collects tensors, constants and operators; every constant is drawn from `seed`.

    The operators take the types in `weights` in turns.
    """

    seed: int = 0
    weights: tuple[ElementType, ...] = (I8,)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.integer]] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def tensor(self, name: str, shape: Shape, element: ElementType = I8) -> str:
        self.tensors[name] = Tensor(name, shape, element, 0.05)
        return name

    def constant(self, name: str, array: NDArray[np.integer], element: ElementType) -> str:
        self.tensors[name] = Tensor(name, array.shape, element)
        self.constants[name] = array
        return name

    def epilogue(
        self,
        name: str,
        channels: int,
        element: ElementType,
        gain: float,
        residual: str | None = None,
        table: bool = False,
        sign: int = 1,
        source: str | None = None,
    ) -> Requantise:
        """Random constants that scale accumulators of `source` by about `gain`, bytes by bytes."""
        narrowing = self.halves(source) - _halves(element) if source else 0
        shift = self.random.integers(16, 20, channels) + 8 * max(narrowing, 0)
        factor = self.random.uniform(0.5, 1.0, channels) * gain * 2.0 ** (shift - 8 * narrowing)
        multiplier = np.minimum(factor.astype(np.int64), 65535)
        bias = self.random.integers(-8, 8, channels) << shift
        other = self.random.integers(1, 65536, channels) * sign
        if residual is not None and self.halves(residual) > _halves(element):
            other = (other >> 8) + sign
        entries = self.random.integers(element.lo, element.hi + 1, 256)
        return Requantise(
            self.constant(f"{name}.multiplier", multiplier, MULTIPLIER),
            self.constant(f"{name}.shift", shift, SHIFT),
            self.constant(f"{name}.bias", bias + (1 << (shift - 1)), BIAS),
            element.lo,
            element.hi,
            residual,
            None
            if residual is None
            else self.constant(f"{name}.residual_multiplier", other, RESIDUAL_MULTIPLIER),
            self.constant(f"{name}.table", entries, element) if table else None,
        )

    def halves(self, name: str) -> int:
        """Bytes of an element of a tensor."""
        return _halves(self.tensors[name].element)

    def weight(self, name: str, source: str, shape: Shape) -> str:
        """Weights whose sums of products with `source` fit 32 bits."""
        own = self.weights[len(self.ops) % len(self.weights)]
        element, products = self.tensors[source].element, int(np.prod(shape[1:]))
        limit = max((1 << 30) // (products * max(element.hi, -element.lo)), 1)
        low, high = max(own.lo, -limit), min(own.hi, limit - 1)
        return self.constant(name, self.random.integers(low, high + 1, shape, np.int8), own)

    def gain(self, weight: str) -> float:
        """A factor that brings sums of random products with `weight` back to a byte."""
        tensor = self.tensors[weight]
        return float(1.4 / np.sqrt(np.prod(tensor.shape[1:])) / (tensor.element.hi + 1))

    def conv(
        self,
        name: str,
        source: str,
        outputs: int,
        kernel: tuple[int, int] = (3, 3),
        stride: tuple[int, int] = (1, 1),
        padding: Padding = (0, 0, 0, 0),
        dilation: tuple[int, int] = (1, 1),
        groups: int = 1,
        element: ElementType = I8,
        residual: str | None = None,
        table: bool = False,
    ) -> str:
        n, c, y, x = self.tensors[source].shape
        weight = self.weight(f"{name}.weight", source, (outputs, c // groups, *kernel))
        oy = (y + padding[0] + padding[1] - dilation[0] * (kernel[0] - 1) - 1) // stride[0] + 1
        ox = (x + padding[2] + padding[3] - dilation[1] * (kernel[1] - 1) - 1) // stride[1] + 1
        self.ops.append(
            Conv2d(
                name,
                source,
                weight,
                self.tensor(f"{name}.out", (n, outputs, oy, ox), element),
                stride,
                padding,
                dilation,
                groups,
                self.epilogue(
                    name, outputs, element, self.gain(weight), residual, table, 1, source
                ),
            )
        )
        return f"{name}.out"

    def matmul(self, name: str, source: str, outputs: int, element: ElementType = I8) -> str:
        *rows, k = self.tensors[source].shape
        weight = self.weight(f"{name}.weight", source, (outputs, k))
        self.ops.append(
            MatMul(
                name,
                source,
                weight,
                self.tensor(f"{name}.out", (*rows, outputs), element),
                self.epilogue(name, outputs, element, self.gain(weight), source=source),
            )
        )
        return f"{name}.out"

    def pool(
        self,
        name: str,
        source: str,
        kind: Literal["max", "average"],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding = (0, 0, 0, 0),
    ) -> str:
        n, c, y, x = self.tensors[source].shape
        element = self.tensors[source].element
        oy = (y + padding[0] + padding[1] - kernel[0]) // stride[0] + 1
        ox = (x + padding[2] + padding[3] - kernel[1]) // stride[1] + 1
        epilogue = None
        if kind == "average":
            count = kernel[0] * kernel[1]
            m, s, b = (1 << 16) // (count + 1), 16, 1 << 15
            if self.halves(source) == 1:
                m, s, b = exact_reciprocal(name, count, element.lo, element.hi)
            epilogue = Requantise(
                self.constant(f"{name}.multiplier", np.full(c, m), MULTIPLIER),
                self.constant(f"{name}.shift", np.full(c, s), SHIFT),
                self.constant(f"{name}.bias", np.full(c, b), BIAS),
                element.lo,
                element.hi,
            )
        output = self.tensor(f"{name}.out", (n, c, oy, ox), element)
        self.ops.append(Pool(name, kind, source, output, kernel, stride, padding, epilogue))
        return output

    def eltwise(
        self,
        name: str,
        kind: Literal["add", "sub"],
        first: str,
        second: str,
        element: ElementType = I8,
    ) -> str:
        shape = self.tensors[first].shape
        sign = 1 if kind == "add" else -1
        channels = shape[channel_axis(len(shape))]
        epilogue = self.epilogue(name, channels, element, 0.5, second, sign=sign, source=first)
        output = self.tensor(f"{name}.out", shape, element)
        self.ops.append(Eltwise(name, kind, first, output, epilogue))
        return output

    def rescale(self, name: str, source: str, element: ElementType = U8, table: bool = True) -> str:
        shape = self.tensors[source].shape
        channels = shape[channel_axis(len(shape))]
        epilogue = self.epilogue(name, channels, element, 1.0, table=table, source=source)
        self.ops.append(Rescale(name, source, self.tensor(f"{name}.out", shape, element), epilogue))
        return f"{name}.out"

    def norm(
        self, name: str, source: str, kind: Literal["layer", "rms"], element: ElementType = I8
    ) -> str:
        shape, made = self.tensors[source].shape, self.tensors[source].element
        gamma, beta = self.random.normal(size=(2, shape[-1]))
        scale = 6.0 / (element.hi + 1)
        chosen = choose_norm(name, 0.05, made, shape[-1], 1e-5, gamma, beta, scale)
        epilogue = Requantise(
            self.constant(f"{name}.multiplier", chosen.multiplier, NORM_MULTIPLIER),
            self.constant(f"{name}.shift", chosen.shift, SHIFT),
            self.constant(f"{name}.bias", chosen.bias, BIAS),
            element.lo,
            element.hi,
        )
        output = self.tensor(f"{name}.out", shape, element)
        numbers = chosen.epsilon, chosen.fraction, epilogue
        self.ops.append(Norm(name, kind, source, output, *numbers))
        return output

    def softmax(self, name: str, source: str, mask: str | None = None) -> str:
        shape = self.tensors[source].shape
        chosen = choose_softmax(name, 0.05, shape[-1])
        output = self.tensor(f"{name}.out", shape, U8)
        self.ops.append(Softmax(name, source, output, chosen.multiplier, chosen.shift, mask))
        return output

    def products(
        self,
        name: str,
        source: str,
        other: str,
        *,
        transposed: bool = False,
        element: ElementType = I8,
    ) -> str:
        *leading, rows, k = self.tensors[source].shape
        columns = self.tensors[other].shape[-2 if transposed else -1]
        gain = 0.7 / np.sqrt(k) / 64
        epilogue = self.epilogue(name, 1, element, gain, source=source)
        output = self.tensor(f"{name}.out", (*leading, rows, columns), element)
        self.ops.append(BatchMatMul(name, source, other, output, transposed, epilogue))
        return output

    def transpose(self, name: str, source: str) -> str:
        n, first, second, features = self.tensors[source].shape
        element = self.tensors[source].element
        output = self.tensor(f"{name}.out", (n, second, first, features), element)
        self.ops.append(Transpose(name, source, output, (0, 2, 1, 3)))
        return output

    def concat(self, name: str, *sources: str) -> str:
        shapes = [self.tensors[source].shape for source in sources]
        axis = channel_axis(len(shapes[0]))
        epilogues = tuple(
            self.epilogue(f"{name}.{i}", shape[axis], I8, 0.8, source=source)
            for i, (shape, source) in enumerate(zip(shapes, sources, strict=True))
        )
        joined = list(shapes[0])
        joined[axis] = sum(shape[axis] for shape in shapes)
        output = self.tensor(f"{name}.out", tuple(joined))
        self.ops.append(Concat(name, sources, output, epilogues, axis))
        return output

    def reshape(self, name: str, source: str, shape: Shape) -> str:
        output = self.tensor(f"{name}.out", shape, self.tensors[source].element)
        self.ops.append(Reshape(name, source, output))
        return output

    def build(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Workload:
        return Workload("built", inputs, outputs, tuple(self.ops), self.tensors, self.constants)


def _halves(element: ElementType) -> int:
    return 1 if element.hi - element.lo <= 0xFF else 2


def every_operator(seed: int = 0) -> Workload:
    """A small network that holds each operator at least once."""
    b = Builder(seed)
    x = b.tensor("x", (1, 4, 9, 8))
    stem = b.conv("stem", x, 8, stride=(2, 1), padding=(1, 0, 2, 1), element=U8)
    wide = b.conv("depthwise", stem, 8, padding=(2, 2, 2, 2), dilation=(2, 2), groups=8)
    mixed = b.conv("grouped", wide, 8, padding=(1, 1, 1, 1), groups=2, residual=stem, table=True)
    added = b.eltwise("add", "add", mixed, wide)
    taken = b.eltwise("sub", "sub", added, mixed)
    joined = b.concat("concat", taken, stem)
    most = b.pool("max", joined, "max", (3, 3), (2, 2), (1, 0, 1, 1))
    curve = b.rescale("curve", most)
    mean = b.pool("average", curve, "average", (2, 3), (1, 1))
    shape = b.tensors[mean].shape
    flat = b.reshape("flatten", mean, (1, int(np.prod(shape[1:]))))
    return b.build((x,), (b.matmul("head", flat, 5), b.rescale("tail", added, I8, table=False)))


def every_wide_operator(seed: int = 0) -> Workload:
    """Values of 9 to 16 bits made, added and read by every operator that may; mixed weights."""
    b = Builder(seed, MIXED)
    i16, i12, u15 = ElementType(16), ElementType(12), ElementType(15, "unsigned")
    x = b.tensor("x", (1, 5, 7, 6))
    z = b.tensor("z", (1, 9, 7, 6), i16)
    stem = b.conv("stem", x, 9, padding=(1, 1, 1, 1), element=i16, residual=z)
    narrow = b.conv("narrow", stem, 7, (1, 1), element=U8)
    deep = b.conv("depthwise", narrow, 7, padding=(1, 1, 1, 1), groups=7, element=u15)
    sums = b.conv("project", deep, 9, (1, 1), element=i12, residual=stem)
    added = b.eltwise("add", "add", stem, sums, i16)
    taken = b.eltwise("sub", "sub", narrow, b.conv("same", deep, 7, (1, 1), element=u15))
    joined = b.concat("concat", b.rescale("curve", added, I8), added, taken)
    windows = b.conv("windows", added, 9, stride=(2, 1), padding=(1, 0, 1, 1), groups=9)
    mean = b.pool("average", added, "average", (2, 2), (2, 2))
    flat = b.reshape("flatten", mean, (1, 9 * 3 * 3))
    return b.build((x, z), (b.matmul("head", flat, 11, i16), windows, joined))


def every_row_operator(seed: int = 0) -> Workload:
    """Norms and softmax of 8 and 16 bits: of rows amid products, of vectors, under masks."""
    b = Builder(seed, MIXED)
    u1 = ElementType(1, "unsigned")
    x = b.tensor("x", (1, 9, 10), ElementType(16))
    z = b.tensor("z", (1, 18))
    whole, row = b.tensor("whole", (1, 9, 13), u1), b.tensor("row", (1, 1, 13), u1)
    before = b.norm("before", x, "layer")
    curve = b.rescale("curve", b.matmul("up", before, 21, I8), I8)
    added = b.eltwise("add", "add", b.matmul("down", curve, 10), x, ElementType(16))
    wide = b.norm("wide", added, "rms", ElementType(16))
    gate = b.matmul("gate", wide, 13, U8)
    scores = b.matmul("scores", wide, 13, ElementType(16))
    results = (
        b.norm("narrow", gate, "rms"),
        b.softmax("masked", gate, whole),
        b.softmax("shared", scores, row),
        b.matmul("mixed", b.softmax("plain", scores), 6),
        b.softmax("last", b.norm("vector", z, "layer")),
    )
    return b.build((x, z, whole, row), (*results, wide))


def draw_inputs(workload: Workload, seed: int = 0, images: int = 1) -> dict[str, NDArray[np.int64]]:
    """Seeded integers over the whole range of every input."""
    random = np.random.default_rng(seed)
    return {
        name: random.integers(
            workload.tensor(name).element.lo,
            workload.tensor(name).element.hi + 1,
            (images, *workload.tensor(name).shape[1:]),
        )
        for name in workload.inputs
    }


def attention(
    b: Builder, name: str, source: str, heads: int, mask: str | None = None, features: int = 0
) -> str:
    """Attention of rows on themselves with heads of `features`, joined to rows again."""
    _, rows, width = b.tensors[source].shape
    each = features or width // heads
    query, key, value = (
        _heads(b, f"{name}.{part}", b.matmul(f"{name}.{part}", source, heads * each), heads)
        for part in ("query", "key", "value")
    )
    scores = b.products(f"{name}.scores", query, key, transposed=True, element=ElementType(16))
    mixed = b.products(f"{name}.mixed", b.softmax(f"{name}.softmax", scores, mask), value)
    moved = b.transpose(f"{name}.moved", mixed)
    return b.reshape(f"{name}.joined", moved, (1, rows, heads * each))


def every_product(seed: int = 0) -> Workload:
    """Attention under a mask, products of heads that enter the network, and of rows."""
    b = Builder(seed)
    x = b.tensor("x", (1, 9, 10))
    mask = b.tensor("mask", (1, 1, 9, 9), ElementType(1, "unsigned"))
    wide = b.tensor("wide", (1, 3, 5, 11), ElementType(16))
    keys, values = b.tensor("keys", (1, 3, 19, 11)), b.tensor("values", (1, 3, 19, 6))
    scores = b.products("scores", wide, keys, transposed=True, element=U8)
    mixed = b.products("mixed", scores, values, element=ElementType(16))
    rows = b.products("rows", x, b.tensor("right", (1, 10, 7)))
    joined = b.matmul("last", attention(b, "attention", x, 2, mask, 16), 12)
    inputs = (x, mask, wide, keys, values, "right")
    return b.build(inputs, (joined, b.softmax("softmax", scores), mixed, rows))


def _heads(b: Builder, name: str, source: str, heads: int) -> str:
    """Rows of all heads as heads of rows."""
    _, rows, width = b.tensors[source].shape
    apart = b.reshape(f"{name}.apart", source, (1, rows, heads, width // heads))
    return b.transpose(f"{name}.heads", apart)
