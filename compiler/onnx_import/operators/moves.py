"""Operators that move elements, and those that make constants out of shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from intaglio.compiler.onnx_import.node import Builder, Function, OnnxNode

PADDINGS = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


def _reshape(node: OnnxNode) -> Function:
    """A 0 keeps the extent of its axis, unless `allowzero`."""
    size = list(node.listed(1, "shape") or ())
    if not node.integer("allowzero", 0):
        size = [node.shape()[i] if extent == 0 else extent for i, extent in enumerate(size)]
    return lambda x, *_: x.reshape(size)


def _flatten(node: OnnxNode) -> Function:
    axis = node.integer("axis", 1)
    axis = axis + node.rank if axis < 0 else axis
    size = [math.prod(node.shape()[:axis]), math.prod(node.shape()[axis:])]
    return lambda x: x.reshape(size)


def _transpose(node: OnnxNode) -> Function:
    axes = node.integers("perm", tuple(reversed(range(node.rank))))
    return lambda x: x.permute(axes)


def _concatenate(node: OnnxNode) -> Function:
    axis = node.axis(0)
    return lambda *tensors: torch.cat(tensors, axis)


def _split(node: OnnxNode) -> Function:
    """Without sizes the parts are equal, the last one smaller when they cannot be."""
    axis = node.axis(0)
    sizes = list(node.listed(1, "split") or ())
    if not sizes:
        extent, count = node.shape()[axis], node.outputs
        part = -(-extent // count)
        sizes = [min(part, extent - i * part) for i in range(count)]
    return lambda x, *_: torch.split(x, sizes, axis)


def _slice(node: OnnxNode) -> Function:
    starts, ends = (node.listed(i, name) or () for i, name in ((1, "starts"), (2, "ends")))
    axes = node.listed(3, "axes") or tuple(range(len(starts)))
    steps = node.listed(4, "steps") or (1,) * len(starts)
    cuts = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        extent = node.shape()[axis]
        cuts.append((axis % node.rank, range(*slice(start, end, step).indices(extent))))

    def run(x: Tensor, *_: Tensor | None) -> Tensor:
        for axis, taken in cuts:
            x = _taken(x, axis, taken)
        return x

    return run


def _taken(x: Tensor, axis: int, taken: range) -> Tensor:
    """Elements of one axis; PyTorch's slices only go forward."""
    if taken.step < 0:
        return x.index_select(axis, torch.tensor(list(taken), dtype=torch.int64))
    if not taken:
        return x.narrow(axis, 0, 0)
    slices = [slice(None)] * axis
    return x[(*slices, slice(taken[0], taken[-1] + 1, taken.step))]


def _gather(node: OnnxNode) -> Function:
    """Negative indices count from the end; computed ones, such as token ids, must not."""
    axis, extent, size = node.axis(0), node.shape()[node.axis(0)], node.shape(1)
    if not node.known[1]:
        if axis == 0 and node.rank == 2:
            return lambda table, indices: F.embedding(indices, table)
        return lambda x, indices: _gathered(x, axis, indices)
    indices = node.constant(1)
    indices = torch.where(indices < 0, indices + extent, indices).to(torch.int64)
    if not size:
        index = int(indices.item())
        return lambda x, _: x.select(axis, index)
    return lambda x, _: _gathered(x, axis, indices)


def _gather_elements(node: OnnxNode) -> Function:
    axis, extent = node.axis(0), node.shape()[node.axis(0)]

    def run(x: Tensor, indices: Tensor) -> Tensor:
        return x.gather(axis, torch.where(indices < 0, indices + extent, indices).to(torch.int64))

    return run


def _gathered(x: Tensor, axis: int, indices: Tensor) -> Tensor:
    rows = x.index_select(axis, indices.reshape(-1))
    return rows.reshape(*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])


def _squeeze(node: OnnxNode) -> Function:
    axes = node.listed(1, "axes")
    if axes is None:
        return lambda x, *_: x.squeeze()
    return lambda x, *_: x.squeeze(axes)


def _unsqueeze(node: OnnxNode) -> Function:
    axes = node.listed(1, "axes") or ()
    rank = node.rank + len(axes)
    ones = {axis % rank for axis in axes}
    rest = iter(node.shape())
    size = [1 if axis in ones else next(rest) for axis in range(rank)]
    return lambda x, *_: x.reshape(size)


def _expand(node: OnnxNode) -> Function:
    """Both the input and the wanted shape may broadcast."""
    size = torch.broadcast_shapes(node.shape(), node.listed(1, "shape") or ())
    return lambda x, _: x.expand(size)


def _pad(node: OnnxNode) -> Function:
    pads = node.listed(1, "pads") or ()
    axes = node.listed(3, "axes") or tuple(range(node.rank))
    mode = node.text("mode", "constant")
    value = node.real_number("value", 0.0)
    if node.has(2):
        value = node.constant(2).item()
    before, after = [0] * node.rank, [0] * node.rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[len(axes) + i]
    if mode != "constant":
        # PyTorch's other modes pad the last axes alone and want two axes ahead of them.
        node.require(not any((*before[:2], *after[:2])), "it pads batch or channels", "pad pixels")
        before, after = before[2:], after[2:]
    pairs = zip(reversed(before), reversed(after), strict=True)
    flat = [pixels for pair in pairs for pixels in pair]
    how = PADDINGS[mode]
    return lambda x, *_: F.pad(x, flat, mode=how, value=value if how == "constant" else None)


def _tile(node: OnnxNode) -> Function:
    repeats = node.listed(1, "repeats") or ()
    return lambda x, _: x.repeat(repeats)


def _depth_to_space(node: OnnxNode) -> Function:
    block = node.integer("blocksize", 1)
    if node.text("mode", "DCR") == "CRD":
        return lambda x: F.pixel_shuffle(x, block)
    n, c, h, w = node.shape()
    apart = (n, block, block, c // block**2, h, w)
    return lambda x: (
        x.reshape(apart).permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)
    )


def _space_to_depth(node: OnnxNode) -> Function:
    block = node.integer("blocksize", 1)
    n, c, h, w = node.shape()
    apart = (n, c, h // block, block, w // block, block)
    return lambda x: (
        x.reshape(apart).permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)
    )


def _dropout(node: OnnxNode) -> Function:
    training = node.has(2) and bool(node.constant(2).item())
    node.require(not training, "it is in training mode", "export the model in evaluation mode")
    if node.outputs == 1:
        return lambda x, *_: x
    return lambda x, *_: (x, torch.ones_like(x, dtype=torch.bool))


def _constant(node: OnnxNode) -> Function:
    value = next(iter(node.attributes.values()))
    node.require(
        not isinstance(value, str), "a constant of text has no place here", "give it numbers"
    )
    real = isinstance(value, tuple) and any(isinstance(v, float) for v in value)
    kind = torch.float32 if real or isinstance(value, float) else torch.int64
    tensor = value if isinstance(value, Tensor) else torch.tensor(value, dtype=kind)
    return lambda: tensor


def _constant_of_shape(node: OnnxNode) -> Function:
    size = node.listed(0, "shape") or ()
    value = node.attributes.get("value")
    fill = value if isinstance(value, Tensor) else torch.zeros(1)
    return lambda _: torch.full(size, fill.item(), dtype=fill.dtype)


def _shape(node: OnnxNode) -> Function:
    end = node.integer("end", node.rank)
    extents = node.shape()[node.integer("start", 0) : end]
    return lambda x: torch.tensor(extents, dtype=torch.int64)


def _size(node: OnnxNode) -> Function:
    count = math.prod(node.shape())
    return lambda x: torch.tensor(count)


def _range(node: OnnxNode) -> Function:
    start, limit, delta = (node.constant(i).item() for i in range(3))
    kind = node.constant(0).dtype
    return lambda *_: torch.arange(start, limit, delta, dtype=kind)


def _triangle(node: OnnxNode) -> Function:
    diagonal = int(node.constant(1).item()) if node.has(1) else 0
    cut = torch.triu if node.integer("upper", 1) else torch.tril
    return lambda x, *_: cut(x, diagonal)


def _einsum(node: OnnxNode) -> Function:
    equation = node.text("equation", "")
    return lambda *tensors: torch.einsum(equation, *tensors)


MOVES: Mapping[str, Builder] = {
    "Concat": _concatenate,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DepthToSpace": _depth_to_space,
    "Dropout": _dropout,
    "Einsum": _einsum,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "Identity": lambda node: lambda x: x,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "SpaceToDepth": _space_to_depth,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Trilu": _triangle,
    "Unsqueeze": _unsqueeze,
}
SHAPES = frozenset({"Shape", "Size"})
"""Operators that read the shape of their input alone."""
