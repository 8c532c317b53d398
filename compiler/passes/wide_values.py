"""Which values need 16 bits: the scores of a softmax, and sums on their way to a norm.

Eight-bit scores lose too much ahead of the exponential.  A residual stream adds up the outputs of
every block and holds few channels far larger than the rest; nothing but additions and norms reads
it at full width, so its bits cost memory and no multiplier.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch.fx import Node

from intaglio.compiler.passes.fuse import MOVES, Group, Plan
from intaglio.compiler.passes.norms import NORMS

WIDE_BITS = 16
SUMS = frozenset({"add", "sub"})


def wide_values(plan: Plan, nodes: Mapping[str, Node]) -> frozenset[str]:
    """The nodes whose values are wide.

    A value is wide when the graph does not return it and every group that reads it is a softmax
    of it as scores, a layer or RMS norm of it as a sum, an addition whose result is wide, or moves
    elements of it to where they are wide.
    """
    names = [group.output for group in plan.groups]
    search = _Search(plan, nodes)
    return frozenset(name for name in reversed(names) if search.is_wide(name))


@dataclass
class _Search:
    """Who makes and reads each value, and what was found so far."""

    plan: Plan
    nodes: Mapping[str, Node]

    def __post_init__(self) -> None:
        self.maker = {group.output: group for group in self.plan.groups}
        self.readers: dict[str, list[Group]] = {name: [] for name in self.maker}
        for group in self.plan.groups:
            for name in {*group.inputs, group.residual}:
                if name in self.readers:
                    self.readers[str(name)].append(group)
        self.found: dict[str, bool] = {}

    def is_wide(self, name: str) -> bool:
        """Whether the value of a node is wide; values made later are found first."""
        if name not in self.found:
            readers = self.readers[name]
            returned = any(user.op == "output" for user in self.nodes[name].users)
            self.found[name] = (
                bool(readers)
                and not returned
                and all(self._takes(reader, name) for reader in readers)
            )
        return self.found[name]

    def _takes(self, reader: Group, name: str) -> bool:
        """Whether a group reads a value at full width."""
        if reader.kind == "softmax":
            return reader.inputs[0] == name
        if reader.kind == "norm":
            return self._is_sum(name) and self.nodes[reader.anchor].target in NORMS
        if reader.kind in MOVES:
            return reader.inputs[0] == name and self.is_wide(reader.output)
        added = reader.kind in SUMS or (reader.residual == name and name not in reader.inputs)
        return added and self.is_wide(reader.output)

    def _is_sum(self, name: str) -> bool:
        """Whether additions made a value, ahead of moves of its elements."""
        group = self.maker[name]
        while group.kind in MOVES and group.inputs[0] in self.maker:
            group = self.maker[group.inputs[0]]
        return group.kind in SUMS or group.residual is not None
