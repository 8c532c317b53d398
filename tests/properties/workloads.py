"""Random workloads of every operator, and random legal designs to run them on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from intaglio.compiler.workload import ElementType, Padding, Pair, Workload
from intaglio.templates.npu.design import NpuDesign
from tests.compiler.builders import MIXED, Builder

REPEATABLE = settings(
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
"""The same examples in every run, and as long as they take."""

MOST_CHANNELS = 70
MOST_PIXELS = 400
MOST_WEIGHTS = 20_000
"""Of one operator, so that every example runs in a moment."""


@st.composite
def designs(draw: st.DrawFn) -> NpuDesign:
    """Legal designs of 4 to 32 rows and up to 64 columns, buffers of 1 KiB upwards."""
    rows = draw(st.sampled_from((4, 8, 16, 32)))
    cols = draw(st.sampled_from([c for c in (4, 8, 16, 32, 64) if c >= rows]))
    beat = draw(st.sampled_from([b for b in (4, 8, 16, 32) if b <= rows]))
    sizes = st.sampled_from((1, 1, 2, 4, 8, 32, 128))
    return NpuDesign(
        rows=rows,
        cols=cols,
        lanes=rows,
        vector_lanes=rows,
        activation_buffer_kib=draw(sizes),
        weight_buffer_kib=draw(sizes),
        accumulator_buffer_kib=max(1, cols // 8) * draw(sizes),
        memory_bytes_per_cycle=beat,
        weight_bits=draw(st.sampled_from((2, 2, 4, 8))),
        memory_latency_cycles=draw(st.sampled_from((1, 7, 40, 300))),
        name="drawn",
    )


def elements() -> st.SearchStrategy[ElementType]:
    """Types of activations: mostly of 8 bits, some narrower, some wide."""
    bits = st.sampled_from((8, 8, 8, 8, 8, 5, 4, 2, 10, 15))
    wide = st.sampled_from((ElementType(16), ElementType(15, "unsigned")))
    return st.builds(ElementType, bits, st.sampled_from(("signed", "unsigned"))) | wide


def _table(draw: st.DrawFn, element: ElementType) -> bool:
    """Whether results of this type go through a table, which narrow ones may."""
    return draw(st.booleans()) and element.bits <= 8


@st.composite
def networks(draw: st.DrawFn, most_operators: int = 5) -> Workload:
    """One to `most_operators` operators on feature maps, then perhaps some on vectors.

    Each reads something made before it, so chains, branches and joins all come up.
    """
    b = Builder(draw(st.integers(0, 1 << 16)), draw(st.permutations(MIXED).map(tuple)))
    if draw(st.integers(0, 4)) == 0:
        return _on_rows(draw, b, most_operators)
    made = [_input(draw, b, "x")]
    if draw(st.integers(0, 3)) == 0:
        made.append(_input(draw, b, "z", b.tensors["x"].shape[2:]))
    inputs = tuple(made)
    for index in range(draw(st.integers(1, most_operators))):
        _grow(draw, b, f"op{index}", made, _ON_MAPS)
    last = made[-1]
    outputs = (last, _head(draw, b, made)) if draw(st.booleans()) else (last,)
    return b.build(inputs, outputs)


def _on_rows(draw: st.DrawFn, b: Builder, most_operators: int) -> Workload:
    """Operators on rows of features, then perhaps a product over all of them."""
    features = draw(st.one_of(st.integers(1, 9), st.integers(1, MOST_CHANNELS)))
    x = b.tensor("x", (1, draw(st.integers(1, 20)), features), draw(elements()))
    made = [x]
    for index in range(draw(st.integers(1, most_operators))):
        _grow(draw, b, f"op{index}", made, _ON_ROWS)
    outputs = [made[-1]]
    if draw(st.booleans()):
        size = int(np.prod(b.tensors[made[-1]].shape))
        flat = b.reshape("flat", made[-1], (1, size))
        outputs.append(b.matmul("fc", flat, draw(st.integers(1, 20)), draw(elements())))
    return b.build((x,), tuple(outputs))


def _input(draw: st.DrawFn, b: Builder, name: str, size: tuple[int, ...] = ()) -> str:
    extents = size or (draw(st.integers(1, 14)), draw(st.integers(1, 14)))
    channels = draw(st.one_of(st.integers(1, 9), st.integers(1, MOST_CHANNELS)))
    return b.tensor(name, (1, channels, *extents), draw(elements()))


def _head(draw: st.DrawFn, b: Builder, made: list[str]) -> str:
    """The last feature map as a vector, and one to three operators on vectors."""
    sizes = {name: int(np.prod(b.tensors[name].shape)) for name in made}
    source = min(reversed(made), key=lambda name: sizes[name])
    flat = b.reshape("flat", source, (1, sizes[source]))
    vectors = [b.matmul("fc", flat, draw(st.integers(1, 20)), draw(elements()))]
    for index in range(draw(st.integers(0, 2))):
        _grow(draw, b, f"vec{index}", vectors, _ON_VECTORS)
    return vectors[-1]


Grower = Callable[[st.DrawFn, Builder, str, str, list[str]], str]


def _grow(
    draw: st.DrawFn, b: Builder, name: str, made: list[str], growers: tuple[Grower, ...]
) -> None:
    recent = made[-3:]
    made.append(draw(st.sampled_from(growers))(draw, b, name, draw(st.sampled_from(recent)), made))


def _kernel(draw: st.DrawFn, most: int, room: Pair) -> tuple[Pair, Pair]:
    """A kernel of up to `most` and a dilation, which fit in `room` pixels."""
    kernel = [draw(st.integers(1, min(most, extent))) for extent in room]
    dilation = [
        draw(st.integers(1, min(3, (extent - 1) // (k - 1)))) if k > 1 else 1
        for extent, k in zip(room, kernel, strict=True)
    ]
    return (kernel[0], kernel[1]), (dilation[0], dilation[1])


def _pair(draw: st.DrawFn, most: int) -> Pair:
    return draw(st.integers(1, most)), draw(st.integers(1, most))


def _padding(draw: st.DrawFn, most: Pair) -> Padding:
    y, x = (st.integers(0, limit) for limit in most)
    return draw(y), draw(y), draw(x), draw(x)


def _same(b: Builder, shape: tuple[int, ...], made: list[str]) -> list[str]:
    return [name for name in made if b.tensors[name].shape == shape]


def _conv(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, channels, y, x = b.tensors[source].shape
    padding = _padding(draw, (3, 3)) if y * x <= MOST_PIXELS // 2 else (0, 0, 0, 0)
    kernel, dilation = _kernel(draw, 7, (y + sum(padding[:2]), x + sum(padding[2:])))
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    weights = kernel[0] * kernel[1] * channels // groups
    most = max(1, min(MOST_CHANNELS, MOST_WEIGHTS // weights) // groups)
    element = draw(elements())
    return b.conv(
        name,
        source,
        groups * draw(st.integers(1, most)),
        kernel,
        _pair(draw, 3),
        padding,
        dilation,
        groups,
        element,
        table=_table(draw, element),
    )


def _depthwise(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, channels, y, x = b.tensors[source].shape
    padding = _padding(draw, (3, 3)) if y * x <= MOST_PIXELS // 2 else (0, 0, 0, 0)
    kernel, dilation = _kernel(draw, 7, (y + sum(padding[:2]), x + sum(padding[2:])))
    stride = _pair(draw, 3)
    element = draw(elements())
    table = _table(draw, element)
    return b.conv(
        name, source, channels, kernel, stride, padding, dilation, channels, element, table=table
    )


def _residual(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    """A convolution that keeps the size of its input and adds a tensor made before."""
    _, channels, y, x = b.tensors[source].shape
    k = draw(st.sampled_from([k for k in (1, 3, 5) if k * k * channels * channels < MOST_WEIGHTS]))
    groups = draw(st.sampled_from((1, channels)))
    other = draw(st.sampled_from(_same(b, b.tensors[source].shape, made)))
    element = draw(elements())
    return b.conv(
        name,
        source,
        channels,
        (k, k),
        padding=(k // 2,) * 4,
        groups=groups,
        element=element,
        residual=other,
        table=_table(draw, element),
    )


def _pool(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, _, y, x = b.tensors[source].shape
    kernel = draw(st.integers(1, min(7, y))), draw(st.integers(1, min(7, x)))
    if draw(st.booleans()) and b.halves(source) == 1:
        pads = _padding(draw, (kernel[0] // 2, kernel[1] // 2))
        return b.pool(name, source, "max", kernel, _pair(draw, 3), pads)
    return b.pool(name, source, "average", kernel, _pair(draw, 3))


def _global_pool(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, _, y, x = b.tensors[source].shape
    return b.pool(name, source, "average", (y, x), (1, 1))


def _eltwise(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    other = draw(st.sampled_from(_same(b, b.tensors[source].shape, made)))
    kind: Literal["add", "sub"] = "add" if draw(st.booleans()) else "sub"
    return b.eltwise(name, kind, source, other, draw(elements()))


def _rescale(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    element = draw(elements())
    return b.rescale(name, source, element, _table(draw, element))


def _concat(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    extents = b.tensors[source].shape[2:]
    room = MOST_CHANNELS - b.tensors[source].shape[1]
    fitting = [
        other
        for other in made
        if b.tensors[other].shape[2:] == extents and b.tensors[other].shape[1] <= room // 2
    ]
    if not fitting:
        return b.concat(name, source)
    return b.concat(name, source, *draw(st.lists(st.sampled_from(fitting), max_size=2)))


def _matmul(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    return b.matmul(name, source, draw(st.integers(1, MOST_CHANNELS)), draw(elements()))


_ON_MAPS: tuple[Grower, ...] = (
    _conv,
    _conv,
    _conv,
    _depthwise,
    _residual,
    _pool,
    _global_pool,
    _eltwise,
    _rescale,
    _concat,
)


def _concat_rows(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    """Rows joined feature by feature."""
    room = MOST_CHANNELS - b.tensors[source].shape[2]
    fitting = [other for other in made if b.tensors[other].shape[2] <= room // 2]
    others = draw(st.lists(st.sampled_from(fitting), max_size=2)) if fitting else []
    return b.concat(name, source, *others)


_ON_VECTORS: tuple[Grower, ...] = (_matmul, _eltwise, _rescale, _concat)
_ON_ROWS: tuple[Grower, ...] = (_matmul, _matmul, _eltwise, _rescale, _concat_rows)
