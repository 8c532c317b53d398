"""Which values have more than 8 bits, and how many their readers can take.

Eight-bit scores lose too much ahead of an exponential.  A residual stream adds up the outputs of
every block and holds few channels far larger than the rest; so do linear bottlenecks, which no
activation bounds.  A depthwise convolution sums few products, so the rounding of what it reads does
not average out.  And the outputs of a network are compared with each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch.fx import Node

from intaglio.compiler.graph import argument, shape
from intaglio.compiler.numerics import ACCUMULATOR
from intaglio.compiler.passes.fuse import MOVES, Group, Kind, Plan
from intaglio.compiler.passes.given import GRID, Grid
from intaglio.compiler.passes.norms import NORMS
from intaglio.compiler.precision import WIDEST, Precision, Wide

aten = torch.ops.aten
MULTIPLIES: frozenset[Kind] = frozenset({"conv", "linear", "matmul"})
"""Kinds of groups that make sums of products."""
SUMS: frozenset[Kind] = frozenset({"add", "sub"})
LAYERS: frozenset[Kind] = frozenset({"conv", "linear"})
"""Kinds of groups that multiply by weights."""
ADDS_UP = LAYERS | SUMS | {"matmul", "mul", "reduce", "norm"}
"""Kinds of groups that compute more bits than they read."""
KEEPS_SCALE = MOVES | {"max_pool", "average_pool", "resize"}
"""Kinds of groups whose output has the scale and the type of their input."""


def keeps_scale(group: Group, nodes: Mapping[str, Node]) -> bool:
    """Whether the output of a group has the scale and the type of its input."""
    return group.kind in KEEPS_SCALE or nodes[group.anchor].target is aten.amax.default


def wide_values(plan: Plan, nodes: Mapping[str, Node], precision: Precision) -> dict[str, int]:
    """The groups' outputs that are wide, and the n for which all readers take values below 2^n.

    `precision` says which values are meant to be wide, and how many bits the weights have that they
    meet.  Values that their readers take in no more bits than other activations are left out.
    """
    search = _Search(plan, nodes, precision)
    found = {}
    # Values made later are found first.
    for group in reversed(plan.groups):
        if not keeps_scale(group, nodes):
            magnitude = search.magnitude_of(group)
            if magnitude is not None:
                found[group.output] = magnitude
    return found


def between_layers(plan: Plan, nodes: Mapping[str, Node]) -> set[str]:
    """The outputs of groups on the way from a layer, or a product, to another.

    What lies between an input and the first of them, or the last and an output, does not.
    """
    made, read = set[str](), set[str]()
    position = {name: index for index, name in enumerate(nodes)}
    ordered = sorted(plan.groups, key=lambda group: position[group.output])
    for group in ordered:
        if group.kind in MULTIPLIES or made.intersection(_operands(group)):
            made.add(group.output)
    for group in reversed(ordered):
        if group.kind in MULTIPLIES or group.output in read:
            read.update(_operands(group))
    return made & read


def _operands(group: Group) -> tuple[str, ...]:
    return (*group.inputs, *filter(None, [group.residual]))


@dataclass
class _Search:
    """Who makes and reads each value, and what was found so far."""

    plan: Plan
    nodes: Mapping[str, Node]
    precision: Precision

    def __post_init__(self) -> None:
        self.maker = {group.output: group for group in self.plan.groups}
        self.readers: dict[str, list[Group]] = {name: [] for name in self.maker}
        for group in self.plan.groups:
            for name in {*group.inputs, group.residual}:
                if name in self.readers:
                    self.readers[str(name)].append(group)
        self.found: dict[str, bool] = {}

    def magnitude_of(self, group: Group) -> int | None:
        """The n for which values of a group may reach 2^n; None when they are not wide."""
        wide = self.precision.wide_values
        if "sums" in wide and self.is_sum(group.output):
            return WIDEST - 1
        if not any(rule(self, group) for kind, rule in RULES.items() if kind in wide):
            return None
        taken = [self._taken(reader, name) for reader, name in self.reads(group.output)]
        magnitude = min(taken, default=WIDEST - 1)
        used = min(magnitude, self.precision.wide_bits)
        return magnitude if used > self.precision.activations_of(group.name) else None

    def copies(self, name: str) -> Iterator[str]:
        """A value, and all that moves and pools make of it, which share its scale."""
        yield name
        for reader in self.readers[name]:
            if reader.inputs[0] == name and keeps_scale(reader, self.nodes):
                yield from self.copies(reader.output)

    def reads(self, name: str) -> Iterator[tuple[Group, str]]:
        """Every group that reads a value or a copy of it, and which of them."""
        for copy in self.copies(name):
            for reader in self.readers[copy]:
                yield reader, copy

    def _taken(self, reader: Group, name: str) -> int:
        """The largest n for which a reader takes values of up to 2^n."""
        if name not in reader.inputs:
            return WIDEST - 1
        match reader.kind:
            case "conv" | "linear":
                limit = ACCUMULATOR.hi // self._weights(reader)
            case "matmul":
                limit = math.isqrt(ACCUMULATOR.hi // shape(self.nodes[reader.inputs[0]])[-1])
            case "reduce" | "norm":
                limit = ACCUMULATOR.hi // (2 * self._summed(reader))
            case "unary":
                return 0
            case _:
                return WIDEST - 1
        return min(WIDEST - 1, limit.bit_length() - 1)

    def _weights(self, reader: Group) -> int:
        """The largest sum of magnitudes of weights that one output of a layer can have."""
        weight = cast(Node, self.nodes[reader.anchor].args[1])
        grid: Grid | None = weight.meta.get(GRID)
        owners = (g.name for g in self.plan.groups if self.nodes[g.anchor] in weight.users)
        bits = max(map(self.precision.weights_of, owners))
        largest = max(-grid.lo, grid.hi) if grid is not None else max((1 << (bits - 1)) - 1, 1)
        return math.prod(shape(weight)[1:]) * largest

    def _summed(self, reader: Group) -> int:
        """How many values a reduction or a norm adds up."""
        size = shape(self.nodes[reader.inputs[0]])
        if reader.kind == "reduce":
            return math.prod(size) // math.prod(shape(self.nodes[reader.output]))
        return math.prod(size) if self.nodes[reader.anchor].target not in NORMS else size[-1]

    def is_sum(self, name: str) -> bool:
        """Whether no multiplier reads a value on its way to a softmax or a norm."""
        if name not in self.found:
            readers = self.readers[name]
            self.found[name] = (
                bool(readers)
                and not self.is_returned(name)
                and all(self._adds(reader, name) for reader in readers)
            )
        return self.found[name]

    def is_returned(self, name: str) -> bool:
        """Whether the graph returns a value."""
        return any(user.op == "output" for user in self.nodes[name].users)

    def _adds(self, reader: Group, name: str) -> bool:
        """Whether a group reads a value at full width, as a sum or as scores."""
        if reader.kind == "softmax":
            return reader.inputs[0] == name
        if reader.kind == "norm":
            return self._was_added(name) and self.nodes[reader.anchor].target in NORMS
        if reader.kind in MOVES:
            return reader.inputs[0] == name and self.is_sum(reader.output)
        added = reader.kind in SUMS or (reader.residual == name and name not in reader.inputs)
        return added and self.is_sum(reader.output)

    def _was_added(self, name: str) -> bool:
        """Whether additions made a value, ahead of moves of its elements."""
        group = self.maker[name]
        while group.kind in MOVES and group.inputs[0] in self.maker:
            group = self.maker[group.inputs[0]]
        return group.kind in SUMS or group.residual is not None

    def is_output(self, group: Group) -> bool:
        """Whether sums of products or of other values make what the graph returns."""
        return group.kind in ADDS_UP and any(map(self.is_returned, self.copies(group.output)))

    def is_bottleneck(self, group: Group) -> bool:
        """Whether layers read what a layer makes without an activation."""
        return group.kind in LAYERS and group.clamp is None and self._meets_layers(group)

    def is_norm(self, group: Group) -> bool:
        """Whether layers read what a norm makes."""
        return group.kind == "norm" and self._meets_layers(group)

    def is_stem(self, group: Group) -> bool:
        """Whether depthwise convolutions read what a layer makes of an input of the network."""
        return (
            group.kind in LAYERS
            and self._is_input(group.inputs[0])
            and any(self._is_depthwise(reader) for reader, name in self.reads(group.output))
        )

    def _meets_layers(self, group: Group) -> bool:
        return any(
            reader.kind in LAYERS and name in reader.inputs
            for reader, name in self.reads(group.output)
        )

    def _is_input(self, name: str) -> bool:
        while name in self.maker and self.maker[name].kind in MOVES:
            name = self.maker[name].inputs[0]
        return self.nodes[name].op == "placeholder" and name not in self.plan.constants

    def _is_depthwise(self, reader: Group) -> bool:
        groups = argument(self.nodes[reader.anchor], 6, "groups", 1)
        channels = shape(self.nodes[reader.inputs[0]])[1]
        return reader.kind == "conv" and bool(groups == channels)


RULES: Mapping[Wide, Callable[[_Search, Group], bool]] = {
    "outputs": _Search.is_output,
    "bottlenecks": _Search.is_bottleneck,
    "norms": _Search.is_norm,
    "stem": _Search.is_stem,
}
"""Which groups make the values of a name; sums are found apart, from their readers alone."""
