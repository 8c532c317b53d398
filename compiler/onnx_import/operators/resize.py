"""Resize and Upsample: nearest by the indices of ONNX's formulas, the rest by interpolation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode

ALIGNED = {"half_pixel": False, "pytorch_half_pixel": False, "align_corners": True}
SMOOTH = {
    ("linear", 3): "linear",
    ("linear", 4): "bilinear",
    ("linear", 5): "trilinear",
    ("cubic", 4): "bicubic",
}


def _resize(node: OnnxNode) -> Function:
    """Inputs are (x, scales) in opset 10 and (x, roi, scales, sizes) since."""
    node.accept("antialias", 0, "resize without antialiasing")
    node.accept("exclude_outside", 0, "leave exclude_outside at 0")
    node.accept("keep_aspect_ratio_policy", "stretch", "give the wanted sizes")
    scales, sizes = (1, None) if node.opset < 11 else (2, 3)
    default = "asymmetric" if node.opset < 11 else "half_pixel"
    nearest = "floor" if node.opset < 11 else "round_prefer_floor"
    return _interpolation(
        node,
        _scales(node, scales, sizes),
        node.text("coordinate_transformation_mode", default),
        node.text("nearest_mode", nearest),
    )


def _upsample(node: OnnxNode) -> Function:
    return _interpolation(node, _scales(node, 1, None), "asymmetric", "floor")


def _scales(node: OnnxNode, scales: int, sizes: int | None) -> tuple[float, ...]:
    """The factor of every axis; those that are not named keep their extent."""
    before = node.shape()
    axes = [axis % node.rank for axis in node.integers("axes", tuple(range(node.rank)))]
    if sizes is not None and node.has(sizes):
        wanted = node.constant(sizes).tolist()
        given = [extent / before[axis] for extent, axis in zip(wanted, axes, strict=True)]
    else:
        given = node.constant(scales).tolist()
    factors = [1.0] * node.rank
    for axis, factor in zip(axes, given, strict=True):
        factors[axis] = factor
    return tuple(factors)


def _interpolation(
    node: OnnxNode, scales: Sequence[float], coordinates: str, rounding: str
) -> Function:
    before = node.shape()
    # A factor is often stored in float32: 5/3 of 3 pixels must be 5 pixels.
    after = [math.floor(n * scale + 1e-5) for n, scale in zip(before, scales, strict=True)]
    whole = all(
        math.isclose(n * scale, m, rel_tol=1e-5)
        for n, scale, m in zip(before, scales, after, strict=True)
    )
    mode = node.text("mode", "nearest")
    node.require(
        whole or (mode == "nearest" and coordinates != "align_corners"),
        f"its scales do not take {before} to whole sizes",
        "give the wanted sizes",
    )
    if mode == "nearest":
        return _nearest(node, scales, after, coordinates, rounding)
    smooth = SMOOTH.get((mode, node.rank), "")
    plain = coordinates in ALIGNED and 1 not in after[2:] and after[:2] == [*before[:2]]
    node.require(
        bool(smooth) and plain,
        f"mode '{mode}' from {before} to {tuple(after)} with coordinates '{coordinates}' is not "
        "supported",
        "resize height and width alone, in mode 'nearest', or with coordinates 'half_pixel' or "
        "'align_corners'",
    )
    node.accept("cubic_coeff_a", -0.75, "leave it at -0.75")
    aligned = ALIGNED[coordinates]
    return lambda x, *_: F.interpolate(x, after[2:], mode=smooth, align_corners=aligned)


def _nearest(
    node: OnnxNode, scales: Sequence[float], after: list[int], coordinates: str, rounding: str
) -> Function:
    """One interpolation when PyTorch's indices are the same, else a selection along each axis."""
    before = node.shape()
    indices = [
        [
            _source(node, i, before[axis], after[axis], scale, coordinates, rounding)
            for i in range(after[axis])
        ]
        for axis, scale in enumerate(scales)
    ]
    floors = [[i * n // m for i in range(m)] for n, m in zip(before, after, strict=True)]
    if indices == floors and after[:2] == [*before[:2]] and 3 <= node.rank <= 5:
        return lambda x, *_: F.interpolate(x, after[2:], mode="nearest")

    def run(x: Tensor, *_: Tensor | None) -> Tensor:
        for axis, taken in enumerate(indices):
            if taken != list(range(before[axis])):
                x = x.index_select(axis, torch.tensor(taken))
        return x

    return run


def _source(
    node: OnnxNode, index: int, n: int, m: int, scale: float, coordinates: str, rounding: str
) -> int:
    """The element that element `index` of a resized axis copies (ONNX's operator Resize)."""
    match coordinates:
        case "asymmetric":
            place = index / scale
        case "half_pixel":
            place = (index + 0.5) / scale - 0.5
        case "pytorch_half_pixel":
            place = (index + 0.5) / scale - 0.5 if m > 1 else 0.0
        case "align_corners":
            place = index * (n - 1) / (m - 1) if m > 1 else 0.0
        case _:
            node.refuse(f"coordinates '{coordinates}' are not supported", "use 'half_pixel'")
    nearest = {
        "round_prefer_floor": math.ceil(place - 0.5),
        "round_prefer_ceil": math.floor(place + 0.5),
        "floor": math.floor(place),
        "ceil": math.ceil(place),
    }
    return min(max(nearest[rounding], 0), n - 1)


RESIZES: Mapping[str, Builder] = {"Resize": _resize, "Upsample": _upsample}
