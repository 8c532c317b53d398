"""Operators that work on whole rows: softmax, and layer, RMS and group norm."""

from __future__ import annotations

import math
from typing import Literal, cast

import numpy as np
import torch
from torch.fx import Node

from intaglio.compiler import numerics
from intaglio.compiler.graph import argument, parameter
from intaglio.compiler.lower.builder import Builder, largest
from intaglio.compiler.numerics import Floats
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.workload import BIPOLAR, Norm, Requantise, Softmax, Tensor
from intaglio.errors import UnsupportedError

aten = torch.ops.aten
KINDS: dict[object, Literal["layer", "rms", "group"]] = {
    aten.layer_norm.default: "layer",
    aten.rms_norm.default: "rms",
    aten.group_norm.default: "group",
}
LARGEST_SCORE = 3000
"""Where a step of 16 bits reaches 0.1: from there on, what large numbers hide costs the rest."""
NO_EPSILON = float(torch.finfo(torch.float32).eps)
"""The epsilon of an RMS norm that names none."""


def softmax(builder: Builder, group: Group, output: Tensor) -> None:
    """Probabilities along the last axis, under a mask when there is one."""
    scores = builder.input(group)
    reach = scores.scale * largest(scores.element)
    if reach > LARGEST_SCORE:
        raise UnsupportedError(
            f"{group.label}: its scores reach {reach:.6g}, the softmax tells them apart up to "
            f"{LARGEST_SCORE}; hide entries by a boolean mask (attn_mask, or masked_fill with "
            "-inf) in place of large numbers"
        )
    made = numerics.choose_softmax(group.label, scores.scale, scores.shape[-1], output.element.bits)
    mask = builder.input(group, 1).name if len(group.inputs) > 1 else None
    names = group.name, scores.name, output.name
    builder.ops.append(Softmax(*names, made.multiplier, made.shift, mask, group.source))


def norm(builder: Builder, group: Group, output: Tensor) -> None:
    """A norm over the last axis or over groups of channels."""
    anchor = builder.nodes[group.anchor]
    kind = KINDS[anchor.target]
    source = builder.input(group)
    if output.element == BIPOLAR:
        raise UnsupportedError(
            f"{group.label}: is a norm of one bit, and has no table that makes -1 and +1; give it "
            "2 bits of activations or more"
        )
    groups = cast(int, argument(anchor, 1, "num_groups")) if kind == "group" else 1
    width = source.shape[1] if kind == "group" else source.shape[-1]
    count = math.prod(source.shape[1:]) // groups if kind == "group" else width
    chosen = numerics.choose_norm(
        group.label,
        source.scale,
        source.element,
        count,
        _epsilon(anchor),
        _entries(builder, argument(anchor, 2, "weight"), width, 1.0),
        _entries(builder, None if kind == "rms" else argument(anchor, 3, "bias"), width, 0.0),
        output.scale,
    )
    epilogue = Requantise(
        builder.constant(f"{group.name}.multiplier", chosen.multiplier, numerics.NORM_MULTIPLIER),
        builder.constant(f"{group.name}.shift", chosen.shift, numerics.SHIFT),
        builder.constant(f"{group.name}.bias", chosen.bias, numerics.BIAS),
        output.element.lo,
        output.element.hi,
    )
    names = group.name, kind, source.name, output.name
    numbers = chosen.epsilon, chosen.fraction, epilogue, groups
    builder.ops.append(Norm(*names, *numbers, group.source))


def _epsilon(anchor: Node) -> float:
    """PyTorch's epsilon, or its default."""
    if anchor.target is aten.rms_norm.default:
        given = cast("float | None", argument(anchor, 3, "eps"))
        return NO_EPSILON if given is None else given
    return cast(float, argument(anchor, 4, "eps", 1e-5))


def _entries(builder: Builder, node: object, width: int, default: float) -> Floats:
    """A norm's weight or bias as (width,); the default where it has none or an unknown one."""
    value = parameter(builder.module, node) if isinstance(node, Node) else None
    if value is None or value.is_meta:
        return np.full(width, default)
    return np.asarray(value.double().numpy(), np.float64)
