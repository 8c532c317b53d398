"""Islands of floats: their tensors, and where their results become integers again."""

from __future__ import annotations

import numpy as np
import torch

from intaglio.compiler.graph import shape
from intaglio.compiler.lower.builder import Builder
from intaglio.compiler.passes.islands import Island
from intaglio.compiler.workload import ElementType, Host, Tensor
from intaglio.errors import UnsupportedError

FLOAT = ElementType(32, "float")


def island(builder: Builder, part: Island, cuts: tuple[str, ...]) -> None:
    """The calls of an island; the nodes `cuts` are those whose values operators read as integers.

    Raises UnsupportedError for a constant whose integers have more than 48 bits.
    """
    several = len(part.outputs) > 1
    for index, node in enumerate(part.outputs):
        name = f"{part.name}.{index}" if several else part.name
        _declare(builder, node, name, integers=node in cuts)
    builder.ops.append(
        Host(
            part.name,
            tuple(builder.values[node] for node in part.inputs),
            tuple(_constant(builder, part, node) for node in part.constants),
            part.types,
            part.calls,
            part.results,
            tuple(builder.values[node] for node in part.outputs),
            part.macs,
            part.reason,
            part.source,
        )
    )


def _declare(builder: Builder, node: str, name: str, *, integers: bool) -> None:
    """The tensor of a result: of its scale where operators read it, else as PyTorch makes it."""
    made = builder.nodes[node]
    if integers or not made.meta["val"].dtype.is_floating_point:
        builder.declare(made, name)
        return
    builder.values[node] = name
    builder.tensors[name] = Tensor(name, shape(made), FLOAT)


def _constant(builder: Builder, part: Island, node: str) -> str:
    """A tensor of the model, as it is."""
    value, name = part.constants[node], f"{part.name}.{node}"
    if value.is_meta:
        element = FLOAT if value.dtype.is_floating_point else ElementType(48)
        return builder.unknown_constant(name, tuple(value.shape), element)
    array = np.ascontiguousarray(value.numpy())
    if array.dtype == np.bool_:
        return builder.constant(name, array.astype(np.uint8), ElementType(1, "unsigned"))
    if value.dtype is torch.float32:
        return builder.constant(name, array, FLOAT)
    bits = 1 + max(int(array.max()), -int(array.min()) - 1, 0).bit_length()
    if bits > 48:
        raise UnsupportedError(
            f"{part.label}: its constant '{node}' holds integers of {bits} bits, at most 48 are "
            "kept; use smaller ones"
        )
    return builder.constant(name, array, ElementType(max(bits, 2)))
