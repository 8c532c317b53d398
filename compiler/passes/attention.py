"""Attention in simple operators: products of activations around a softmax with a mask.

scaled_dot_product_attention(q, k, v)   ->  matmul(softmax(matmul(q, k^T) * scale), v)
softmax(x, any axis)                    ->  [permute ->] softmax(x, -1) [-> permute]
softmax(where(mask, x, -inf))           ->  masked_softmax(x, mask)
softmax(x + constant of 0 and -inf)     ->  masked_softmax(x, constant mask)
a mask without a masked entry           ->  no mask
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.fx import Node

from intaglio.compiler.graph import (
    argument,
    insert_call,
    insert_parameter,
    is_real,
    owner,
    replace,
)
from intaglio.compiler.graph import shape as shape_of
from intaglio.compiler.passes.masks import MASKED, hides, joined, kept
from intaglio.compiler.passes.spellings import expanded, permuted, reshaped, source
from intaglio.compiler.passes.truths import known, opposite, truth

aten = torch.ops.aten
SUMS = {aten.add.Tensor: 1, aten.sub.Tensor: -1}
"""Sums of scores and a bias, and the sign of the bias."""
MOVES_OF_MASKS = frozenset(
    {
        aten.expand.default,
        aten.index_select.default,
        aten.permute.default,
        aten.reshape.default,
        aten.slice.Tensor,
    }
)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Probabilities along the last axis; exactly 0 where `mask` is 0, also in a row of zeros.

    `mask`, of integers or booleans, has a shape that stretches to that of `scores`.
    """
    kept = mask != 0
    probabilities = torch.softmax(torch.where(kept, scores, float("-inf")), -1)
    return torch.where(kept, probabilities, 0.0)


def feeds_masks(node: Node) -> bool:
    """Whether a value is read as the mask of a softmax and in no other way."""
    return bool(node.users) and all(
        (user.target is masked_softmax and user.args[1] is node and user.args[0] is not node)
        or (user.target in MOVES_OF_MASKS and user.args[0] is node and feeds_masks(user))
        for user in node.users
    )


def _attention(node: Node) -> None:
    """The products and the softmax that scaled_dot_product_attention stands for."""
    if argument(node, 4, "dropout_p", 0.0) != 0.0:
        return
    query, key, value = (cast(Node, arg) for arg in node.args[:3])
    if argument(node, 7, "enable_gqa", False):
        key, value = (_repeated(node, part, shape_of(query)[-3]) for part in (key, value))
    lead = torch.broadcast_shapes(*(shape_of(part)[:-2] for part in (query, key, value)))
    query, key, value = (
        expanded(node, part, (*lead, *shape_of(part)[-2:])) for part in (query, key, value)
    )
    rank = len(lead) + 2
    turned = permuted(node, key, (*range(rank - 2), rank - 1, rank - 2))
    size = (*lead, shape_of(query)[-2], shape_of(key)[-2])
    scores = insert_call(node, aten.matmul.default, (query, turned), node, size)
    given = cast("float | None", argument(node, 6, "scale"))
    scale = 1 / math.sqrt(shape_of(query)[-1]) if given is None else given
    scores = insert_call(node, aten.mul.Scalar, (scores, scale), node, size)
    mask = cast("Node | None", argument(node, 3, "attn_mask"))
    if argument(node, 5, "is_causal", False):
        mask = _constant_mask(node, torch.ones(size[-2:], dtype=torch.bool).tril())
    elif mask is not None and is_real(mask):
        share = None if known(mask) is not None else kept(node, mask)
        scores, mask = (scores, share) if share else _split_bias(node, scores, mask)
    elif mask is not None:
        mask = _computed_mask(node, mask)
    weights = _probabilities(node, scores, mask)
    made = insert_call(node, aten.matmul.default, (weights, value), node, shape_of(node))
    replace(node, made)


def _repeated(before: Node, part: Node, heads: int) -> Node:
    """Every head of (..., H, S, E) repeated until there are `heads` of them."""
    *lead, own, tokens, features = shape_of(part)
    split = reshaped(before, part, (*lead, own, 1, tokens, features))
    wide = expanded(before, split, (*lead, own, heads // own, tokens, features))
    return reshaped(before, wide, (*lead, heads, tokens, features))


def _softmax(node: Node) -> None:
    """Softmax along the last axis, its mask apart from the scores."""
    rank = len(shape_of(node))
    axis = cast(int, node.args[1]) % rank
    scores, mask = _unmasked(node, source(node), axis - rank)
    if axis == rank - 1:
        replace(node, _probabilities(node, scores, mask))
        return
    axes = list(range(rank))
    axes[axis], axes[-1] = axes[-1], axes[axis]
    if mask is not None:
        full = _moved(node, aten.expand.default, mask, shape_of(node))
        turned = tuple(shape_of(node)[a] for a in axes)
        mask = _moved(node, aten.permute.default, full, turned, axes)
    made = _probabilities(node, permuted(node, scores, tuple(axes)), mask)
    replace(node, permuted(node, made, tuple(axes)))


def _probabilities(before: Node, scores: Node, mask: Node | None) -> Node:
    """Softmax of the scores along the last axis, ahead of `before`."""
    size = shape_of(scores)
    if mask is None or _all_kept(mask):
        return insert_call(before, aten.softmax.int, (scores, -1), before, size)
    return insert_call(before, masked_softmax, (scores, mask), before, size)


def _unmasked(before: Node, scores: Node, axis: int) -> tuple[Node, Node | None]:
    """The scores ahead of all masking, and the mask of those that count.

    `axis`, counted from the end, is that of the softmax.
    """
    real, mask = _unmasked_once(before, scores, axis)
    if mask is None or real is scores:
        return real, mask
    inner, other = _unmasked(before, real, axis)
    if other is None:
        return inner, mask
    first, second = truth(before, mask), truth(before, other)
    if first is None or second is None:
        return real, mask
    size = tuple(torch.broadcast_shapes(shape_of(first), shape_of(second)))
    return inner, joined(before, first, second, size)


def _unmasked_once(before: Node, scores: Node, axis: int) -> tuple[Node, Node | None]:
    """The scores ahead of the last masking, and its mask."""
    if scores.target is aten.where.self:
        mask, chosen, masked = (cast(Node, arg) for arg in scores.args[:3])
        if hides(masked) and not _empties(mask, masked, axis):
            return _stretched(before, chosen, scores), _computed_mask(before, mask)
        inverse = _opposite_mask(before, mask) if hides(chosen) else None
        if inverse is not None and not _empties(inverse, chosen, axis):
            return _stretched(before, masked, scores), inverse
    if scores.target in SUMS and argument(scores, 2, "alpha", 1) == 1:
        real, bias = (cast(Node, arg) for arg in scores.args[:2])
        sign = SUMS[scores.target]
        for value, other in ((real, bias), (bias, real))[: 2 if sign > 0 else 1]:
            if _is_bias(other, sign):
                return _split_bias(before, _stretched(before, value, scores), other, axis, sign)
            share = None if known(other) is not None else kept(before, other, sign)
            if share is not None:
                return _stretched(before, value, scores), share
            apart = _hiding_part(before, other) if sign > 0 else None
            if apart is not None:
                bias, share = apart
                wide = [expanded(before, part, shape_of(scores)) for part in (value, bias)]
                size = shape_of(scores)
                return insert_call(before, aten.add.Tensor, tuple(wide), before, size), share
    return scores, None


def _hiding_part(before: Node, bias: Node) -> tuple[Node, Node] | None:
    """The finite part of a computed bias, and the mask that is its other part."""
    while bias.target is aten.expand.default:
        bias = source(bias)
    if bias.target is not aten.add.Tensor or argument(bias, 2, "alpha", 1) != 1:
        return None
    first, second = (cast(Node, arg) for arg in bias.args[:2])
    for finite, hiding in ((first, second), (second, first)):
        share = None if known(hiding) is not None else kept(before, hiding)
        if share is not None:
            return finite, share
    return None


def _computed_mask(before: Node, mask: Node) -> Node:
    """A mask of truth values as 0 and 1; one of the model, or of integers, as it is."""
    if known(mask) is not None or mask.meta["val"].dtype is not torch.bool:
        return mask
    return truth(before, mask) or mask


def _opposite_mask(before: Node, mask: Node) -> Node | None:
    """The mask of what `mask` hides."""
    value = known(mask)
    if value is not None:
        return _constant_mask(before, value.logical_not())
    share = truth(before, mask)
    return None if share is None else opposite(before, share)


def _stretched(before: Node, value: Node, like: Node) -> Node:
    return expanded(before, value, shape_of(like))


def _empties(mask: Node, masked: Node, axis: int) -> bool:
    """Whether a mask of the model hides whole rows behind finite scores, which then are alike."""
    kept, value = known(mask), known(masked)
    if kept is None or value is None or not bool(value.isfinite().all()):
        return False
    rows = kept.any(axis) if kept.dim() >= -axis else kept
    return not bool(rows.all())


def _is_bias(node: Node, sign: int) -> bool:
    """Whether `sign` times a constant, added to scores, masks some of them."""
    value = known(node)
    return value is not None and bool((sign * value <= MASKED).any())


def _split_bias(
    before: Node, scores: Node, bias: Node, axis: int = -1, sign: int = 1
) -> tuple[Node, Node | None]:
    """What `sign` times an added bias leaves of the scores, and the mask of what it does not hide.

    `axis`, counted from the end, is that of the softmax.
    """
    value = known(bias)
    size = shape_of(scores)
    if value is None:
        wide = expanded(before, bias, size)
        return insert_call(before, aten.add.Tensor, (scores, wide), before, size), None
    value = _levelled(sign * value, axis)
    kept = value > MASKED
    rest = torch.where(kept, value, 0.0)
    if bool(rest.any()):
        number = insert_parameter(owner(before), before, f"{before.name}_bias", rest)
        wide = expanded(before, number, size)
        scores = insert_call(before, aten.add.Tensor, (scores, wide), before, size)
    return scores, _constant_mask(before, kept)


def _levelled(bias: Tensor, axis: int) -> Tensor:
    """`bias` with its largest entry along `axis` at 0, which no probability sees.

    So a row of large numbers hides nothing; one of negative infinities stays as it is.
    """
    highest = bias.amax(axis, keepdim=True) if bias.dim() >= -axis else bias
    lowers = highest.isfinite() & (highest <= MASKED)
    return torch.where(lowers, bias - highest, bias)


def _all_kept(mask: Node) -> bool:
    value = known(mask)
    return value is not None and bool((value != 0).all())


def _constant_mask(before: Node, mask: Tensor) -> Node:
    """A mask of the model, ahead of `before`."""
    node = insert_parameter(owner(before), before, f"{before.name}_mask", mask)
    with before.meta["val"].fake_mode:
        node.meta["val"] = torch.empty(tuple(mask.shape), dtype=torch.bool)
    return node


def _moved(
    before: Node, target: object, mask: Node, size: tuple[int, ...], order: list[int] | None = None
) -> Node:
    """A mask stretched or turned, ahead of `before`; it keeps the type of its integers."""
    args = (mask, order if order is not None else list(size))
    return insert_call(before, target, args, mask, size)  # type: ignore[arg-type]


def _as_mask(node: Node) -> None:
    """Conversions that keep every value, or keep which integers are 0, change no mask."""
    before, after = source(node).meta["val"].dtype, node.meta["val"].dtype
    if before == after or (after is torch.bool and not before.is_floating_point):
        replace(node, source(node))


def _both(node: Node) -> None:
    """A mask and one that masks nothing."""
    first, second = (cast(Node, arg) for arg in node.args[:2])
    for mask, other in ((first, second), (second, first)):
        if _all_kept(mask) and not is_real(mask):
            same = shape_of(other) == shape_of(node)
            wide = other if same else _moved(node, aten.expand.default, other, shape_of(node))
            replace(node, wide)
            return


RULES: dict[object, Callable[[Node], None]] = {
    aten._safe_softmax.default: _softmax,
    aten._softmax.default: _softmax,
    aten._to_copy.default: _as_mask,
    aten.bitwise_and.Tensor: _both,
    aten.logical_and.default: _both,
    aten.scaled_dot_product_attention.default: _attention,
    aten.softmax.int: _softmax,
}
