"""What the layers of a graph read on calibration data: moments of their input patches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.nn import functional

from intaglio.compiler.graph import argument

aten = torch.ops.aten

POSITIONS = 256
"""How many patches of one image enter the second moment, at most."""


@dataclass
class Moments:
    """Moments of the D inputs that one output of a layer sums, by group of channels (G of them).

    `total` (G, D) sums `count` patches.  With `second`, a seeded sample of `sampled` patches has
    the sum `centre` (G, D) and the outer products `squares` (G, D, D).  Memory does not grow with
    the data.
    """

    second: bool
    count: int = 0
    sampled: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    centre: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))
    random: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def add(self, patches: Tensor) -> None:
        """Count `patches`, (G, D, P)."""
        self.total = self.total + patches.sum(2, dtype=torch.float64)
        self.count += patches.shape[2]
        if self.second:
            positions = torch.randperm(patches.shape[2], generator=self.random)[:POSITIONS]
            chosen = patches[:, :, positions]
            self.centre = self.centre + chosen.sum(2, dtype=torch.float64)
            self.squares = self.squares + (chosen @ chosen.transpose(1, 2)).double()
            self.sampled += len(positions)

    @property
    def mean(self) -> Tensor:
        """Mean patch, (G, D)."""
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        """Covariance of the inputs within a patch of the sample, (G, D, D)."""
        centre = self.centre / self.sampled
        return self.squares / self.sampled - centre[:, :, None] * centre[:, None, :]


class Watch(Interpreter):
    """Runs a graph, and counts the input patches of the layers in `moments`, by node."""

    def __init__(self, module: GraphModule, moments: Mapping[str, Moments]) -> None:
        super().__init__(module)
        self.moments = moments

    def run_node(self, n: Node) -> object:
        """The value of one node."""
        if n.name in self.moments:
            values, weight = (self.env[cast(Node, source)] for source in n.args[:2])
            self.moments[n.name].add(patches(n, values, weight.shape))
        return super().run_node(n)


def patches(layer: Node, values: Tensor, weight: tuple[int, ...]) -> Tensor:
    """The inputs behind every output of a convolution or product, as (groups, inputs, outputs).

    `weight` is the shape of its weight.
    """
    if layer.target is aten.linear.default:
        return values.reshape(-1, values.shape[-1]).T[None]
    unfolded = functional.unfold(
        values,
        tuple(weight[2:]),
        dilation=_geometry(layer, 5, "dilation", 1),
        padding=_geometry(layer, 4, "padding", 0),
        stride=_geometry(layer, 3, "stride", 1),
    )
    groups = cast(int, argument(layer, 6, "groups", 1))
    images, inputs, positions = unfolded.shape
    return unfolded.transpose(0, 1).reshape(groups, inputs // groups, images * positions)


def _geometry(layer: Node, index: int, name: str, default: int) -> tuple[int, ...]:
    """A geometry argument of one or two numbers."""
    value = argument(layer, index, name, default)
    return (value,) * 2 if isinstance(value, int) else tuple(cast("list[int]", value))
