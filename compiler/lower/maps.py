"""Pools, additions, rescalings, tables and concatenations: one requantisation an element."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import numpy as np

from intaglio.compiler import numerics
from intaglio.compiler.graph import argument
from intaglio.compiler.lower.builder import Builder, Codes, largest
from intaglio.compiler.lower.layers import pair, refuse_zeros, symmetric, with_residual
from intaglio.compiler.numerics import Requantiser
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.tables import unary_function
from intaglio.compiler.workload import (
    BIPOLAR,
    Concat,
    Conv2d,
    Eltwise,
    MatMul,
    Padding,
    Pair,
    Pool,
    Requantise,
    Rescale,
    Tensor,
    channel_axis,
)
from intaglio.errors import UnsupportedError

EXACT_BITS = 8
"""Of values whose averages are rounded exactly."""
TABLE_BITS = 8
"""Of values that a table reads: it has an entry for each."""


def pool(builder: Builder, group: Group, output: Tensor) -> None:
    """A maximum or an average over windows."""
    anchor = builder.nodes[group.anchor]
    source = builder.input(group)
    kernel = pair(anchor, 1, "kernel_size", 1)
    stride = pair(anchor, 2, "stride", 0)
    stride = stride if all(stride) else kernel
    padding = symmetric(pair(anchor, 3, "padding", 0))
    padding = _covering(padding, source.shape, output.shape, kernel, stride)
    kind: Literal["max", "average"] = "max"
    epilogue = None
    if group.kind == "average_pool":
        kind = "average"
        if any(padding):
            refuse_zeros(group, source, "averages it with 0 around it")
        epilogue = _averaged(builder, group, output, kernel[0] * kernel[1])
    names = source.name, output.name
    builder.ops.append(
        Pool(group.name, kind, *names, kernel, stride, padding, epilogue, group.source)
    )


def _averaged(builder: Builder, group: Group, output: Tensor, count: int) -> Requantise:
    """Constants that divide a sum by `count`.

    Every sum is rounded exactly where scales are equal and values have at most 8 bits.  No 16-bit
    multiplier does that for wider ones: the nearest one is off by at most a step.
    """
    source, codes = builder.input(group), Codes.of(output, group)
    same = (source.scale, source.element) == (output.scale, output.element)
    if same and source.element.bits <= EXACT_BITS:
        constants = numerics.exact_reciprocal(group.label, count, codes.lo, codes.hi)
        made = Requantiser(*(np.full(output.shape[1], value, np.int64) for value in constants))
        return builder.epilogue(group.name, made, codes)
    reach = largest(source.element) * count
    numerics.prove_accumulator(group.label, np.array([reach]))
    return requantised(builder, group.name, source, source.scale / count, codes, reach)


def _covering(
    padding: Padding,
    before: tuple[int, ...],
    after: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
) -> Padding:
    """`padding`, with the bottom and right raised until the last window (ceil_mode) is inside."""
    top, bottom, left, right = padding
    reach = [(after[2 + i] - 1) * stride[i] + kernel[i] - before[2 + i] for i in range(2)]
    return (top, max(bottom, reach[0] - top), left, max(right, reach[1] - left))


def addition(builder: Builder, group: Group, output: Tensor) -> None:
    """A sum or a difference of two activations."""
    source = builder.input(group)
    channels, codes = _channels(output), Codes.of(output, group)
    chosen, other = with_residual(
        builder,
        group,
        codes,
        np.full(channels, source.scale / codes.scale),
        np.zeros(channels),
        np.full(channels, largest(source.element), np.int64),
    )
    epilogue = builder.epilogue(group.name, chosen, codes, other)
    kind: Literal["add", "sub"] = "sub" if group.kind == "sub" else "add"
    builder.ops.append(Eltwise(group.name, kind, source.name, output.name, epilogue, group.source))


def rescale(builder: Builder, group: Group, output: Tensor) -> None:
    """The input times the group's factor on the scale of the output, clamped."""
    source = builder.input(group)
    scale = source.scale * group.factor
    epilogue = requantised(builder, group.name, source, scale, Codes.of(output, group))
    builder.ops.append(Rescale(group.name, source.name, output.name, epilogue, group.source))


def _channels(tensor: Tensor) -> int:
    """How many constants an epilogue has; one for tensors of fewer than two axes."""
    rank = len(tensor.shape)
    return tensor.shape[channel_axis(rank)] if rank > 1 else 1


def requantised(
    builder: Builder,
    name: str,
    source: Tensor,
    real: float,
    codes: Codes,
    most: int | None = None,
) -> Requantise:
    """Constants that bring `source`, a step of it worth `real`, to `codes`.

    Every value is rounded exactly where possible.  `most` is the largest magnitude where sums of
    the source are multiplied.
    """
    reach = np.array([largest(source.element) if most is None else most], np.int64)
    scale, offset = np.array([real / codes.scale]), np.array([codes.offset])
    chosen = numerics.choose_requantiser(name, scale, offset, reach)
    exact = numerics.exact_for_few(chosen, scale, offset, reach, codes.lo, codes.hi)
    channels = _channels(source)
    repeated = (np.repeat(array, channels) for array in (exact.multiplier, exact.shift, exact.bias))
    return builder.epilogue(name, Requantiser(*repeated), codes)


def unary(builder: Builder, group: Group, output: Tensor) -> None:
    """A table; it joins the layer that makes its input when nothing else reads that input."""
    source = builder.input(group)
    if source.element.bits > TABLE_BITS:
        raise UnsupportedError(
            f"{group.label}: its table has {numerics.TABLE_ENTRIES} entries and reads "
            f"'{source.name}' of {source.element.bits} bits; give that at most {TABLE_BITS} bits "
            "of activations"
        )
    function = unary_function(builder.nodes[group.anchor])
    entries = numerics.unary_table(
        function, source.scale, source.element, output.scale, output.element, group.label
    )
    producer = _sole_layer(builder, group.inputs[0], source.name)
    table = builder.constant(f"{group.name}.table", entries, output.element)
    if producer is None:
        identity = requantised(builder, group.name, source, source.scale, Codes.kept(source))
        epilogue = replace(identity, table=table)
        builder.ops.append(Rescale(group.name, source.name, output.name, epilogue, group.source))
        return
    nodes = tuple(dict.fromkeys((*producer.source.nodes, *group.source.nodes)))
    builder.ops[builder.ops.index(producer)] = replace(
        producer,
        output=output.name,
        epilogue=replace(producer.epilogue, table=table),
        source=replace(producer.source, nodes=nodes),
    )


def _sole_layer(builder: Builder, node: str, tensor: str) -> Conv2d | MatMul | None:
    """The layer that makes `tensor`, when one operator reads it and it is no output."""
    readers = {
        user
        for quantised in builder.nodes[node].users
        for dequantised in quantised.users
        for user in dequantised.users
    }
    if len(readers) != 1 or any(user.op == "output" for user in readers):
        return None
    for op in builder.ops:
        if isinstance(op, Conv2d | MatMul) and op.output == tensor:
            return op if op.epilogue.table is None else None
    return None


def _joined(source: Tensor, output: Tensor) -> Codes:
    """The codes of an operand of a concatenation; signs stay as they are."""
    return Codes.kept(source) if source.element == output.element == BIPOLAR else Codes.of(output)


def concat(builder: Builder, group: Group, output: Tensor) -> None:
    """Operands joined along an axis, each on the scale of the output."""
    anchor = builder.nodes[group.anchor]
    axis = cast(int, argument(anchor, 1, "dim", 0)) % len(output.shape)
    sources = tuple(builder.input(group, index) for index in range(len(group.inputs)))
    epilogues = tuple(
        requantised(builder, f"{group.name}.{index}", source, source.scale, _joined(source, output))
        for index, source in enumerate(sources)
    )
    names = tuple(source.name for source in sources)
    builder.ops.append(Concat(group.name, names, output.name, epilogues, axis, group.source))
