"""Elements at fixed places: a reshape when they keep the order, else chosen rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node

from intaglio.compiler.graph import insert_call, insert_parameter, owner, parameter, replace, shape
from intaglio.compiler.passes.spellings import source

aten = torch.ops.aten


def _constant_index(node: Node) -> None:
    """x[i, j, ...] with indices of the model."""
    given = cast("list[Node | None]", node.args[1])
    if any(index is not None and index.op != "get_attr" for index in given):
        return
    module = owner(node)
    indices = [slice(None) if index is None else parameter(module, index) for index in given]
    _take(node, _places(node)[tuple(indices)])


def _gather(node: Node) -> None:
    """Elements at positions of the model."""
    axis, index = node.args[1:3]
    if isinstance(index, Node) and index.op == "get_attr":
        _take(node, _places(node).gather(cast(int, axis), parameter(owner(node), index)))


def _view(node: Node) -> None:
    """A part of a tensor: the same part of its positions."""
    function = cast("Callable[..., Tensor]", node.target)
    _take(node, function(_places(node), *node.args[1:], **node.kwargs))


def _places(node: Node) -> Tensor:
    """Where each element of the first operand is, in row-major order, in its shape."""
    size = shape(source(node))
    return torch.arange(math.prod(size), device="cpu").reshape(size)


def _take(node: Node, places: Tensor) -> None:
    """Let the elements at flat positions take the place of `node`, whose shape these have."""
    value, order = source(node), places.flatten()
    if not torch.equal(order, torch.arange(math.prod(shape(value)), device="cpu")):
        value = _chosen(node, value, order)
    replace(
        node,
        insert_call(node, aten.reshape.default, (value, list(shape(node))), value, shape(node)),
    )


def _chosen(node: Node, value: Node, order: Tensor) -> Node:
    """The elements of `value` at flat positions, as (1, count)."""
    count = math.prod(shape(value))
    flat = insert_call(node, aten.reshape.default, (value, [1, count]), value, (1, count))
    positions = insert_parameter(owner(node), node, f"{node.name}_order", order)
    with node.meta["val"].fake_mode:
        positions.meta["val"] = torch.empty(len(order), dtype=torch.int64)
    args = (flat, 1, positions)
    return insert_call(node, aten.index_select.default, args, value, (1, len(order)))


RULES: dict[object, Callable[[Node], None]] = {
    aten.diagonal.default: _view,
    aten.gather.default: _gather,
    aten.index.Tensor: _constant_index,
    aten.unfold.default: _view,
}
