"""What a network of the sweep makes the hardware do, and which designs met it: the coverage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import prod

from intaglio.compiler.workload import (
    BatchMatMul,
    Concat,
    Conv2d,
    Eltwise,
    MatMul,
    Norm,
    Op,
    Pool,
    Rescale,
    Softmax,
    Transpose,
    Workload,
    epilogues,
    inputs,
)
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.layout import halves_of
from intaglio.templates.npu.program import Program


def _kernel(op: Conv2d, workload: Workload) -> tuple[int, ...]:
    return workload.tensor(op.weight).shape[2:]


def _depthwise(op: Conv2d, workload: Workload) -> bool:
    return 1 < op.groups == workload.tensor(op.output).shape[1]


def _wide(name: str, workload: Workload) -> bool:
    return halves_of(workload.tensor(name).element) > 1


def _rank(op: Op, workload: Workload) -> int:
    return len(workload.tensor(op.output).shape)


def _weight_bits(program: Program, workload: Workload) -> set[int]:
    """Bits that the weights of convolutions on the array and of products take."""
    kept = (
        workload.tensor(op.weight).element
        for op in workload.ops
        if isinstance(op, MatMul) or (isinstance(op, Conv2d) and not _depthwise(op, workload))
    )
    return {program.design.packed_bits(element.lo, element.hi) for element in kept}


def _together(program: Program, workload: Workload) -> set[str]:
    """How layers of several operators work: `pair`, `tail` for a pair with one, or `group`."""
    ops = {op.name: op for op in workload.ops}
    several = [[ops[name] for name in layer.ops] for layer in program.layers if len(layer.ops) > 1]
    return {
        "group" if isinstance(one[0], _GROUPED) else {2: "pair", 3: "tail"}[len(one)]
        for one in several
    }


_GROUPED = BatchMatMul, MatMul, Norm, Softmax
OF_HEADS: dict[str, Callable[[Op, Workload], bool]] = {
    "product by columns of activations": lambda op, w: (
        isinstance(op, BatchMatMul) and op.transposed
    ),
    "product by rows of activations": lambda op, w: (
        isinstance(op, BatchMatMul) and not op.transposed
    ),
    "heads of rows": lambda op, w: isinstance(op, Transpose),
}
"""What attention is made of."""
OF_OPERATORS: dict[str, Callable[[Op, Workload], bool]] = {
    "convolution 1x1": lambda op, w: isinstance(op, Conv2d) and _kernel(op, w) == (1, 1),
    "convolution by more": lambda op, w: isinstance(op, Conv2d) and prod(_kernel(op, w)) > 1,
    "stride": lambda op, w: isinstance(op, Conv2d) and max(op.stride) > 1,
    "padding": lambda op, w: isinstance(op, Conv2d) and max(op.padding) > 0,
    "dilation": lambda op, w: isinstance(op, Conv2d) and max(op.dilation) > 1,
    "groups": lambda op, w: isinstance(op, Conv2d) and op.groups > 1 and not _depthwise(op, w),
    "depthwise": lambda op, w: isinstance(op, Conv2d) and _depthwise(op, w),
    "residual": lambda op, w: isinstance(op, Conv2d) and op.epilogue.residual is not None,
    "max pool": lambda op, w: isinstance(op, Pool) and op.kind == "max",
    "average pool": lambda op, w: isinstance(op, Pool) and op.kind == "average",
    "addition, subtraction": lambda op, w: isinstance(op, Eltwise),
    "rescaling": lambda op, w: isinstance(op, Rescale),
    "concatenation": lambda op, w: isinstance(op, Concat),
    "product of a vector": lambda op, w: isinstance(op, MatMul) and _rank(op, w) == 2,
    "product of rows": lambda op, w: isinstance(op, MatMul) and _rank(op, w) == 3,
    **OF_HEADS,
    "norm": lambda op, w: isinstance(op, Norm),
    "softmax": lambda op, w: isinstance(op, Softmax) and op.mask is None,
    "softmax under a mask": lambda op, w: isinstance(op, Softmax) and op.mask is not None,
    "table": lambda op, w: any(e.table is not None for e in epilogues(op)),
    "reads 9 to 16 bits": lambda op, w: any(_wide(name, w) for name in inputs(op)),
    "makes 9 to 16 bits": lambda op, w: _wide(op.output, w),
}
"""What an operator can be."""
OF_PROGRAMS: dict[str, Callable[[Program, Workload], bool]] = {
    "weights of 2 bits": lambda p, w: 2 in _weight_bits(p, w),
    "weights of 4 bits": lambda p, w: 4 in _weight_bits(p, w),
    "packed pixels": lambda p, w: any(t.kind == "packed" for t in p.tensors.values()),
    "pair of operators fused": lambda p, w: "pair" in _together(p, w),
    "pair with a tail": lambda p, w: "tail" in _together(p, w),
    "group of products and rows": lambda p, w: "group" in _together(p, w),
    "two images a run": lambda p, w: p.images == 2,
    "tensor above the activation buffer": lambda p, w: any(
        tensor.words > p.design.activation_words for tensor in p.tensors.values()
    ),
    "constants above the weight buffer": lambda p, w: any(
        region.bytes > p.design.weight_buffer_kib * 1024
        for name, region in p.regions.items()
        if name.startswith("constants ")
    ),
    "pixels above the accumulators": lambda p, w: any(
        tensor.plane_words > p.design.accumulator_words for tensor in p.tensors.values()
    ),
}
"""What a program can hold, and how its sizes can be beyond those of its design."""
FEATURES = (*OF_OPERATORS, *OF_PROGRAMS)

RANGES: dict[str, Callable[[NpuDesign], bool]] = {
    "16 to 128 multipliers": lambda d: d.multipliers <= 128,
    "256 to 1,024": lambda d: 256 <= d.multipliers <= 1024,
    "2,048 and 4,096": lambda d: d.multipliers >= 2048,
    "square": lambda d: d.rows == d.cols,
    "wider": lambda d: d.rows < d.cols,
    "4 bytes a cycle": lambda d: d.memory_bytes_per_cycle == 4,
    "8 to 64": lambda d: d.memory_bytes_per_cycle > 4,
    "latency to 20": lambda d: d.memory_latency_cycles <= 20,
    "40 to 150": lambda d: 20 < d.memory_latency_cycles <= 150,
    "300 and more": lambda d: d.memory_latency_cycles > 150,
    "window of 1 or 2 columns": lambda d: d.window_columns <= 2,
    "3 to 8": lambda d: d.window_columns > 2,
    "weights of 2 bits": lambda d: d.weight_bits == 2,
    "of 4": lambda d: d.weight_bits == 4,
    "of 8": lambda d: d.weight_bits == 8,
    "no row lanes": lambda d: d.row_lanes == 0,
    "1 or 2": lambda d: d.row_lanes in (1, 2),
    "4": lambda d: d.row_lanes == 4,
}
"""Parts of the range of designs."""
_OF_ROW_LANES = (
    "norm", "softmax", "softmax under a mask", "group of products and rows", *OF_HEADS,
)  # fmt: skip
NOT_DRAWN = {(feature, "no row lanes") for feature in _OF_ROW_LANES}
NOT_DRAWN |= {("weights of 2 bits", "of 4"), ("weights of 2 bits", "of 8")}
NOT_DRAWN |= {("weights of 4 bits", "of 8")}
"""What designs do not have, or what comes in networks that they refuse."""


def features(workload: Workload, program: Program) -> frozenset[str]:
    """Every feature of `FEATURES` that a network has on its design."""
    of_operators = {
        name for name, holds in OF_OPERATORS.items() for op in workload.ops if holds(op, workload)
    }
    return frozenset(
        of_operators | {name for name, holds in OF_PROGRAMS.items() if holds(program, workload)}
    )


def coverage(
    compared: Sequence[tuple[NpuDesign, frozenset[str]]],
) -> dict[str, dict[str, int]]:
    """How many networks of each feature ran on designs of each range that any of them is in."""
    ranges = {name: holds for name, holds in RANGES.items() if any(holds(d) for d, _ in compared)}
    return {
        feature: {
            name: sum(feature in found and holds(design) for design, found in compared)
            for name, holds in ranges.items()
        }
        for feature in FEATURES
    }


def missing(covered: dict[str, dict[str, int]]) -> list[str]:
    """The features that no network had on any design."""
    return [feature for feature, counts in covered.items() if not any(counts.values())]


def table(covered: dict[str, dict[str, int]]) -> Iterable[str]:
    """The coverage as a table."""
    names = tuple(next(iter(covered.values())))
    yield f"| networks with | {' | '.join(names)} |"
    yield "|---" + "|---:" * len(names) + "|"
    for feature, counts in covered.items():
        cells = ("–" if (feature, name) in NOT_DRAWN else str(counts[name]) for name in names)
        yield f"| {feature} | {' | '.join(cells)} |"
