"""Indexing with constant tensors: a reshape when it keeps the order, else chosen rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node

from intaglio.compiler.graph import insert_call, insert_parameter, owner, parameter, replace, shape

aten = torch.ops.aten


def _constant_index(node: Node) -> None:
    """x[i, j, ...] with indices of the model."""
    value, given = cast("tuple[Node, list[Node | None]]", node.args[:2])
    if any(index is not None and index.op != "get_attr" for index in given):
        return
    module = owner(node)
    indices = [slice(None) if index is None else parameter(module, index) for index in given]
    count = math.prod(shape(value))
    order = torch.arange(count).reshape(shape(value))[tuple(indices)].flatten()
    if not torch.equal(order, torch.arange(count)):
        value = _chosen(node, value, order)
    size = shape(node)
    replace(node, insert_call(node, aten.reshape.default, (value, list(size)), value, size))


def _chosen(node: Node, value: Node, order: Tensor) -> Node:
    """The elements of `value` at flat positions, as (1, count)."""
    count = math.prod(shape(value))
    flat = insert_call(node, aten.reshape.default, (value, [1, count]), value, (1, count))
    positions = insert_parameter(owner(node), node, f"{node.name}_order", order)
    with node.meta["val"].fake_mode:
        positions.meta["val"] = torch.empty(len(order), dtype=torch.int64)
    args = (flat, 1, positions)
    return insert_call(node, aten.index_select.default, args, value, (1, len(order)))


RULES: dict[object, Callable[[Node], None]] = {aten.index.Tensor: _constant_index}
