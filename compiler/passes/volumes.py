"""Convolutions of volumes as convolutions of maps, one for each depth of the output.

conv3d(x, w)                   ->  conv2d(depths of x as channels, w) for each depth, joined
conv3d(x, w), w of (depth, 1, 1)  ->  one conv2d of columns (depth, y * x)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import argument, insert_call, replace, shape, single_user
from intaglio.compiler.passes.convolutions import numbers, remade
from intaglio.compiler.passes.fuse import CLAMPS
from intaglio.compiler.passes.resampling import bordered
from intaglio.compiler.passes.spellings import reshaped, sliced, source
from intaglio.compiler.tables import UNARY, composed

aten = torch.ops.aten
LAYERS = (aten.conv3d.default, aten.conv3d.padding)
FUNCTIONS = CLAMPS | UNARY | {composed}


@dataclass(frozen=True, slots=True)
class SplitVolumes:
    """Write convolutions of volumes as convolutions of maps; their norms are folded by now.

    A function of single elements behind one joins each of its parts.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        for node in list(module.graph.nodes):
            if node.target in LAYERS and _is_mapped(node):
                _split(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Numbers for (depth, y, x); zeros behind a volume are `behind`."""

    kernel: list[int]
    stride: list[int]
    padding: list[int]
    behind: list[int]
    dilation: list[int]

    @staticmethod
    def of(node: Node) -> _Geometry:
        kernel = list(shape(cast(Node, node.args[1]))[2:])
        dilation = numbers(node, 5, "dilation", 3, 1)
        given = argument(node, 4, "padding", 0)
        if isinstance(given, str):
            whole = [d * (k - 1) * (given == "same") for d, k in zip(dilation, kernel, strict=True)]
            padding, behind = [w // 2 for w in whole], [w - w // 2 for w in whole]
        else:
            padding = behind = numbers(node, 4, "padding", 3, 0)
        return _Geometry(kernel, numbers(node, 3, "stride", 3, 1), padding, behind, dilation)

    @property
    def is_of_columns(self) -> bool:
        """Whether every window is one pixel of each depth."""
        return all(
            (self.kernel[axis], self.stride[axis], self.padding[axis], self.behind[axis])
            == (1, 1, 0, 0)
            for axis in (1, 2)
        )


def _is_mapped(node: Node) -> bool:
    """Whether a layer has one image and a weight of the model."""
    constants = [arg for arg in node.args[1:3] if isinstance(arg, Node)]
    size = shape(source(node))
    return len(size) == 5 and size[0] == 1 and all(arg.op == "get_attr" for arg in constants)


def _split(node: Node) -> None:
    functions = []
    last = node
    while (user := single_user(last)) is not None and user.target in FUNCTIONS:
        functions.append(user)
        last = user
    geometry = _Geometry.of(node)
    made = _columns if geometry.is_of_columns else _depths
    result = made(node, geometry, functions)
    for gone in reversed((node, *functions)):
        if gone is last:
            replace(gone, result)
        else:
            gone.graph.erase_node(gone)


def _columns(node: Node, geometry: _Geometry, functions: list[Node]) -> Node:
    """One convolution over the depth, whose other axis holds all pixels."""
    _, channels, depth, height, width = shape(source(node))
    outputs, after = shape(node)[1:3]
    flat = reshaped(node, source(node), (1, channels, depth, height * width))
    flat = bordered(node, flat, [0, 0, *_excess(geometry, 0)], 0.0)
    weight = remade(node, cast(Node, node.args[1]), "columns", lambda w: w.flatten(3))
    window = [geometry.stride[0], 1], [geometry.padding[0], 0], [geometry.dilation[0], 1]
    size = (1, outputs, after, height * width)
    layer = _layer(node, flat, weight, window, size, functions)
    return reshaped(node, layer, shape(node))


def _depths(node: Node, geometry: _Geometry, functions: list[Node]) -> Node:
    """One convolution for each depth of the output, of the depths that it sees as channels."""
    kernel, stride, dilation = geometry.kernel[0], geometry.stride[0], geometry.dilation[0]
    ends = [*_excess(geometry, 2), *_excess(geometry, 1), geometry.padding[0], geometry.behind[0]]
    value = bordered(node, source(node), ends, 0.0)
    weight = remade(node, cast(Node, node.args[1]), "depths", lambda w: w.flatten(1, 2))
    window = geometry.stride[1:], geometry.padding[1:], geometry.dilation[1:]
    outputs, after, height, width = shape(node)[1:]
    channels, depth, *extents = shape(value)[1:]
    parts = []
    for start in range(0, after * stride, stride):
        seen = sliced(node, value, 2, start, start + dilation * (kernel - 1) + 1, dilation)
        stacked = reshaped(node, seen, (1, channels * kernel, *extents))
        layer = _layer(node, stacked, weight, window, (1, outputs, height, width), functions)
        parts.append(reshaped(node, layer, (1, outputs, 1, height, width)))
    if len(parts) == 1:
        return parts[0]
    return insert_call(node, aten.cat.default, (parts, 2), node, shape(node))


def _excess(geometry: _Geometry, axis: int) -> tuple[int, int]:
    """Zeros on an axis beyond those that a convolution adds on both sides."""
    return 0, geometry.behind[axis] - geometry.padding[axis]


def _layer(
    node: Node,
    value: Node,
    weight: Node,
    window: tuple[list[int], list[int], list[int]],
    size: tuple[int, ...],
    functions: list[Node],
) -> Node:
    """A convolution of maps ahead of `node`, and the functions behind it."""
    args = (value, weight, argument(node, 2, "bias"), *window, argument(node, 6, "groups", 1))
    made = insert_call(node, aten.conv2d.default, args, node, size)
    for function in functions:
        made = insert_call(node, function.target, (made, *function.args[1:]), function, size)
        made.kwargs = function.kwargs
    return made
