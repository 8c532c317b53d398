"""Convolutions and products by constant weights, with their bias, residual and clamp."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch.fx import Node

from intaglio.compiler import numerics
from intaglio.compiler.graph import argument, parameter
from intaglio.compiler.lower.builder import Builder, clamped, largest
from intaglio.compiler.numerics import Floats, Ints, Requantiser
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.passes.quantize import DEQUANTISE_CHANNELS
from intaglio.compiler.workload import Conv2d, ElementType, MatMul, Padding, Pair, Tensor

aten = torch.ops.aten


def layer(builder: Builder, group: Group, output: Tensor) -> None:
    """A convolution or product with its bias, residual and clamp."""
    anchor = builder.nodes[group.anchor]
    source = builder.input(group)
    weight = _weight(builder, group.name, cast(Node, anchor.args[1]))
    integers = builder.constants[weight.name]
    bound = numerics.accumulator_bound(integers, source.element.lo, source.element.hi)
    numerics.prove_accumulator(group.label, bound)
    channel_scales = np.array(weight.channel_scales)
    scale = channel_scales * (source.scale / output.scale)
    bias = _bias(builder, anchor, len(channel_scales)) / output.scale
    lo, hi = clamped(group, output)
    if group.residual is None:
        chosen = numerics.choose_requantiser(group.label, scale, bias, bound)
        snapped = np.ldexp(chosen.multiplier.astype(np.float64), -chosen.shift)
        chosen = numerics.exact_for_few(chosen, snapped, bias, bound, lo, hi)
        epilogue = builder.epilogue(group.name, chosen, lo, hi)
    else:
        chosen, other = with_residual(builder, group, output, scale, bias, bound)
        epilogue = builder.epilogue(group.name, chosen, lo, hi, other)
    names = (group.name, source.name, weight.name, output.name)
    if group.kind == "linear":
        builder.ops.append(MatMul(*names, epilogue, group.source))
    else:
        padding = _added(group.padding, symmetric(pair(anchor, 4, "padding", 0)))
        geometry = pair(anchor, 3, "stride", 1), padding, pair(anchor, 5, "dilation", 1)
        groups = cast(int, argument(anchor, 6, "groups", 1))
        builder.ops.append(Conv2d(*names, *geometry, groups, epilogue, group.source))


def with_residual(
    builder: Builder, group: Group, output: Tensor, scale: Floats, bias: Floats, bound: Ints
) -> tuple[Requantiser, str]:
    """Constants of an epilogue that adds (or subtracts) the group's residual; its name."""
    assert group.residual is not None
    other = builder.tensors[builder.values[group.residual]]
    chosen = numerics.choose_requantiser(
        group.label,
        scale,
        bias,
        bound,
        other.scale / output.scale,
        largest(other.element),
        _subtracts(builder.nodes, group),
    )
    return chosen, other.name


def _weight(builder: Builder, name: str, dequantised: Node) -> Tensor:
    """The integer weight behind a per-channel dequantisation, declared once for all its readers."""
    assert dequantised.target is DEQUANTISE_CHANNELS
    stored = cast(Node, dequantised.args[0])
    if stored.name in builder.values:
        return builder.tensors[builder.values[stored.name]]
    values, scales = (parameter(builder.module, cast(Node, a)) for a in dequantised.args[:2])
    hi = cast(int, dequantised.args[5])
    channel_scales = tuple(float(scale) for scale in scales.double())
    array = values.numpy().copy()
    element = ElementType(hi.bit_length() + 1)
    label = builder.constant(f"{name}.weight", array, element)
    builder.values[stored.name] = label
    builder.tensors[label] = Tensor(
        label, array.shape, element, max(channel_scales), channel_scales
    )
    return builder.tensors[label]


def _bias(builder: Builder, anchor: Node, channels: int) -> Floats:
    node = argument(anchor, 2, "bias")
    if not isinstance(node, Node):
        return np.zeros(channels)
    return np.asarray(parameter(builder.module, node).double().numpy(), np.float64)


def _subtracts(nodes: dict[str, Node], group: Group) -> bool:
    """Whether the group's residual is subtracted."""
    node = nodes[group.output]
    while node.name != group.anchor and node.target not in (aten.add.Tensor, aten.sub.Tensor):
        node = cast(Node, node.args[0])
    return node.target is aten.sub.Tensor


def pair(node: Node, index: int, name: str, default: int) -> Pair:
    """A geometry argument of (y, x), however it was written."""
    value = argument(node, index, name)
    entries = [value] if isinstance(value, int) else list(cast("list[int]", value or [default]))
    return (entries[0], entries[-1])


def symmetric(padding: Pair) -> Padding:
    """The same padding on both sides of each axis."""
    return (padding[0], padding[0], padding[1], padding[1])


def _added(first: Padding, second: Padding) -> Padding:
    top, bottom, left, right = (a + b for a, b in zip(first, second, strict=True))
    return (top, bottom, left, right)
