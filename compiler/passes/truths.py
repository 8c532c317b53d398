"""Truth values as the numbers 0 and 1: comparisons, what logic makes of them, masks of inputs.

x > y            ->  composed(x - y, "> 0")
p & q, p | q     ->  p * q, 1 - (1 - p) * (1 - q)
~p, p != q       ->  1 - p, abs(p - q)
ids != 3         ->  rows of a table of 0 and 1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.fx import Node
from torch.fx.node import Argument

from intaglio.compiler.graph import (
    insert_call,
    insert_parameter,
    is_real,
    owner,
    parameter,
    shape,
)
from intaglio.compiler.passes.spellings import expanded, reshaped, source
from intaglio.compiler.tables import COMPARISONS, Step, composed

aten = torch.ops.aten
Size = tuple[int, ...]
TRUTH = "truth"
"""Key of a node's metadata: whether its value is 0 or 1 everywhere, whatever calibration sees."""
FLIP: Step = (aten.rsub.Scalar, ((0,), 1.0), {})
AS_NUMBER: Step = (aten.mul.Scalar, ((1,), 1.0), {})
MOVES = frozenset(
    {
        aten.expand.default,
        aten.permute.default,
        aten.reshape.default,
        aten.slice.Tensor,
        aten.squeeze.dims,
        aten.transpose.int,
        aten.unsqueeze.default,
        aten.view.default,
    }
)
"""Moves of elements that truth values go through."""


def total(before: Node, kind: OpOverload, first: Node, second: Node, size: Size) -> Node:
    """A sum or a difference of two values stretched to `size`, ahead of `before`."""
    args = expanded(before, first, size), expanded(before, second, size)
    return insert_call(before, kind, args, before, size)


def known(node: Node) -> Tensor | None:
    """The tensor of the model behind a node, ahead of any stretching; None when it has no value.

    That is when it is computed, or on the meta device.
    """
    while node.op == "call_function" and node.target is aten.expand.default:
        node = source(node)
    value = parameter(owner(node), node) if node.op == "get_attr" else None
    return None if value is None or value.is_meta else value


def is_all(node: Node, number: float) -> bool:
    """Whether a value is a constant, and the same number everywhere."""
    value = known(node)
    return value is not None and bool((value == number).all())


def truth(before: Node, node: Node) -> Node | None:
    """The numbers 0 and 1 for truth values, ahead of `before`; None when they are not computed.

    `before` is real.
    """
    value = known(node)
    if value is not None:
        made = insert_parameter(owner(before), before, f"{before.name}_truth", (value != 0).float())
        return expanded(before, made, shape(node))
    if not is_real(node) and node.meta["val"].dtype is not torch.bool:
        return of_integers(before, node)
    if node.op != "call_function":
        return None
    if TRUTH in node.meta and is_real(node):
        return node
    rule = TRUTHS.get(node.target)
    return None if rule is None else rule(before, node)


def table_of(before: Node, value: Node, *steps: Step) -> Node:
    """Numbers 0 and 1 that `steps` make of a real value, ahead of `before`."""
    args = (value, cast(Argument, steps))
    return marked(insert_call(before, composed, args, before, shape(value)))


def marked(node: Node) -> Node:
    """Say of a value that it is 0 or 1 everywhere."""
    node.meta[TRUTH] = True
    return node


def opposite(before: Node, kept: Node) -> Node:
    """1 - p, ahead of `before`."""
    value = known(kept)
    if value is not None:
        made = insert_parameter(owner(before), before, f"{before.name}_opposite", 1 - value)
        return expanded(before, made, shape(kept))
    if kept.target is composed and kept.args[1] == (FLIP,):
        return source(kept)
    return table_of(before, kept, FLIP)


def _compared(before: Node, node: Node) -> Node | None:
    """A real value against a number, or two real values by their difference."""
    first, second = node.args[:2]
    if not isinstance(first, Node):
        return None
    if isinstance(second, Node) and _are_bools(first, second):
        return _bools_compared(before, node)
    if not isinstance(second, Node) and first.meta["val"].dtype is torch.bool:
        share = truth(before, first)
        test: Step = (node.target, ((0,), second), {})
        return None if share is None else table_of(before, share, test, AS_NUMBER)
    if not is_real(first):
        return None if isinstance(second, Node) else of_integers(before, node)
    if not isinstance(second, Node):
        return table_of(before, first, (node.target, ((0,), second), {}), AS_NUMBER)
    if not is_real(second):
        return None
    gap = total(before, aten.sub.Tensor, first, second, shape(node))
    against = getattr(aten, str(node.target).split(".")[1]).Scalar
    return table_of(before, gap, (against, ((0,), 0.0), {}), AS_NUMBER)


def _are_bools(*nodes: Node) -> bool:
    return all(node.meta["val"].dtype is torch.bool for node in nodes)


def _bools_compared(before: Node, node: Node) -> Node | None:
    """Whether two truth values differ, or are the same."""
    if node.target not in (aten.eq.Tensor, aten.ne.Tensor):
        return None
    differ = _neither_both(before, node)
    if differ is None or node.target is aten.ne.Tensor:
        return differ
    return opposite(before, differ)


def _pair(before: Node, node: Node) -> tuple[Node, Node] | None:
    first, second = (truth(before, cast(Node, arg)) for arg in node.args[:2])
    if first is None or second is None:
        return None
    size = shape(node)
    return expanded(before, first, size), expanded(before, second, size)


def _both(before: Node, node: Node) -> Node | None:
    pair = _pair(before, node)
    if pair is None:
        return None
    return both(before, *pair)


def both(before: Node, first: Node, second: Node) -> Node:
    """P * q of one shape, ahead of `before`."""
    made = insert_call(before, aten.mul.Tensor, (first, second), before, shape(first))
    return marked(made)


def _either(before: Node, node: Node) -> Node | None:
    """1 - (1 - p) * (1 - q)."""
    pair = _pair(before, node)
    if pair is None:
        return None
    return opposite(before, both(before, *(opposite(before, part) for part in pair)))


def _neither_both(before: Node, node: Node) -> Node | None:
    """Whether p and q differ."""
    pair = _pair(before, node)
    if pair is None:
        return None
    gap = total(before, aten.sub.Tensor, *pair, shape(node))
    return table_of(before, gap, (aten.abs.default, ((0,),), {}))


def _not(before: Node, node: Node) -> Node | None:
    kept = truth(before, source(node))
    return None if kept is None else opposite(before, kept)


def _moved(before: Node, node: Node) -> Node | None:
    kept = truth(before, source(node))
    if kept is None:
        return None
    args = (kept, *node.args[1:])
    return marked(insert_call(before, node.target, args, before, shape(node)))


def _converted(before: Node, node: Node) -> Node | None:
    """Truth values again, or whether real values are not 0."""
    value = source(node)
    if not is_real(value):
        return truth(before, value)
    return table_of(before, value, (aten.ne.Scalar, ((0,), 0.0), {}), AS_NUMBER)


def of_integers(before: Node, node: Node) -> Node | None:
    """The numbers 0 and 1 for what an input of integers compares to, ahead of `before`.

    They are looked up in a table for all integers that matter; integers themselves are true unless
    0.  None where anything else makes the integers.
    """
    compares = node.target in COMPARISONS
    entry, moves = _entry(source(node) if compares else node)
    extent = _extent(entry) if entry.op == "placeholder" else None
    if extent is None:
        return None
    integers = torch.arange(extent)
    test = cast("Callable[..., Tensor]", node.target if compares else aten.ne.Scalar)
    entries = test(integers, node.args[1] if compares else 0).float()[:, None]
    table = insert_parameter(owner(before), before, f"{before.name}_{node.name}_table", entries)
    size = shape(entry)
    made = insert_call(before, aten.embedding.default, (table, entry), before, (*size, 1))
    made = marked(reshaped(before, marked(made), size))
    for move in reversed(moves):
        args = (made, *move.args[1:])
        made = marked(insert_call(before, move.target, args, before, shape(move)))
    return made


def _entry(node: Node) -> tuple[Node, list[Node]]:
    """What integers were ahead of moves of their elements, and the moves, the last one first."""
    moves = []
    while node.op == "call_function" and not is_real(node):
        if node.target in MOVES:
            moves.append(node)
        elif node.target is not aten._to_copy.default:
            break
        node = source(node)
    return node, moves


def _extent(entry: Node) -> int | None:
    """How many integers there are: those of the model's tables, else 0 and 1.

    None where integers without a table are compared to others than 0 and 1.
    """
    most, rows, pending = 1, 0, list(entry.users)
    while pending:
        user = pending.pop()
        if user.target in COMPARISONS and isinstance(user.args[1], int):
            most = max(most, user.args[1])
        elif user.target is aten.embedding.default and user.args[1] is entry:
            rows = max(rows, shape(cast(Node, user.args[0]))[0])
        elif user.target in MOVES or user.target is aten._to_copy.default:
            pending += user.users
    if rows:
        return rows
    return 2 if most == 1 else None


TRUTHS: dict[object, Callable[[Node, Node], Node | None]] = {
    **dict.fromkeys(COMPARISONS, _compared),
    **dict.fromkeys(MOVES, _moved),
    aten._to_copy.default: _converted,
    aten.bitwise_and.Tensor: _both,
    aten.bitwise_not.default: _not,
    aten.bitwise_or.Tensor: _either,
    aten.bitwise_xor.Tensor: _neither_both,
    aten.logical_and.default: _both,
    aten.logical_not.default: _not,
    aten.logical_or.default: _either,
    aten.logical_xor.default: _neither_both,
}
