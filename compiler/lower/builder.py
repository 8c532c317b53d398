"""What lowering has made so far: tensors, constants, operators; and how a group reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch.fx import GraphModule, Node

from intaglio.compiler import numerics
from intaglio.compiler.graph import shape
from intaglio.compiler.numerics import Requantiser
from intaglio.compiler.passes.attention import feeds_masks
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.passes.given import type_of
from intaglio.compiler.passes.quantize import DEQUANTISE, quantise_half_up, quantise_sign
from intaglio.compiler.workload import (
    BIPOLAR,
    ElementType,
    Op,
    Requantise,
    Tensor,
    Workload,
    inputs,
    outputs,
)

aten = torch.ops.aten
SIGN_TABLE = np.where(np.arange(numerics.TABLE_ENTRIES) == 1, 1, -1)
"""The table that makes signs of 0 and 1."""


@dataclass
class Builder:
    """The tensors, constants and operators of a workload in the making.

    `lifted` holds the model's tensors that placeholders stand for, `nodes` those of the quantised
    `module` by name, `values` the tensor of each node's value.  `unknown` names the constants of
    which shapes are all that is known; with any, the workload holds no constants.
    """

    module: GraphModule
    lifted: Mapping[str, torch.Tensor]
    nodes: dict[str, Node] = field(init=False)
    values: dict[str, str] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    constants: dict[str, NDArray[np.integer]] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.nodes = {node.name: node for node in self.module.graph.nodes}

    def declare(self, node: Node, name: str) -> Tensor:
        """The activation tensor of a node's value, under `name`."""
        scale, element = 1.0, _integer_type(node)
        if element is None:
            _, real, _, lo, hi, _ = cast(
                "tuple[object, float, int, int, int, object]", (quantisation(node).args)
            )
            is_sign = quantisation(node).target is quantise_sign
            scale, element = float(real), BIPOLAR if is_sign else type_of(lo, hi)
        self.tensors[name] = Tensor(name, shape(node), element, scale)
        self.values[node.name] = name
        return self.tensors[name]

    def finish(self, name: str) -> Workload:
        """The workload; what no operator makes is its input, what the graph returns its output."""
        made = {name for op in self.ops for name in outputs(op)}
        read = [tensor for op in self.ops for tensor in inputs(op)]
        placeholders = self.module.graph.find_nodes(op="placeholder")
        entries = [self.values[node.name] for node in placeholders if node.name not in self.lifted]
        entries += [tensor for tensor in read if tensor not in made]
        known = made | set(entries) | set(self.constants) | self.unknown
        returned = cast("tuple[Node, ...]", self.module.graph.output_node().args[0])
        results = [self._returned(value) for value in returned if isinstance(value, Node)]
        return Workload(
            name,
            tuple(dict.fromkeys(entries)),
            tuple(result for result in results if result in made),
            tuple(self.ops),
            {key: tensor for key, tensor in self.tensors.items() if key in known},
            {} if self.unknown else self.constants,
        )

    def _returned(self, value: Node) -> str | None:
        """The tensor behind a value that the graph returns: its source, ahead of quantisation."""
        if value.target is DEQUANTISE:
            quantised = cast(Node, value.args[0])
            return self.values[cast(Node, quantised.args[0]).name]
        return self.values.get(value.name)

    def input(self, group: Group, index: int = 0) -> Tensor:
        """The tensor of one of the group's operands."""
        return self.tensors[self.values[group.inputs[index]]]

    def constant(self, name: str, array: NDArray[np.integer], element: ElementType) -> str:
        """Declare a constant, and return its name."""
        self.constants[name] = array
        self.tensors[name] = Tensor(name, array.shape, element)
        return name

    def unknown_constant(self, name: str, shape: tuple[int, ...], element: ElementType) -> str:
        """Declare a constant of unknown values, and return its name."""
        self.unknown.add(name)
        self.tensors[name] = Tensor(name, shape, element)
        return name

    def epilogue(
        self, name: str, made: Requantiser, codes: Codes, residual: str | None = None
    ) -> Requantise:
        """Declare the constants of one requantisation to `codes` under the operator's name."""
        factor = made.residual_multiplier
        return Requantise(
            self.constant(f"{name}.multiplier", made.multiplier, numerics.MULTIPLIER),
            self.constant(f"{name}.shift", made.shift, numerics.SHIFT),
            self.constant(f"{name}.bias", made.bias, numerics.BIAS),
            codes.lo,
            codes.hi,
            residual,
            None
            if factor is None
            else self.constant(f"{name}.residual_multiplier", factor, numerics.RESIDUAL_MULTIPLIER),
            self.constant(f"{name}.signs", SIGN_TABLE, BIPOLAR) if codes.are_signs else None,
        )


def _integer_type(node: Node) -> ElementType | None:
    """The type of an integer tensor, wide enough for the indices it holds; None for floats."""
    dtype = node.meta["val"].dtype
    if dtype.is_floating_point:
        return None
    if dtype is torch.bool or feeds_masks(node):
        return ElementType(1, "unsigned")
    extent = index_extent(node)
    return (
        ElementType(32)
        if extent is None
        else ElementType(max(1, (extent - 1).bit_length()), "unsigned")
    )


def index_extent(node: Node) -> int | None:
    """The smallest extent that the indices of an integer node select from; None without any."""
    extents = []
    for user in node.users:
        if user.target is aten.embedding.default and user.args[1] is node:
            extents.append(_extent(user, 0))
        elif user.target is aten.index_select.default and user.args[2] is node:
            extents.append(_extent(user, cast(int, user.args[1])))
    return min(extents, default=None)


def _extent(gather: Node, axis: int) -> int:
    """How many slices a gather's table has; the table is read through its quantisation."""
    table = cast(Node, gather.args[0])
    if table.target is DEQUANTISE:
        table = cast(Node, cast(Node, table.args[0]).args[0])
    return shape(table)[axis]


def quantisation(node: Node) -> Node:
    """The call that quantises a node's value."""
    quantisers = (quantise_half_up, quantise_sign)
    return next(user for user in node.users if user.target in quantisers)


def largest(element: ElementType) -> int:
    """The largest magnitude that `element` holds."""
    return max(-element.lo, element.hi)


@dataclass(frozen=True, slots=True)
class Codes:
    """What an epilogue rounds to: integers `lo` to `hi`, of real value `scale` * (code - `offset`).

    They are the values of the output themselves, but of a bipolar one 0 and 1 `are_signs`: a table
    makes -1 and +1 of them.  Half up, what is 0 or more becomes 1.
    """

    lo: int
    hi: int
    scale: float
    offset: float = 0.0
    are_signs: bool = False

    @classmethod
    def of(cls, output: Tensor, group: Group | None = None) -> Codes:
        """Those of an output, within the real clamp of the `group` that makes it."""
        element, clamp = output.element, None if group is None else group.clamp
        if element == BIPOLAR:
            lo, hi = (0, 1) if clamp is None else (int(bound >= 0) for bound in clamp)
            return cls(lo, hi, 2 * output.scale, 0.5, are_signs=True)
        lo, hi = element.lo, element.hi
        if clamp is None:
            return cls(lo, hi, output.scale)
        low, high = (np.clip(bound / output.scale + 0.5, lo, hi + 0.5) for bound in clamp)
        return cls(int(np.floor(low)), int(np.floor(high)), output.scale)

    @classmethod
    def kept(cls, tensor: Tensor) -> Codes:
        """The values of `tensor` as they are."""
        return cls(tensor.element.lo, tensor.element.hi, tensor.scale)
