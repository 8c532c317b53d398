"""Convolutions and products by constant weights, with their bias, residual and clamp."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from torch.fx import Node

from intaglio.compiler import numerics
from intaglio.compiler.graph import argument, parameter
from intaglio.compiler.lower.builder import Builder, Codes, largest
from intaglio.compiler.numerics import Floats, Ints, Requantiser
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.passes.quantize import DEQUANTISE_CHANNELS, QUANTISE_CHANNELS, SIGNS
from intaglio.compiler.workload import (
    BIPOLAR,
    Conv2d,
    ElementType,
    MatMul,
    Padding,
    Pair,
    Tensor,
)
from intaglio.errors import UnsupportedError

aten = torch.ops.aten


def layer(builder: Builder, group: Group, output: Tensor) -> None:
    """A convolution or product with its bias, residual and clamp."""
    anchor = builder.nodes[group.anchor]
    source = builder.input(group)
    weight = _weight(builder, group.name, cast(Node, anchor.args[1]))
    bound = _bound(builder, weight, source)
    numerics.prove_accumulator(group.label, bound)
    channel_scales = np.array(weight.channel_scales)
    codes = Codes.of(output, group)
    scale = channel_scales * (source.scale / codes.scale)
    bias = _bias(builder, anchor, len(channel_scales)) / codes.scale
    if group.residual is None:
        chosen = _alone(group, scale, bias, bound, codes)
        epilogue = builder.epilogue(group.name, chosen, codes)
    else:
        chosen, other = with_residual(builder, group, codes, scale, bias, bound)
        epilogue = builder.epilogue(group.name, chosen, codes, other)
    names = (group.name, source.name, weight.name, output.name)
    if group.kind == "linear":
        builder.ops.append(MatMul(*names, epilogue, group.source))
    else:
        padding = _added(group.padding, symmetric(pair(anchor, 4, "padding", 0)))
        if any(padding):
            refuse_zeros(group, source, "pads it with 0")
        geometry = pair(anchor, 3, "stride", 1), padding, pair(anchor, 5, "dilation", 1)
        groups = cast(int, argument(anchor, 6, "groups", 1))
        builder.ops.append(Conv2d(*names, *geometry, groups, epilogue, group.source))


def _alone(group: Group, scale: Floats, bias: Floats, bound: Ints, codes: Codes) -> Requantiser:
    """Constants of an epilogue without residual; `scale` and `bias` are in codes."""
    if codes.are_signs:
        return numerics.choose_threshold(group.label, scale, bias, bound)
    chosen = numerics.choose_requantiser(group.label, scale, bias, bound)
    snapped = np.ldexp(chosen.multiplier.astype(np.float64), -chosen.shift)
    return numerics.exact_for_few(chosen, snapped, bias, bound, codes.lo, codes.hi)


def with_residual(
    builder: Builder, group: Group, codes: Codes, scale: Floats, bias: Floats, bound: Ints
) -> tuple[Requantiser, str]:
    """Constants of an epilogue that adds (or subtracts) the group's residual; its name."""
    assert group.residual is not None
    other = builder.tensors[builder.values[group.residual]]
    chosen = numerics.choose_requantiser(
        group.label,
        scale,
        bias + codes.offset,
        bound,
        other.scale / codes.scale,
        largest(other.element),
        _subtracts(builder.nodes, group),
    )
    return chosen, other.name


def _weight(builder: Builder, name: str, dequantised: Node) -> Tensor:
    """The integer weight behind a per-channel dequantisation, declared once for all its readers.

    PT2E has computed it; only of an unknown weight the quantisation is still in the graph.
    """
    assert dequantised.target is DEQUANTISE_CHANNELS
    stored, scale = (cast(Node, a) for a in dequantised.args[:2])
    if stored.target is QUANTISE_CHANNELS:
        stored = cast(Node, stored.args[0])
    if stored.name in builder.values:
        return builder.tensors[builder.values[stored.name]]
    values, scales = (parameter(builder.module, node) for node in (stored, scale))
    lo, hi = (cast(int, bound) for bound in dequantised.args[4:6])
    channel_scales = tuple(float(scale) for scale in scales.double())
    element = _element(lo, hi, signs=SIGNS in dequantised.meta)
    label = f"{name}.weight"
    builder.values[stored.name] = label
    if values.is_meta:
        builder.unknown_constant(label, tuple(values.shape), element)
    else:
        builder.constant(label, values.numpy().copy(), element)
    builder.tensors[label] = Tensor(
        label, tuple(values.shape), element, max(channel_scales), channel_scales
    )
    return builder.tensors[label]


def _element(lo: int, hi: int, *, signs: bool) -> ElementType:
    """The type of weights `lo` to `hi`; `signs` says that 0 is none of them."""
    if (lo, hi) == (-1, 1):
        return BIPOLAR if signs else ElementType(2, "ternary")
    return ElementType(hi.bit_length() + 1)


def _bound(builder: Builder, weight: Tensor, source: Tensor) -> Ints:
    """The largest |accumulator| of every channel; for unknown weights what their type allows.

    That is K * max|x| * max|w|, symmetric weights leaving out the lowest value of their type.
    """
    if weight.name in builder.unknown:
        inputs = math.prod(weight.shape[1:])
        return np.full(weight.shape[0], inputs * largest(source.element) * weight.element.hi)
    integers = builder.constants[weight.name]
    return numerics.accumulator_bound(integers, source.element.lo, source.element.hi)


def _bias(builder: Builder, anchor: Node, channels: int) -> Floats:
    node = argument(anchor, 2, "bias")
    value = parameter(builder.module, node) if isinstance(node, Node) else None
    if value is None or value.is_meta:
        return np.zeros(channels)
    return np.asarray(value.double().numpy(), np.float64)


def refuse_zeros(group: Group, source: Tensor, what: str) -> None:
    """Raise UnsupportedError where `group` puts zeros among values that cannot be 0."""
    if source.element == BIPOLAR:
        raise UnsupportedError(
            f"{group.label}: reads '{source.name}', which holds -1 and +1 alone, and {what}, which "
            "is neither; leave the padding out, or give that value 2 bits of activations or more"
        )


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
