"""One spelling for products, scalings and moves of elements: the rules of `Canonicalize` for them.

mm, bmm, addmm, matmul(x, constant)   ->  linear(x, weight), or matmul(x, y) of two activations
matmul(x * 2, y * 3)                  ->  matmul(x, y) * 6
x * 0.5, x / 2                        ->  mul.Scalar(x, factor); other numbers become tensors
t, transpose                          ->  permute
select, split, chunk, unbind          ->  slice [-> reshape]
linear(x, weight) + b, b of its rows  ->  linear(x, weight, b)
add, mul of two shapes                ->  expand the smaller operand first
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch.fx import Node
from torch.fx.node import Argument

from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    merge_origins,
    owner,
    parameter,
    replace,
    shape,
    single_user,
)

aten = torch.ops.aten
Rule = Callable[[Node], None]
EVERYTHING = (1 << 63) - 1
"""How PyTorch writes the end of a slice that has none."""


def source(node: Node) -> Node:
    """The first operand."""
    return cast(Node, node.args[0])


def _call(node: Node, target: object, *args: Argument, size: tuple[int, ...]) -> Node:
    """A call ahead of `node` that stands for the same."""
    return insert_call(node, target, args, node, size)  # type: ignore[arg-type]


def reshaped(before: Node, value: Node, size: tuple[int, ...]) -> Node:
    """`value` under another shape, ahead of `before`; what has that shape already is taken."""
    first = value
    while shape(first) != size and first.target is aten.reshape.default:
        first = source(first)
    if shape(first) == size:
        return first
    return insert_call(before, aten.reshape.default, (first, list(size)), before, size)


def permuted(before: Node, value: Node, axes: tuple[int, ...]) -> Node:
    """`value` with its axes in another order, ahead of `before`; a reshape where none moves."""
    size = tuple(shape(value)[axis] for axis in axes)
    if _in_order(value, axes):
        return reshaped(before, value, size)
    return insert_call(before, aten.permute.default, (value, list(axes)), before, size)


def _in_order(value: Node, axes: tuple[int, ...]) -> bool:
    """Whether a permutation moves axes of extent 1 alone, and so no element."""
    long = [axis for axis in axes if shape(value)[axis] > 1]
    return long == sorted(long)


def expanded(before: Node, value: Node, size: tuple[int, ...]) -> Node:
    """`value` stretched to `size` as PyTorch broadcasts, ahead of `before`."""
    if shape(value) == size:
        return value
    return insert_call(before, aten.expand.default, (value, list(size)), before, size)


def _transpose(node: Node) -> None:
    rank = len(shape(node))
    first, second = 0, rank - 1
    if node.target is aten.transpose.int:
        first, second = (cast(int, axis) % rank for axis in node.args[1:3])
    axes = list(range(rank))
    axes[first], axes[second] = axes[second], axes[first]
    replace(node, permuted(node, source(node), tuple(axes)))


def _permute(node: Node) -> None:
    axes = tuple(axis % len(shape(node)) for axis in cast("list[int]", node.args[1]))
    value = source(node)
    if _in_order(value, axes):
        replace(node, reshaped(node, value, shape(node)))
    elif value.target is aten.reshape.default:
        _permute_ahead(node, source(value), axes)


def _permute_ahead(node: Node, whole: Node, axes: tuple[int, ...]) -> None:
    """Permute `whole`, which has axes of extent 1 in front, ahead of dropping them."""
    more = len(shape(whole)) - len(axes)
    if more <= 0 or shape(whole) != (1,) * more + shape(source(node)):
        return
    moved = permuted(node, whole, (*range(more), *(axis + more for axis in axes)))
    replace(node, reshaped(node, moved, shape(node)))


def _select(node: Node) -> None:
    axis, index = (cast(int, arg) for arg in node.args[1:3])
    value = source(node)
    part = sliced(node, value, axis % len(shape(value)), index, index + 1 or EVERYTHING)
    replace(node, reshaped(node, part, shape(node)))


def sliced(before: Node, value: Node, axis: int, start: int, end: int, step: int = 1) -> Node:
    """Elements `start`, `start + step`, ... of one axis, ahead of `before`."""
    count = len(range(*slice(start, end, step).indices(shape(value)[axis])))
    size = (*shape(value)[:axis], count, *shape(value)[axis + 1 :])
    return insert_call(before, aten.slice.Tensor, (value, axis, start, end, step), before, size)


def _whole_slice(node: Node) -> None:
    if shape(node) == shape(source(node)) and argument(node, 4, "step", 1) == 1:
        replace(node, source(node))


def _parts(node: Node) -> None:
    """Each part that something reads becomes a slice of its own."""
    value, start = source(node), 0
    unbind = node.target is aten.unbind.int
    index = 1 if unbind else 2
    axis = cast(int, argument(node, index, "dim", 0)) % len(shape(value))
    parts = [tuple(part.shape) for part in node.meta["val"]]
    for position, size in enumerate(parts):
        extent = 1 if unbind else size[axis]
        for user in [u for u in node.users if u.args[1] == position]:
            part = sliced(user, value, axis, start, start + extent)
            replace(user, reshaped(user, part, size))
        start += extent


def _product(node: Node) -> None:
    """mm, bmm, matmul: a linear layer when the right operand is a matrix of the model."""
    first, second = (cast(Node, arg) for arg in node.args[:2])
    if second.op == "get_attr" and len(shape(second)) == 2:
        _multiply(node, first, second, None)
    elif len(shape(first)) >= 2 and len(shape(second)) >= 2:
        lead = torch.broadcast_shapes(shape(first)[:-2], shape(second)[:-2])
        first = expanded(node, first, (*lead, *shape(first)[-2:]))
        second = expanded(node, second, (*lead, *shape(second)[-2:]))
        node.target, node.args = aten.matmul.default, (first, second)
        _scaled_once(node)


def _scaled_once(node: Node) -> None:
    """Let one factor behind a product of activations take the place of those ahead of it."""
    factor, operands = 1.0, []
    for operand in cast("list[Node]", node.args[:2]):
        value = operand
        if value.target is aten.mul.Scalar and single_user(value) is not None:
            factor *= cast(float, value.args[1])
            value = source(value)
        operands.append(value)
    if operands == list(node.args):
        return
    made = _call(node, node.target, *operands, size=shape(node))
    for operand in cast("list[Node]", node.args[:2]):
        merge_origins(made, operand)
    replace(node, _call(node, aten.mul.Scalar, made, factor, size=shape(node)))


def _added_product(node: Node) -> None:
    """addmm(bias, x, w): a linear layer when bias and w belong to the model."""
    bias, first, second = (cast(Node, arg) for arg in node.args[:3])
    plain = all(argument(node, 3, name, 1) == 1 for name in ("beta", "alpha"))
    if plain and second.op == "get_attr" and bias.op == "get_attr" and len(shape(bias)) == 1:
        _multiply(node, first, second, bias)


def _multiply(node: Node, value: Node, matrix: Node, bias: Node | None) -> None:
    """Let linear(value, transposed matrix, bias) take the place of `node`.

    Folding transposes the matrix.
    """
    weight = permuted(node, matrix, (1, 0))
    layer = _call(node, aten.linear.default, value, weight, bias, size=shape(node))
    replace(node, layer)
    _rows(layer)


def _rows(node: Node) -> None:
    """A linear layer works on (1, features) or on (1, everything ahead, features)."""
    value = source(node)
    if len(shape(value)) in (2, 3) and shape(value)[0] == 1:
        return
    rows = math.prod(shape(value)[:-1])
    flat = reshaped(node, value, (1, rows, shape(value)[-1]))
    args = (flat, *node.args[1:])
    layer = _call(node, aten.linear.default, *args, size=(1, rows, shape(node)[-1]))
    replace(node, reshaped(node, layer, shape(node)))


def _scaled(node: Node) -> None:
    """A product or quotient with a number; a negative number becomes a tensor."""
    value, factor = node.args[:2]
    if isinstance(factor, Node) or not isinstance(value, Node):
        return
    number = float(cast(float, factor))
    if node.target in (aten.div.Tensor, aten.div.Scalar):
        if number == 0:
            return
        number = 1 / number
    if number == 1:
        replace(node, value)
    elif number <= 0 and math.isfinite(number):
        constant = _number(node, number)
        replace(node, _call(node, aten.mul.Tensor, value, constant, size=shape(node)))
    else:
        node.target, node.args = aten.mul.Scalar, (value, number)


def _negated(node: Node) -> None:
    constant = _number(node, -1.0)
    replace(node, _call(node, aten.mul.Tensor, source(node), constant, size=shape(node)))


def _number(node: Node, value: float) -> Node:
    """A number as a tensor of the model that has the shape of `node`, except its channels' axis."""
    tensor = torch.full((1,) * len(shape(node)), value)
    return insert_parameter(owner(node), node, f"{node.name}_operand", tensor)


def _sum(node: Node) -> None:
    """A sum with a number or with an operand of another shape."""
    first, second = node.args[:2]
    if any(_takes_bias(node, *pair) for pair in ((first, second), (second, first))):
        return
    if _is_zero(second) and isinstance(first, Node) and shape(first) == shape(node):
        replace(node, first)
        return
    if not isinstance(first, Node):
        first = _number(node, float(cast(float, first)))
    if not isinstance(second, Node):
        number = float(cast(float, second)) * float(cast(float, argument(node, 2, "alpha", 1)))
        second = _number(node, number)
    _broadcast(node, first, second)


def _is_zero(operand: Argument) -> bool:
    """Whether an operand is a constant of zeros, such as the mask of what masks nothing."""
    if not isinstance(operand, Node) or operand.op != "get_attr":
        return False
    value = parameter(owner(operand), operand)
    return not value.is_meta and not bool(value.any())


def _takes_bias(node: Node, value: Argument, bias: Argument) -> bool:
    """Give the layer that makes `value` the constant `bias` of the sum `node`, if it has none."""
    if node.target is not aten.add.Tensor or argument(node, 2, "alpha", 1) != 1:
        return False
    if not isinstance(value, Node) or not isinstance(bias, Node) or bias.op != "get_attr":
        return False
    layer, features = value, shape(node)[-1]
    while layer.target is aten.reshape.default and single_user(layer) is not None:
        layer = source(layer)
    takes = layer.target is aten.linear.default and argument(layer, 2, "bias") is None
    if not takes or single_user(layer) is None or shape(layer)[-1] != features:
        return False
    if (
        shape(value) != shape(node)
        or math.prod(shape(bias)) != features
        or shape(bias)[-1] != features
    ):
        return False
    row = reshaped(node, bias, (features,))
    made = insert_call(node, layer.target, (*layer.args[:2], row), layer, shape(layer))
    replace(node, reshaped(node, made, shape(node)))
    return True


def _broadcast(node: Node, first: Node, second: Node) -> None:
    size = shape(node)
    node.args = (expanded(node, first, size), expanded(node, second, size), *node.args[2:])


def _elementwise_product(node: Node) -> None:
    """Two activations; the larger is the first, so that only the second stretches."""
    first, second = node.args[:2]
    if not isinstance(first, Node) or not isinstance(second, Node):
        _scaled(node)
    elif shape(first) != shape(node):
        node.args = (second, first)


def _quotient(node: Node) -> None:
    """Division by a tensor is multiplication by its reciprocal."""
    first, second = node.args[:2]
    if not isinstance(second, Node):
        _scaled(node)
    elif isinstance(first, Node):
        inverse = _call(node, aten.reciprocal.default, second, size=shape(second))
        replace(node, _call(node, aten.mul.Tensor, first, inverse, size=shape(node)))


def _square(node: Node) -> None:
    if node.args[1] == 2:
        replace(node, _call(node, aten.mul.Tensor, source(node), source(node), size=shape(node)))


RULES: dict[object, Rule] = {
    aten.add.Tensor: _sum,
    aten.addmm.default: _added_product,
    aten.bmm.default: _product,
    aten.chunk.default: _parts,
    aten.div.Scalar: _scaled,
    aten.div.Tensor: _quotient,
    aten.linear.default: _rows,
    aten.matmul.default: _product,
    aten.mm.default: _product,
    aten.mul.Scalar: _scaled,
    aten.mul.Tensor: _elementwise_product,
    aten.neg.default: _negated,
    aten.permute.default: _permute,
    aten.pow.Tensor_Scalar: _square,
    aten.select.int: _select,
    aten.slice.Tensor: _whole_slice,
    aten.split.Tensor: _parts,
    aten.split_with_sizes.default: _parts,
    aten.sub.Tensor: _sum,
    aten.t.default: _transpose,
    aten.transpose.int: _transpose,
    aten.unbind.int: _parts,
}
