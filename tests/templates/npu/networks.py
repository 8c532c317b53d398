"""Random designs and networks for the npu, and the check that its programs compute them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from intaglio.compiler import reference
from intaglio.compiler.partition import partition
from intaglio.compiler.workload import Op, Workload
from intaglio.sim import isa
from intaglio.sim.kept import Keeping
from intaglio.sim.machine import Machine
from intaglio.templates.deployment import Deployment
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import decode
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.schedule import schedule
from intaglio.templates.template import NpuTemplate
from tests.compiler.builders import I8, MIXED, U8, Builder, draw_inputs

REPEATABLE = settings(derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""The same examples in every run, and as long as they take."""

SMALL = NpuDesign(
    rows=4,
    cols=8,
    lanes=4,
    vector_lanes=4,
    activation_buffer_kib=1,
    weight_buffer_kib=1,
    accumulator_buffer_kib=1,
    memory_bytes_per_cycle=4,
    name="small",
)
"""Buffers so small that everything is cut."""


def resnet18(size: int = 224) -> Workload:
    """ResNet-18 (He et al., 2016, table 1) with random weights."""
    b = Builder()
    x = b.tensor("x", (1, 3, size, size))
    y = b.conv("conv1", x, 64, (7, 7), (2, 2), (3, 3, 3, 3), element=U8)
    y = b.pool("maxpool", y, "max", (3, 3), (2, 2), (1, 1, 1, 1))
    for stage, channels in enumerate((64, 128, 256, 512), 1):
        for block in range(2):
            name, step = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            short, pads = y, (1, 1, 1, 1)
            z = b.conv(f"{name}.conv1", y, channels, (3, 3), (step, step), pads, element=U8)
            if step > 1:
                short = b.conv(f"{name}.downsample", y, channels, (1, 1), (step, step))
            y = b.conv(f"{name}.conv2", z, channels, (3, 3), (1, 1), pads, residual=short)
    extents = b.tensors[y].shape[2:]
    y = b.pool("avgpool", y, "average", (extents[0], extents[1]), (1, 1))
    return b.build((x,), (b.matmul("fc", b.reshape("flatten", y, (1, 512)), 1000),))


@st.composite
def designs(draw: st.DrawFn, row_lanes: tuple[int, ...] = (0,)) -> NpuDesign:
    """Legal designs of every shape, most of them with small buffers."""
    lanes = draw(st.sampled_from((4, 8, 16, 32)))
    cols = draw(st.sampled_from([c for c in (4, 8, 16, 32, 64) if c >= lanes]))
    beat = draw(st.sampled_from([b for b in (4, 8, 16, 32) if b <= lanes]))
    least = max(1, cols // 8)
    sizes = st.sampled_from((1, 2, 4, 8))
    return NpuDesign(
        rows=lanes,
        cols=cols,
        lanes=lanes,
        vector_lanes=lanes,
        row_lanes=draw(st.sampled_from(row_lanes)),
        activation_buffer_kib=least * draw(sizes),
        weight_buffer_kib=2 * least * draw(sizes),
        accumulator_buffer_kib=least * draw(sizes),
        weight_bits=draw(st.sampled_from((2, 4, 8))),
        memory_bytes_per_cycle=beat,
        name="drawn",
    )


@st.composite
def networks(draw: st.DrawFn) -> Workload:
    """Two to five operators, each reading something made before it."""
    b = Builder(draw(st.integers(0, 1 << 16)), draw(st.sampled_from(((I8,), MIXED))))
    size = draw(st.integers(3, 12)), draw(st.integers(3, 12))
    channels = draw(st.integers(1, 20))
    x = b.tensor("x", (1, channels, *size), draw(st.sampled_from((I8, U8))))
    made = [x]
    for index in range(draw(st.integers(1, 5))):
        source = draw(st.sampled_from(made))
        grow = draw(st.sampled_from(_GROWERS))
        made.append(grow(draw, b, f"op{index}", source, made))
    last = made[-1]
    if draw(st.booleans()):
        elements = int(np.prod(b.tensors[last].shape))
        flat = b.reshape("flat", last, (1, elements))
        last = b.matmul("head", flat, draw(st.integers(1, 20)))
    return b.build((x,), (last,))


Grower = Callable[[st.DrawFn, Builder, str, str, list[str]], str]


def _window(draw: st.DrawFn, extents: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Kernel, stride and dilation that fit in `extents` without padding."""
    kernel = [draw(st.integers(1, min(4, e))) for e in extents]
    dilation = [
        draw(st.integers(1, min(3, (e - 1) // (k - 1)))) if k > 1 else 1
        for e, k in zip(extents, kernel, strict=True)
    ]
    stride = [draw(st.integers(1, 3)) for _ in extents]
    return (kernel[0], kernel[1]), (stride[0], stride[1]), (dilation[0], dilation[1])


def _pads(draw: st.DrawFn, most: tuple[int, int]) -> tuple[int, int, int, int]:
    y, x = most
    sides = [draw(st.integers(0, limit)) for limit in (y, y, x, x)]
    return sides[0], sides[1], sides[2], sides[3]


def _conv(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, channels, *extents = b.tensors[source].shape
    kernel, stride, dilation = _window(draw, tuple(extents))
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4, 5) if channels % g == 0]))
    outputs = groups * draw(st.integers(1, 20 // groups))
    return b.conv(
        name,
        source,
        outputs,
        kernel,
        stride,
        _pads(draw, (3, 3)),
        dilation,
        groups,
        draw(st.sampled_from((I8, U8))),
        table=draw(st.booleans()),
    )


def _depthwise(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, channels, *extents = b.tensors[source].shape
    kernel, stride, dilation = _window(draw, tuple(extents))
    pads = _pads(draw, (2, 2))
    return b.conv(name, source, channels, kernel, stride, pads, dilation, groups=channels)


def _residual(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    _, channels, *_ = b.tensors[source].shape
    same = [other for other in made if b.tensors[other].shape == b.tensors[source].shape]
    return b.conv(name, source, channels, (1, 1), residual=draw(st.sampled_from(same)))


def _pool(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    kernel, stride, _ = _window(draw, b.tensors[source].shape[2:])
    kind = draw(st.sampled_from(("max", "average")))
    pads = _pads(draw, (kernel[0] // 2, kernel[1] // 2)) if kind == "max" else (0, 0, 0, 0)
    return b.pool(name, source, "max" if kind == "max" else "average", kernel, stride, pads)


def _eltwise(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    same = [other for other in made if b.tensors[other].shape == b.tensors[source].shape]
    kind = draw(st.booleans())
    return b.eltwise(name, "add" if kind else "sub", source, draw(st.sampled_from(same)))


def _rescale(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    return b.rescale(name, source, draw(st.sampled_from((I8, U8))), draw(st.booleans()))


def _concat(draw: st.DrawFn, b: Builder, name: str, source: str, made: list[str]) -> str:
    extents = b.tensors[source].shape[2:]
    same = [other for other in made if b.tensors[other].shape[2:] == extents]
    others = draw(st.lists(st.sampled_from(same), min_size=1, max_size=3))
    return b.concat(name, source, *others)


_GROWERS: tuple[Grower, ...] = (
    _conv,
    _conv,
    _depthwise,
    _residual,
    _pool,
    _eltwise,
    _rescale,
    _concat,
)


def run(program: Program, inputs: dict[str, np.ndarray], order: int | None) -> np.ndarray:
    """Memory, then what stays on the chip, in the order of the program's text or a random one."""
    machine = Machine(program.design, program.memory_bytes)
    image = program.memory_image()
    machine.memory.write(np.zeros(1, np.int64), image[None], True)
    for number in range(program.images):
        for layout in (program.layout(name, number) for name in program.inputs):
            raw = layout.pack(inputs[layout.name][number : number + 1])
            machine.memory.write(np.array([layout.address]), raw[None], True)
    instructions = decode(program.instructions)
    indices = (
        isa.program_order(program, instructions)
        if order is None
        else isa.random_order(program, instructions, order)
    )
    keeping = Keeping(program)
    for index in indices:
        machine.execute(instructions[index])
        keeping.note(machine, index, instructions[index])
    return keeping.after(machine)[0]


def check(
    workload: Workload, program: Program, orders: tuple[int | None, ...] = (None, 0, 1)
) -> None:
    """Every byte of every tensor, padding included, is what the integer reference says.

    Of `orders`, None is the order of the program's text and a number the seed of a random one.
    """
    inputs = draw_inputs(workload, images=program.images)
    alone = [{n: v[i : i + 1] for n, v in inputs.items()} for i in range(program.images)]
    expected = [reference.run(workload, image) for image in alone]
    for order in orders:
        memory = run(program, inputs, order)
        for image, values in enumerate(expected):
            for layout in (program.layout(name, image) for name in program.tensors):
                found = memory[layout.address : layout.address + layout.bytes]
                where = layout.name, image, order
                assert np.array_equal(found, layout.pack(values[layout.name])), where
                assert np.array_equal(layout.unpack(found), values[layout.name]), where


def cut(workload: Workload, design: NpuDesign, *hosted: str, images: int = 1) -> Deployment:
    """`workload` on `design`, `images` a run, with the operators named `hosted` on the host."""
    made = partition(workload, hosted)
    programs = tuple(schedule(part.workload, design, images=images) for part in made.accelerated)
    return Deployment(made, programs)


@dataclass(frozen=True, slots=True)
class Picky(NpuTemplate):
    """An npu that refuses some operators by name."""

    refused: frozenset[str] = frozenset()

    def supports(self, op: Op, workload: Workload, design: NpuDesign) -> str | None:
        if op.name in self.refused:
            return f"{op.name}: is refused; do without"
        return NpuTemplate.supports(self, op, workload, design)
