"""Masks of scores that a model computes: what is added to scores, or chosen in their place.

where(p, 0, lowest)         ->  p
(1 - ids.float()) * lowest  ->  ids != 0
sums of such biases         ->  products of what they keep
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch.fx import Node

from intaglio.compiler.graph import insert_call, insert_parameter, owner, shape
from intaglio.compiler.passes.spellings import expanded, source
from intaglio.compiler.passes.truths import (
    MOVES,
    Size,
    both,
    is_all,
    known,
    marked,
    opposite,
    truth,
)

aten = torch.ops.aten
MASKED = -1e4
"""Scores of a constant from here down are masked: softmax gives them no float32 probability."""


def hides(node: Node) -> bool:
    """Whether a constant masks every score that it takes the place of."""
    value = known(node)
    return value is not None and value.is_floating_point() and bool((value <= MASKED).all())


def kept(before: Node, node: Node, sign: int = 1) -> Node | None:
    """1 where `sign` times a bias is 0 and 0 where it masks, ahead of `before`.

    None for a bias of other numbers.
    """
    value = known(node)
    if value is not None:
        hidden = sign * value <= MASKED
        if not bool((hidden | (value == 0)).all()):
            return None
        made = insert_parameter(owner(before), before, f"{before.name}_kept", (~hidden).float())
        return expanded(before, made, shape(node))
    rule = BIASES.get(node.target) if node.op == "call_function" and sign > 0 else None
    return None if rule is None else rule(before, node)


def _chosen_bias(before: Node, node: Node) -> Node | None:
    """where(p, bias, hidden), where(p, hidden, bias)."""
    chosen, first, second = (cast(Node, arg) for arg in node.args[:3])
    share = truth(before, chosen)
    if share is None or not (hides(first) or hides(second)):
        return None
    share = opposite(before, share) if hides(first) else share
    rest = kept(before, second if hides(first) else first)
    return None if rest is None else joined(before, share, rest, shape(node))


def joined(before: Node, first: Node, second: Node, size: Size) -> Node:
    """What two masks of truth values keep, ahead of `before`."""
    if is_all(first, 1.0) or is_all(second, 1.0):
        return expanded(before, second if is_all(first, 1.0) else first, size)
    return both(before, expanded(before, first, size), expanded(before, second, size))


def _summed_bias(before: Node, node: Node) -> Node | None:
    first, second = (kept(before, cast(Node, arg)) for arg in node.args[:2])
    if first is None or second is None:
        return None
    return joined(before, first, second, shape(node))


def _scaled_bias(before: Node, node: Node) -> Node | None:
    """P * hidden; p may be 1 - q."""
    value, factor = node.args[:2]
    number = known(factor) if isinstance(factor, Node) else torch.tensor(cast(float, factor))
    if number is None or not bool((number <= MASKED).all()):
        return None
    share = _share(before, cast(Node, value))
    return None if share is None else opposite(before, share)


def _share(before: Node, node: Node) -> Node | None:
    """The numbers 0 and 1 of real values that were integers, or 1 minus them."""
    if node.target is aten.rsub.Scalar and node.args[1] == 1:
        inner = _share(before, source(node))
        return None if inner is None else opposite(before, inner)
    first = node.args[0]
    one = is_all(first, 1.0) if isinstance(first, Node) else first == 1
    if node.target is aten.sub.Tensor and one:
        inner = _share(before, cast(Node, node.args[1]))
        return None if inner is None else opposite(before, inner)
    return truth(before, node)


def _moved_bias(before: Node, node: Node) -> Node | None:
    share = kept(before, source(node))
    if share is None:
        return None
    args = (share, *node.args[1:])
    return marked(insert_call(before, node.target, args, before, shape(node)))


BIASES: dict[object, Callable[[Node, Node], Node | None]] = {
    **dict.fromkeys(MOVES, _moved_bias),
    aten.add.Tensor: _summed_bias,
    aten.mul.Scalar: _scaled_bias,
    aten.mul.Tensor: _scaled_bias,
    aten.where.self: _chosen_bias,
}
