"""Islands: what has no integer form is set apart, for the host to compute in float32.

An island is a connected group of such calls, as large as it can be without waiting for what waits
for it.  Behind the last layers of a network everything that is connected to one joins it, so that
scores and boxes are not rounded to integers on their way out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.calls import GETITEM, Call, Value
from intaglio.compiler.graph import module_path, origins, owner, parameter, shape, user_line
from intaglio.compiler.passes.fuse import Group, Kind, Plan
from intaglio.compiler.passes.hostable import Transcript, hostable, operator_name, type_name
from intaglio.compiler.passes.refusals import Refusal, refuse_unknown
from intaglio.compiler.workload import Source

aten = torch.ops.aten
CONVOLUTIONS = frozenset({aten.conv1d.default, aten.conv2d.default, aten.conv3d.default})
PRODUCTS = frozenset({aten.linear.default, aten.matmul.default, aten.bmm.default, aten.mm.default})
STAYS: frozenset[Kind] = frozenset({"conv", "linear", "matmul", "max_pool", "average_pool"})
"""Kinds of groups that never join an island."""
_FIRST, _HOST, _ACCELERATOR = -1, 0, 1
"""Levels: what is there from the start, the host's (even), the accelerator's (odd)."""


@dataclass(frozen=True, slots=True)
class Island:
    """Nodes that the host computes, as data, between nodes by name.

    `results` are the values of the calls that leave, as the nodes `outputs`; `types` those of the
    inputs, then of the constants; `macs` are the multiply-accumulates of all calls.  `refusals` say
    why its nodes have no integer form.
    """

    name: str
    nodes: tuple[str, ...]
    inputs: tuple[str, ...]
    constants: Mapping[str, Tensor]
    types: tuple[str, ...]
    calls: tuple[Call, ...]
    results: tuple[Value, ...]
    outputs: tuple[str, ...]
    macs: int
    refusals: tuple[Refusal, ...]
    source: Source

    @property
    def label(self) -> str:
        """How errors name the island: its first operator and the user's line."""
        return f"{self.name} ({self.source.line})" if self.source.line else self.name

    @property
    def reason(self) -> str:
        """Why it is on the host, and what to write instead."""
        first, calls = self.refusals[0], len(self.nodes)
        together = f" ({calls} calls together in float32)" if calls > 1 else ""
        return f"{first.reason}{together}; {first.way_out}"


def set_apart(module: GraphModule, plan: Plan) -> Plan:
    """`plan` with islands in place of what the host can compute and integers cannot.

    cumsum(conv(x)) -> conv   becomes conv, an island of cumsum, conv
    """
    search = _Search(module, plan)
    hosted = search.hosted()
    if not hosted:
        return plan
    parts = search.parts(hosted)
    groups = [group for group in plan.groups if search.nodes[group.output] not in hosted]
    read = {name for group in groups for name in (*group.inputs, group.residual)}
    groups = [group for group in groups if group.kind != "constant" or group.output in read]
    taken = {group.name for group in groups} | set(search.entries)
    islands = tuple(_island(part, plan.constants, search, taken) for part in parts)
    made = {*search.entries, *(group.output for group in groups)}
    cuts = tuple(name for name in search.nodes if name in read - made)
    order = search.order(groups, islands)
    return replace(
        plan,
        groups=tuple(sorted(groups, key=lambda group: order[group.output])),
        refusals=tuple(refusal for refusal in plan.refusals if not refusal.hostable),
        cuts=cuts,
        islands=islands,
    )


@dataclass
class _Search:
    """What is known of the nodes of a graph: their group, whether the host computes them."""

    module: GraphModule
    plan: Plan
    nodes: dict[str, Node] = field(init=False)
    group: dict[Node, Group] = field(init=False)
    levels: dict[Node, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.nodes = {node.name: node for node in self.module.graph.nodes}
        self.group = {
            node: group for group in self.plan.groups for node in _members(self.nodes, group)
        }

    @property
    def entries(self) -> list[str]:
        """The placeholders: inputs, and tensors of the model."""
        return [node.name for node in self.module.graph.find_nodes(op="placeholder")]

    def returned(self, node: Node) -> int:
        """The place of a node among what the graph returns; behind all of it for others."""
        results = self.module.graph.output_node().args[0]
        assert isinstance(results, tuple | list)
        return list(results).index(node) if node in results else len(results)

    def hosted(self) -> set[Node]:
        """The nodes of islands: those without integer form, and what joins them at the end."""
        found = {
            node
            for node in self.module.graph.nodes
            if node.op == "call_function" and node not in self.group and hostable(node)
        }
        last = self._last(found)
        open_ends = [node for node in found if node in last]
        while open_ends:
            node = open_ends.pop()
            for other in (*node.all_input_nodes, *node.users):
                joining = self._joining(other, last) if other not in found else ()
                found.update(joining)
                open_ends += joining
        return found

    def _joining(self, node: Node, last: set[Node]) -> list[Node]:
        """The members of the group of `node`, when all of them may join an island."""
        group = self.group.get(node)
        if group is None:
            return []
        members = [member for member, own in self.group.items() if own is group]
        return members if all(member in last for member in members) else []

    def _last(self, found: set[Node]) -> set[Node]:
        """The nodes that the host can compute, and after which no layer follows."""
        last: set[Node] = set()
        for node in reversed(self.module.graph.nodes):
            if node.op != "call_function":
                continue
            group = self.group.get(node)
            light = node in found or (group and group.kind not in STAYS and hostable(node))
            if light and all(user in last or user.op == "output" for user in node.users):
                last.add(node)
        return last

    def parts(self, hosted: set[Node]) -> list[list[Node]]:
        """The nodes of each island, in graph order.

        Nodes of one level are on the same side of every operator, so islands of them never wait
        for each other; a node moves to the level of its readers when the host alone reads it.
        """
        self._raise_levels(hosted)
        part: dict[Node, list[Node]] = {}
        for node in self.module.graph.nodes:
            if node not in hosted:
                continue
            part[node] = [node]
            for source in node.all_input_nodes:
                if source in hosted and self.levels[source] == self.levels[node]:
                    _join(part, source, node)
        distinct = {id(nodes): nodes for nodes in part.values()}
        position = {node: index for index, node in enumerate(self.module.graph.nodes)}
        return [sorted(nodes, key=position.__getitem__) for nodes in distinct.values()]

    def _raise_levels(self, hosted: set[Node]) -> None:
        for node in self.module.graph.nodes:
            before = [self.levels.get(source, _FIRST) for source in node.all_input_nodes]
            level = max(before, default=_FIRST)
            if node.op == "call_function":
                side = _HOST if node in hosted else _ACCELERATOR
                level = max(level, side)
                level += (level - side) % 2
            self.levels[node] = level
        for node in reversed(self.module.graph.nodes):
            alone = all(user in hosted for user in node.users)
            if node in hosted and node.users and alone and operator_name(node) != GETITEM:
                self.levels[node] = min(self.levels[user] for user in node.users)

    def order(
        self, groups: Iterable[Group], islands: Iterable[Island]
    ) -> dict[str, tuple[int, int]]:
        """A key for each output, by which operators follow what they read."""
        position = {name: index for index, name in enumerate(self.nodes)}
        names = [group.output for group in groups]
        names += [name for island in islands for name in island.outputs]
        return {name: (self.levels[self.nodes[name]], position[name]) for name in names}


def _join(part: dict[Node, list[Node]], first: Node, second: Node) -> None:
    """Make one part of those of two nodes."""
    kept, gone = part[first], part[second]
    if kept is gone:
        return
    kept += gone
    for node in gone:
        part[node] = kept


def _members(nodes: Mapping[str, Node], group: Group) -> list[Node]:
    """The nodes of a group: those between what it reads and what it makes."""
    ends = {*group.inputs, group.residual}
    found: list[Node] = []
    open_ends = [nodes[group.output]]
    while open_ends:
        node = open_ends.pop()
        if node.op == "call_function" and node.name not in ends and node not in found:
            found.append(node)
            open_ends += node.all_input_nodes
    return found


def _island(
    part: list[Node], lifted: Mapping[str, Tensor], search: _Search, taken: set[str]
) -> Island:
    """The island of the nodes `part`, under a name that is not `taken`."""
    sources = dict.fromkeys(
        source for node in part for source in node.all_input_nodes if source not in part
    )
    constants = [node for node in sources if node.op == "get_attr" or node.name in lifted]
    inputs = [node for node in sources if node not in constants]
    transcript = Transcript([*inputs, *constants])
    for node in part:
        transcript.add(node)
    outputs = [node for node in part if any(user not in part for user in node.users)]
    outputs.sort(key=search.returned)
    alone = [n for n in part if n not in search.group and operator_name(n) != GETITEM]
    refusals = tuple(refusal for refusal in map(refuse_unknown, alone) if refusal is not None)
    return Island(
        _name(module_path(alone[0]), taken),
        tuple(node.name for node in part),
        tuple(node.name for node in inputs),
        {node.name: _constant(node, lifted) for node in constants},
        tuple(type_name(node.meta["val"]) for node in (*inputs, *constants)),
        tuple(transcript.calls),
        tuple(transcript.values[node] for node in outputs),
        tuple(node.name for node in outputs),
        sum(map(_macs, part)),
        refusals,
        Source(
            tuple(dict.fromkeys(name for node in part for name in origins(node))),
            user_line(alone[0]),
        ),
    )


def _constant(node: Node, lifted: Mapping[str, Tensor]) -> Tensor:
    known = lifted.get(node.name)
    return parameter(owner(node), node) if known is None else known


def _macs(node: Node) -> int:
    """Multiply-accumulates of a convolution or product; 0 for other calls."""
    if node.target in CONVOLUTIONS:
        return math.prod(shape(node)) * math.prod(shape(cast(Node, node.args[1]))[1:])
    if node.target in PRODUCTS:
        return math.prod(shape(node)) * shape(cast(Node, node.args[0]))[-1]
    return 0


def _name(wanted: str, taken: set[str]) -> str:
    name, count = wanted, 1
    while name in taken:
        count += 1
        name = f"{wanted}_{count}"
    taken.add(name)
    return name
