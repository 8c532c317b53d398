"""Operators of transformers: computed products, reductions, constants, and moves of elements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch

from intaglio.compiler import numerics
from intaglio.compiler.graph import argument
from intaglio.compiler.lower.builder import Builder, Codes, largest
from intaglio.compiler.lower.layers import refuse_zeros
from intaglio.compiler.numerics import Ints
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.passes.resampling import factors
from intaglio.compiler.workload import (
    BatchMatMul,
    Constant,
    Expand,
    Gather,
    Multiply,
    Pad,
    Reduce,
    Requantise,
    Reshape,
    Resize,
    Slice,
    Tensor,
    Transpose,
)

aten = torch.ops.aten


def batch_matmul(builder: Builder, group: Group, output: Tensor) -> None:
    """A product of two activations, one requantisation for the whole of it."""
    first, second = builder.input(group), builder.input(group, 1)
    bound = first.shape[-1] * largest(first.element) * largest(second.element)
    epilogue = _whole(builder, group, output, first.scale * second.scale, bound)
    names = group.name, first.name, second.name, output.name
    builder.ops.append(BatchMatMul(*names, group.transposed, epilogue, group.source))


def multiply(builder: Builder, group: Group, output: Tensor) -> None:
    """A product element by element, one requantisation for the whole of it."""
    first, second = builder.input(group), builder.input(group, 1)
    bound = largest(first.element) * largest(second.element)
    epilogue = _whole(builder, group, output, first.scale * second.scale, bound)
    names = group.name, first.name, second.name, output.name
    builder.ops.append(Multiply(*names, epilogue, group.source))


def reduce(builder: Builder, group: Group, output: Tensor) -> None:
    """A sum, a mean (a sum times the reciprocal) or a maximum over axes."""
    anchor = builder.nodes[group.anchor]
    source = builder.input(group)
    given = cast("Sequence[int] | None", argument(anchor, 1, "dim"))
    axes = tuple(sorted(axis % len(source.shape) for axis in given or range(len(source.shape))))
    kind: Literal["sum", "max"] = "max" if anchor.target is aten.amax.default else "sum"
    epilogue = None
    if kind == "sum":
        count = int(np.prod([source.shape[axis] for axis in axes], dtype=np.int64))
        divisor = count if anchor.target is aten.mean.dim else 1
        bound = count * largest(source.element)
        epilogue = _whole(builder, group, output, source.scale / divisor, bound)
    names = source.name, output.name
    builder.ops.append(Reduce(group.name, kind, *names, axes, epilogue, group.source))


def _whole(builder: Builder, group: Group, output: Tensor, scale: float, bound: int) -> Requantise:
    """One requantisation for all elements of accumulators of `scale`, none above `bound`."""
    reach: Ints = np.array([bound], np.int64)
    numerics.prove_accumulator(group.label, reach)
    codes = Codes.of(output, group)
    ratio, offset = np.array([scale * group.factor / codes.scale]), np.array([codes.offset])
    made = numerics.choose_requantiser(group.label, ratio, offset, reach)
    return builder.epilogue(group.name, made, codes)


def constant(builder: Builder, group: Group, output: Tensor) -> None:
    """A tensor of the model, in the integers of its scale."""
    known, name = builder.lifted[group.anchor], f"{group.name}.value"
    if known.is_meta:
        value = builder.unknown_constant(name, output.shape, output.element)
    else:
        integers = numerics.quantise(known.double().numpy(), output.scale, output.element)
        value = builder.constant(name, integers, output.element)
    builder.ops.append(Constant(group.name, value, output.name, group.source))


def reshape(builder: Builder, group: Group, output: Tensor) -> None:
    """The same elements in the same order."""
    source = builder.input(group)
    builder.ops.append(Reshape(group.name, source.name, output.name, group.source))


def transpose(builder: Builder, group: Group, output: Tensor) -> None:
    """Axes in another order."""
    axes = cast("list[int]", builder.nodes[group.anchor].args[1])
    permutation = tuple(axis % len(axes) for axis in axes)
    names = group.name, builder.input(group).name, output.name
    builder.ops.append(Transpose(*names, permutation, group.source))


def slice_(builder: Builder, group: Group, output: Tensor) -> None:
    """Every step-th element of one axis, from a start."""
    anchor = builder.nodes[group.anchor]
    source = builder.input(group)
    axis = cast(int, argument(anchor, 1, "dim", 0)) % len(source.shape)
    start = cast("int | None", argument(anchor, 2, "start")) or 0
    extent = source.shape[axis]
    starts, steps = [0] * len(source.shape), [1] * len(source.shape)
    starts[axis] = max(start + extent, 0) if start < 0 else min(start, extent)
    steps[axis] = cast(int, argument(anchor, 4, "step", 1))
    names = group.name, source.name, output.name
    builder.ops.append(Slice(*names, tuple(starts), tuple(steps), group.source))


def pad(builder: Builder, group: Group, output: Tensor) -> None:
    """Zeros around a tensor; PyTorch lists (before, after) from the last axis on."""
    borders = cast("list[int]", builder.nodes[group.anchor].args[1])
    source = builder.input(group)
    rank = len(source.shape)
    before, after = [0] * rank, [0] * rank
    for index in range(len(borders) // 2):
        before[rank - 1 - index], after[rank - 1 - index] = borders[2 * index : 2 * index + 2]
    if any((*before, *after)):
        refuse_zeros(group, source, "pads it with 0")
    names = group.name, source.name, output.name
    builder.ops.append(Pad(*names, tuple(before), tuple(after), group.source))


def expand(builder: Builder, group: Group, output: Tensor) -> None:
    """Axes of extent 1 repeated."""
    source = builder.input(group)
    builder.ops.append(Expand(group.name, source.name, output.name, group.source))


def resize(builder: Builder, group: Group, output: Tensor) -> None:
    """Linear interpolation over the axes behind the channels."""
    anchor = builder.nodes[group.anchor]
    refuse_zeros(group, builder.input(group), "interpolates, which makes 0 between them")
    names = group.name, builder.input(group).name, output.name
    aligned = bool(argument(anchor, 2, "align_corners", False))
    builder.ops.append(Resize(*names, tuple(factors(anchor, 3)), aligned, group.source))


def gather(builder: Builder, group: Group, output: Tensor) -> None:
    """Rows of a table, or slices along an axis, at given indices."""
    anchor = builder.nodes[group.anchor]
    table, index = builder.input(group), builder.input(group, 1)
    axis = 0
    if anchor.target is aten.index_select.default:
        axis = cast(int, anchor.args[1]) % len(table.shape)
    names = group.name, table.name, index.name, output.name
    builder.ops.append(Gather(*names, axis, group.source))
