"""Functions of single elements that a model writes out, as one table each.

0.5 * x * (1 + tanh(0.8 * (x + 0.045 * x ** 3)))   ->   gelu(x, approximate="tanh")
x * sigmoid(1.702 * x)                             ->   composed(x, steps)
where(x > 0, x, 0.1 * x)                           ->   composed(x, steps)

Every table rounds once, so one for the whole of a function is closer to it than one for each part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.fx.node import Argument, map_arg

from intaglio.compiler.graph import insert_call, merge_origins, owner, parameter, replace, shape
from intaglio.compiler.passes.fuse import CLAMPS
from intaglio.compiler.tables import COMPARISONS, LOGICAL, UNARY, Step, composed

aten = torch.ops.aten
LINEAR = CLAMPS | {
    aten._to_copy.default,
    aten.add.Tensor,
    aten.div.Tensor,
    aten.full_like.default,
    aten.mul.Scalar,
    aten.mul.Tensor,
    aten.neg.default,
    aten.rsub.Scalar,
    aten.sub.Tensor,
}
"""Operators that need no table while at most one operand of a product is computed."""
SUMS = frozenset({aten.add.Tensor, aten.sub.Tensor})
POINTWISE = (
    LINEAR
    | UNARY
    | COMPARISONS
    | LOGICAL
    | {
        aten.clamp.Tensor,
        aten.clamp_max.default,
        aten.div.Tensor_mode,
        aten.fmod.Scalar,
        aten.fmod.Tensor,
        aten.maximum.default,
        aten.minimum.default,
        aten.pow.Scalar,
        aten.pow.Tensor_Tensor,
        aten.remainder.Scalar,
        aten.remainder.Tensor,
        aten.round.decimals,
        aten.square.default,
        aten.where.self,
        composed,
    }
)
"""Operators whose result at an element depends on their operands at that element alone."""
OWN_FORM = LINEAR | UNARY | {composed}
"""Operators of one computed operand that later passes know."""
Options = Mapping[str, object]
KNOWN: tuple[tuple[object, Options], ...] = (
    (aten.relu.default, {}),
    (aten.gelu.default, {}),
    (aten.gelu.default, {"approximate": "tanh"}),
    (aten.hardsigmoid.default, {}),
    (aten.hardswish.default, {}),
    (aten.mish.default, {}),
    (aten.sigmoid.default, {}),
    (aten.silu.default, {}),
    (aten.softplus.default, {}),
    (aten.tanh.default, {}),
)
"""Functions that later passes know by name, and how they are called."""
CLOSE = 1e-6
"""How far a function may be from a known one, relative to magnitudes above 1."""


@dataclass(frozen=True, slots=True)
class ComposeFunctions:
    """Let one call take the place of calls that together are a function of one tensor's elements.

    Values that something else reads stay calls of their own.
    """

    def __call__(self, module: GraphModule) -> GraphModule:
        """Rewrite `module` and return it."""
        inside: set[Node] = set()
        for node in reversed(module.graph.nodes):
            if node not in inside and _is_pointwise(node) and _is_float(node):
                inside |= _composed(node)
        module.graph.eliminate_dead_code()
        module.recompile()
        return module


def _is_pointwise(node: Node) -> bool:
    return node.op == "call_function" and node.target in POINTWISE


def _is_float(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.dtype is torch.float32


def _composed(root: Node) -> set[Node]:
    """Compose the calls that make `root` of one tensor, when they take a table; those calls."""
    for ordered in _regions(root):
        leaf = _leaf(root, ordered)
        if leaf is None or not _takes_table(ordered):
            continue
        made = _call(root, leaf, _steps(ordered, leaf))
        for node in ordered[:-1]:
            merge_origins(made, node)
        replace(root, made)
        return set(ordered)
    return set()


def _regions(root: Node) -> Iterator[list[Node]]:
    """All calls behind `root`, and then those behind each of them that is a tensor to start from.

    A bias or a residual ahead of a function is no part of it: gelu(x + b) is gelu(y).
    """
    members = _members(root)
    ordered = [node for node in root.graph.nodes if node in members]
    yield ordered
    for leaf in ordered[:-1]:
        kept = {root}
        for node in reversed(ordered[:-1]):
            if node is not leaf and all(user in kept for user in node.users):
                kept.add(node)
        yield [node for node in ordered if node in kept]


def _leaf(root: Node, members: list[Node]) -> Node | None:
    """The only tensor of reals that `members` read, of the shape of `root`, beside numbers."""
    leaves = {leaf for node in members for leaf in node.all_input_nodes} - set(members)
    read = [leaf for leaf in leaves if _number(leaf) is None]
    if len(read) != 1 or not _is_float(read[0]) or shape(read[0]) != shape(root):
        return None
    return read[0]


def _members(root: Node) -> set[Node]:
    """The calls behind `root` that nothing else reads, of its shape and of single elements."""
    members = {root}
    for node in reversed(root.graph.nodes):
        inside = bool(node.users) and all(user in members for user in node.users)
        if inside and _is_pointwise(node) and shape(node) == shape(root) and _number(node) is None:
            kind = node.meta["val"].dtype
            if kind is torch.bool or kind is torch.float32:
                members.add(node)
    return members


def _number(node: Node) -> float | bool | None:
    """The number that a node stands for, whatever shape it has; None when it is no number."""
    if node.op == "call_function" and node.target is aten.full_like.default:
        return cast(float, node.args[1])
    if node.op != "get_attr":
        return None
    value = parameter(owner(node), node)
    return None if value.is_meta or value.numel() != 1 else cast(float, value.item())


def _takes_table(members: list[Node]) -> bool:
    """Whether the calls are more than one that has its own form, or products, sums and clamps."""
    if len(members) == 1:
        return members[0].target not in OWN_FORM
    return any(
        node.target not in LINEAR
        or (node.target not in SUMS and sum(_is_computed(arg) for arg in node.args) > 1)
        for node in members
    )


def _is_computed(argument: object) -> bool:
    return isinstance(argument, Node) and _number(argument) is None


def _steps(members: list[Node], leaf: Node) -> tuple[Step, ...]:
    """The calls in order, each operand as the position of what was computed before, in a tuple."""
    place, steps = {leaf: 0}, _Steps([])
    for node in members:
        for operand in node.all_input_nodes:
            if operand not in place:
                number = _number(operand)
                kind = torch.bool if isinstance(number, bool) else torch.float64
                place[operand] = steps.add(aten.scalar_tensor.default, (number,), {"dtype": kind})
        args = map_arg(node.args, lambda operand: (place[operand],))
        if node.target is composed:
            inner = cast("tuple[Step, ...]", node.args[1])
            place[node] = steps.join(place[cast(Node, node.args[0])], inner)
        elif node.target is aten._to_copy.default:
            truth = node.meta["val"].dtype is torch.bool
            step = (aten.ne.Scalar, (args[0], 0.0)) if truth else (aten.mul.Tensor, (args[0], 1.0))
            place[node] = steps.add(*step, {})
        else:
            place[node] = steps.add(node.target, args, dict(node.kwargs))
    return tuple(steps.made)


@dataclass(frozen=True, slots=True)
class _Steps:
    """The steps made so far; each gives the position of its value."""

    made: list[Step]

    def add(self, target: object, args: tuple[object, ...], options: Options) -> int:
        self.made.append((target, args, options))
        return len(self.made)

    def join(self, place: int, steps: tuple[Step, ...]) -> int:
        """The steps of a composed function of the value at `place`."""
        places = [place]
        for target, args, options in steps:
            moved = tuple((places[cast(int, a[0])],) if isinstance(a, tuple) else a for a in args)
            places.append(self.add(target, moved, options))
        return places[-1]


def _call(root: Node, leaf: Node, steps: tuple[Step, ...]) -> Node:
    """The known function that `steps` are, or a call that takes them."""
    with torch.device("cpu"):
        points = _points()
        wanted = composed(points, steps)
        for target, options in KNOWN:
            function = cast("Callable[..., Tensor]", target)
            if _same(function(points, **options), wanted):
                made = insert_call(root, function, (leaf,), root, shape(root))
                made.kwargs = cast("dict[str, Argument]", dict(options))
                return made
    return insert_call(root, composed, (leaf, cast(Argument, steps)), root, shape(root))


def _same(found: Tensor, wanted: Tensor) -> bool:
    """Whether two functions agree wherever they are compared."""
    return bool(((found - wanted).abs() <= CLOSE * found.abs().clamp(min=1)).all())


def _points() -> Tensor:
    """Where functions are compared: densely around 0, and far out on both sides."""
    near = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    far = torch.logspace(1, 2.5, 31, dtype=torch.float64)
    return torch.cat([-far.flip(0), near, far])
