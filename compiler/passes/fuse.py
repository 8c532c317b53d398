"""Which nodes become one operator: a layer with the addition and the clamp that follow it.

`Fuse` reads a canonical graph and changes nothing.  Its `Plan` is what the quantizer annotates,
what `lower` emits and what `check` reports, so the three cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import argument, module_path, origins, shape, single_user, user_line
from intaglio.compiler.passes.attention import masked_softmax
from intaglio.compiler.passes.given import GIVEN, Given, follower
from intaglio.compiler.passes.lift_constants import lifted
from intaglio.compiler.passes.refusals import Refusal, refuse_results, refuse_unknown
from intaglio.compiler.passes.resampling import LINEAR_RESIZES
from intaglio.compiler.tables import UNARY, composed, raised
from intaglio.compiler.workload import Padding, Source

if TYPE_CHECKING:
    from intaglio.compiler.passes.islands import Island

aten = torch.ops.aten

Kind = Literal[
    "conv",
    "linear",
    "max_pool",
    "average_pool",
    "add",
    "sub",
    "clamp",
    "unary",
    "concat",
    "reshape",
    "matmul",
    "mul",
    "scale",
    "reduce",
    "constant",
    "transpose",
    "slice",
    "pad",
    "expand",
    "gather",
    "resize",
    "softmax",
    "norm",
]
MOVES: frozenset[Kind] = frozenset({"reshape", "transpose", "slice", "pad", "expand", "gather"})
"""Kinds that only move elements: their output has the scale and the type of their input."""
CLAMPS = frozenset(
    {aten.relu.default, aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default}
)
ADDITIONS: dict[object, Literal["add", "sub"]] = {aten.add.Tensor: "add", aten.sub.Tensor: "sub"}


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes that one operator computes; only the value of `output` is quantised.

    `anchor` is the node that names the operation, `inputs` and `residual` are the nodes whose
    values it reads.  `padding` stands ahead of the anchor's own; `factor` scales the real result
    and `clamp` bounds it.  `transposed` says that a product reads its second operand transposed.
    """

    kind: Kind
    name: str
    anchor: str
    output: str
    inputs: tuple[str, ...]
    source: Source
    residual: str | None = None
    padding: Padding = (0, 0, 0, 0)
    clamp: tuple[float, float] | None = None
    factor: float = 1.0
    transposed: bool = False

    @property
    def label(self) -> str:
        """How errors name the group: its operator and the user's line."""
        return f"{self.name} ({self.source.line})" if self.source.line else self.name


@dataclass(frozen=True, slots=True)
class Plan:
    """Every operator of a graph in execution order, and every node that has no integer form.

    `cuts` are nodes without integer form whose values operators read.  `constants` are the values
    of placeholders that stand for tensors of the model.  `islands` are for the host.
    """

    groups: tuple[Group, ...]
    refusals: tuple[Refusal, ...]
    cuts: tuple[str, ...] = ()
    constants: Mapping[str, Tensor] = field(default_factory=dict)
    islands: tuple[Island, ...] = ()

    def without(self, groups: Collection[Group]) -> Plan:
        """The plan with `groups` left out; what they would have made becomes cuts."""
        kept = [group for group in self.groups if group not in groups]
        cuts = (*self.cuts, *(group.output for group in groups))
        return replace(self, groups=tuple(_with_unique_names(kept, set(cuts))), cuts=cuts)


@dataclass(frozen=True, slots=True)
class Fuse:
    """Group the calls of a canonical graph.

    conv -> add(., r) -> relu   becomes one convolution with a residual and a clamp
    constant_pad_nd -> conv     becomes one convolution with that padding
    add(a, b) -> relu           becomes one addition with a clamp
    """

    def __call__(self, module: GraphModule) -> Plan:
        """The plan of `module`, which is left as it is."""
        grouping = _Grouping()
        constants = lifted(module)
        for node in module.graph.nodes:
            if node.name in constants:
                grouping.constant(node)
            elif node.op == "call_function" and node.name not in grouping.claimed:
                grouping.visit(node)
        position = {node.name: index for index, node in enumerate(module.graph.nodes)}
        groups = sorted(grouping.groups, key=lambda group: position[group.output])
        refusals = (*grouping.refusals, *refuse_results(module))
        inputs = {node.name for node in module.graph.find_nodes(op="placeholder")}
        made = inputs | {group.output for group in groups}
        read = [name for group in groups for name in (*group.inputs, group.residual or "")]
        cuts = tuple(dict.fromkeys(name for name in read if name and name not in made))
        inputs = {str(node.target) for node in module.graph.find_nodes(op="placeholder")}
        taken = (inputs | set(cuts)) - set(constants)
        return Plan(tuple(_with_unique_names(groups, taken)), refusals, cuts, constants)


def _with_unique_names(groups: list[Group], taken: set[str]) -> list[Group]:
    """Number the groups that would share a name: pool, pool_2, pool_3."""
    named = []
    for group in groups:
        name, count = group.name, 1
        while name in taken:
            count += 1
            name = f"{group.name}_{count}"
        taken.add(name)
        named.append(replace(group, name=name))
    return named


class _Grouping:
    """The groups made so far, and the nodes they took."""

    def __init__(self) -> None:
        self.groups: list[Group] = []
        self.refusals: list[Refusal] = []
        self.claimed: set[str] = set()

    def visit(self, node: Node) -> None:
        """Make the group that starts at `node`, or refuse the node."""
        refusal = refuse_unknown(node)
        if refusal is not None:
            self.refusals.append(refusal)
        elif not _joins_readers(node):
            kind = KINDS[node.target]
            FOLLOWERS[kind](self, node, kind)

    def layer(self, node: Node, kind: Kind) -> None:
        """A convolution or product, its padding, one addition and one clamp."""
        members = [node]
        source, padding = cast(Node, node.args[0]), (0, 0, 0, 0)
        if kind == "conv" and _pads_pixels(source):
            left, right, top, bottom = (*cast("list[int]", source.args[1]), 0, 0)[:4]
            padding = (top, bottom, left, right)
            members.insert(0, source)
            source = cast(Node, source.args[0])
        residual = self._residual(node)
        addition = follower(node)
        if residual is not None and addition is not None:
            members.append(addition)
        clamp = self._clamp(members)
        self._add(kind, node, members, (source,), residual, padding, clamp)

    def addition(self, node: Node, kind: Kind) -> None:
        """An addition or subtraction of two activations, and one clamp."""
        members = [node]
        clamp = self._clamp(members)
        first, second = (cast(Node, arg) for arg in node.args[:2])
        self._add(kind, node, members, (first,), second, clamp=clamp)

    def clamp(self, node: Node, kind: Kind) -> None:
        """A clamp that follows no layer."""
        self._add(kind, node, [node], (cast(Node, node.args[0]),), clamp=clamp_bounds(node))

    def product(self, node: Node, kind: Kind) -> None:
        """A product of two activations, a transposition ahead of it and a factor after it."""
        members = [node]
        first, second = (cast(Node, arg) for arg in node.args[:2])
        before = _swapped(second) if kind == "matmul" else None
        if before is not None:
            members.insert(0, second)
        factor = 1.0
        scaling = follower(node)
        scales = scaling is not None and scaling.target is aten.mul.Scalar
        if scaling is not None and scales and refuse_unknown(scaling) is None:
            members.append(scaling)
            factor = cast(float, scaling.args[1])
        self._add(
            kind,
            node,
            members,
            (first, before or second),
            factor=factor,
            transposed=before is not None,
        )

    def scale(self, node: Node, kind: Kind) -> None:
        """A positive factor that follows no product."""
        self._add(kind, node, [node], (cast(Node, node.args[0]),), factor=cast(float, node.args[1]))

    def gather(self, node: Node, kind: Kind) -> None:
        """Rows at computed or constant indices."""
        table, *_, index = (arg for arg in node.args[:3] if isinstance(arg, Node))
        self._add(kind, node, [node], (table, index))

    def softmax(self, node: Node, kind: Kind) -> None:
        """Scores, and their mask when there is one."""
        self._add(kind, node, [node], tuple(arg for arg in node.args[:2] if isinstance(arg, Node)))

    def constant(self, node: Node) -> None:
        """A placeholder that stands for a tensor of the model."""
        self._add("constant", node, [node], ())

    def concat(self, node: Node, kind: Kind) -> None:
        """A concatenation of channels."""
        self._add(kind, node, [node], tuple(cast("list[Node]", node.args[0])))

    def alone(self, node: Node, kind: Kind) -> None:
        """A node that is an operator by itself."""
        self._add(kind, node, [node], (cast(Node, node.args[0]),))

    def _residual(self, node: Node) -> Node | None:
        """The other operand of the addition that follows `node`, when it can be fused."""
        addition = follower(node)
        if addition is None or addition.target not in ADDITIONS or refuse_unknown(addition):
            return None
        if addition.name in self.claimed:
            return None
        first, second = (cast(Node, arg) for arg in addition.args[:2])
        if first is second:
            return None
        if ADDITIONS[addition.target] == "sub":
            return second if first is node else None
        return second if first is node else first

    def _clamp(self, members: list[Node]) -> tuple[float, float] | None:
        """The bounds of the clamp after the last member, which joins them."""
        clamp = follower(members[-1])
        if clamp is None or clamp.target not in CLAMPS or refuse_unknown(clamp):
            return None
        members.append(clamp)
        return clamp_bounds(clamp)

    def _add(
        self,
        kind: Kind,
        anchor: Node,
        members: list[Node],
        inputs: tuple[Node, ...],
        residual: Node | None = None,
        padding: Padding = (0, 0, 0, 0),
        clamp: tuple[float, float] | None = None,
        factor: float = 1.0,
        transposed: bool = False,
    ) -> None:
        self.claimed.update(member.name for member in members)
        ordered = (anchor, *members)
        given: Given | None = members[-1].meta.get(GIVEN)
        names = tuple(dict.fromkeys(name for member in ordered for name in origins(member)))
        self.groups.append(
            Group(
                kind,
                anchor.name if kind == "constant" else module_path(anchor),
                anchor.name,
                members[-1].name,
                tuple(node.name for node in inputs),
                Source(names, user_line(anchor)),
                residual.name if residual is not None else None,
                padding,
                clamp if given is None else given.within(clamp),
                factor,
                transposed,
            )
        )


def _joins_readers(node: Node) -> bool:
    """Whether `node` is padding or a transposition that every operator reading it takes along."""
    if _pads_pixels(node):
        return all(u.target is aten.conv2d.default and u.args[0] is node for u in node.users)
    user = single_user(node)
    return (
        user is not None
        and user.target is aten.matmul.default
        and user.args[1] is node
        and _swapped(node) is not None
        and refuse_unknown(user) is None
    )


def _pads_pixels(node: Node) -> bool:
    """Whether `node` pads height and width alone, as a convolution can by itself."""
    if node.target is not aten.constant_pad_nd.default or len(shape(node)) != 4:
        return False
    return not any(cast("list[int]", node.args[1])[4:]) and refuse_unknown(node) is None


def _swapped(node: Node) -> Node | None:
    """The tensor behind a transposition of the last two axes that nothing else reads."""
    if node.target is not aten.permute.default or single_user(node) is None:
        return None
    axes = cast("list[int]", node.args[1])
    rank = len(axes)
    if axes != [*range(rank - 2), rank - 1, rank - 2]:
        return None
    return cast(Node, node.args[0])


def clamp_bounds(node: Node) -> tuple[float, float]:
    """The bounds (lo, hi) of a ReLU, hardtanh or clamp; infinite where it has none.

    The upper one wins where they are the wrong way round.
    """
    if node.target is aten.relu.default:
        return 0.0, float("inf")
    hardtanh = node.target is aten.hardtanh.default
    lo = argument(node, 1, "min_val" if hardtanh else "min", -1.0 if hardtanh else None)
    hi = argument(node, 2, "max_val" if hardtanh else "max", 1.0 if hardtanh else None)
    upper = float("inf") if hi is None else float(cast(float, hi))
    return (float("-inf") if lo is None else min(float(cast(float, lo)), upper), upper)


KINDS: dict[object, Kind] = {
    aten.conv2d.default: "conv",
    aten.linear.default: "linear",
    aten.max_pool2d.default: "max_pool",
    aten.avg_pool2d.default: "average_pool",
    aten.cat.default: "concat",
    aten.reshape.default: "reshape",
    aten.matmul.default: "matmul",
    aten.mul.Tensor: "mul",
    aten.mul.Scalar: "scale",
    aten.mean.dim: "reduce",
    aten.sum.dim_IntList: "reduce",
    aten.amax.default: "reduce",
    aten.permute.default: "transpose",
    aten.slice.Tensor: "slice",
    aten.constant_pad_nd.default: "pad",
    aten.expand.default: "expand",
    aten.embedding.default: "gather",
    aten.index_select.default: "gather",
    aten.softmax.int: "softmax",
    masked_softmax: "softmax",
    aten.layer_norm.default: "norm",
    aten.rms_norm.default: "norm",
    aten.group_norm.default: "norm",
    **dict.fromkeys(LINEAR_RESIZES, "resize"),
    **ADDITIONS,
    **dict.fromkeys(CLAMPS, "clamp"),
    composed: "unary",
    raised: "unary",
    **dict.fromkeys(UNARY, "unary"),
}
FOLLOWERS: dict[Kind, Callable[[_Grouping, Node, Kind], None]] = {
    "conv": _Grouping.layer,
    "linear": _Grouping.layer,
    "add": _Grouping.addition,
    "sub": _Grouping.addition,
    "clamp": _Grouping.clamp,
    "concat": _Grouping.concat,
    "max_pool": _Grouping.alone,
    "average_pool": _Grouping.alone,
    "unary": _Grouping.alone,
    "reduce": _Grouping.alone,
    "norm": _Grouping.alone,
    "resize": _Grouping.alone,
    "softmax": _Grouping.softmax,
    "matmul": _Grouping.product,
    "mul": _Grouping.product,
    "scale": _Grouping.scale,
    "gather": _Grouping.gather,
    **dict.fromkeys(MOVES - {"gather"}, _Grouping.alone),
}
