"""Intent of quantisation, for torchao's PT2E: which values get integers, of which type."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.graph import quiet
from intaglio.compiler.passes.fuse import MOVES, Group, Plan
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import ElementType

with quiet():
    from torchao.quantization.pt2e import ObserverBase
    from torchao.quantization.pt2e.quantizer import (
        QuantizationAnnotation,
        QuantizationSpec,
        QuantizationSpecBase,
        Quantizer,
        SharedQuantizationSpec,
    )

ANNOTATION = "quantization_annotation"
"""The key of a node's metadata under which torchao looks for its annotation."""
aten = torch.ops.aten
KEEPS_SCALE = MOVES | {"max_pool", "average_pool"}
"""Kinds of groups whose output has the scale and the type of their input."""
NON_NEGATIVE = frozenset({aten.sigmoid.default, aten.hardsigmoid.default})


class RangeObserver(ObserverBase):  # type: ignore[misc]
    """Scale of a whole tensor from the largest values seen, with zero point 0.

    The scale maps the extremes of the data onto the extremes of the type.
    """

    qscheme = torch.per_tensor_affine

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, **_: object) -> None:
        super().__init__(dtype)
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.lowest = 0.0
        self.highest = 0.0
        self.chosen: float | None = None
        self.finite = True

    def forward(self, values: Tensor) -> Tensor:
        """Widen the range to `values`, which pass unchanged; zeros pass for what is not finite.

        So the layers that read them are judged by themselves.
        """
        lowest, highest = (float(extreme) for extreme in torch.aminmax(values.detach()))
        if not (math.isfinite(lowest) and math.isfinite(highest)):
            self.finite = False
            return self.forward(torch.where(values.isfinite(), values, 0.0))
        self.lowest = min(self.lowest, lowest)
        self.highest = max(self.highest, highest)
        return values

    @property
    def scale(self) -> float:
        """The real value of one step: `chosen`, or from the range (0 to 1 when all is zero)."""
        if self.chosen is not None:
            return self.chosen
        below = self.lowest / self.quant_min if self.quant_min else 0.0
        return max(below, self.highest / self.quant_max) or 1.0 / self.quant_max

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """(scale, zero point), both of one element."""
        return torch.tensor(self.scale, dtype=torch.float64), torch.tensor(0)


class PerChannelWeightObserver(ObserverBase):  # type: ignore[misc]
    """Symmetric scales of a weight, one for each output channel (axis 0)."""

    qscheme = torch.per_channel_symmetric
    ch_axis = 0

    def __init__(self, dtype: torch.dtype, quant_min: int, quant_max: int, **_: object) -> None:
        super().__init__(dtype)
        self.quant_min = quant_min
        self.quant_max = quant_max
        self.scale = torch.ones(0)

    def forward(self, weight: Tensor) -> Tensor:
        """Take the scales of `weight`, which passes unchanged."""
        if not self.scale.numel():
            largest = weight.detach().double().abs().flatten(1).amax(1)
            fallback = float(largest.max()) or 1.0
            self.scale = torch.where(largest > 0, largest, fallback) / self.quant_max
        return weight

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """(scales, zero points), both of shape (K,)."""
        return self.scale.float(), torch.zeros(len(self.scale), dtype=torch.int64)


@dataclass(frozen=True, slots=True)
class Types:
    """The element types that a precision stands for."""

    weight: ElementType
    signed: ElementType
    unsigned: ElementType

    @classmethod
    def of(cls, precision: Precision) -> Types:
        """The types of `precision`."""
        bits = precision.activation_bits
        return cls(
            ElementType(precision.weight_bits), ElementType(bits), ElementType(bits, "unsigned")
        )


class GroupQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates the values between the groups of a plan, and the weights of its layers."""

    def __init__(self, plan: Plan, precision: Precision) -> None:
        super().__init__()
        self.plan = plan
        self.types = Types.of(precision)

    def annotate(self, model: GraphModule) -> GraphModule:
        """Write an annotation on every node whose value becomes integers."""
        nodes = {node.name: node for node in model.graph.nodes}
        non_negative: set[str] = set()
        entries = [node.name for node in model.graph.find_nodes(op="placeholder")]
        for name in (*entries, *self.plan.cuts):
            if not is_real(nodes[name]) or name in self.plan.constants:
                continue
            _annotation(nodes[name]).output_qspec = _spec(RangeObserver, self.types.signed)
        for group in self.plan.groups:
            if not is_real(nodes[group.output]):
                continue
            if group.kind in ("conv", "linear"):
                anchor = nodes[group.anchor]
                weight = cast(Node, anchor.args[1])
                spec = _spec(PerChannelWeightObserver, self.types.weight)
                _annotation(anchor).input_qspec_map[weight] = spec
            constant = self.plan.constants.get(group.output)
            if (
                bool((constant >= 0).all())
                if constant is not None
                else _is_non_negative(group, nodes[group.anchor], non_negative)
            ):
                non_negative.add(group.output)
            spec = self._output(group, nodes, group.output in non_negative)
            _annotation(nodes[group.output]).output_qspec = spec
        return model

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: the plan was checked when it was made."""

    def _output(
        self, group: Group, nodes: dict[str, Node], non_negative: bool
    ) -> QuantizationSpecBase:
        """Pools and reshapes keep the scale of their input; other groups get their own."""
        if group.kind in KEEPS_SCALE or nodes[group.anchor].target is aten.amax.default:
            return SharedQuantizationSpec(nodes[group.inputs[0]])
        return _spec(RangeObserver, self.types.unsigned if non_negative else self.types.signed)


def is_real(node: Node) -> bool:
    """Whether the value of a node is real, not an index or a mask."""
    return bool(node.meta["val"].dtype.is_floating_point)


def _annotation(node: Node) -> QuantizationAnnotation:
    return node.meta.setdefault(ANNOTATION, QuantizationAnnotation(_annotated=True))


def _spec(observer: Callable[..., Any], element: ElementType) -> QuantizationSpec:
    """The PT2E form of an element type; symmetric weights leave out the lowest value."""
    weight = observer is PerChannelWeightObserver
    return QuantizationSpec(
        dtype=torch.uint8 if element.encoding == "unsigned" else torch.int8,
        observer_or_fake_quant_ctr=observer,
        quant_min=-element.hi if weight else element.lo,
        quant_max=element.hi,
        qscheme=torch.per_channel_symmetric if weight else torch.per_tensor_affine,
        ch_axis=0 if weight else None,
    )


def _is_non_negative(group: Group, anchor: Node, known: set[str]) -> bool:
    """Whether the real values of a group cannot be negative."""
    if group.clamp is not None:
        return group.clamp[0] >= 0
    if group.kind == "unary":
        return anchor.target in NON_NEGATIVE
    if group.kind in MOVES | {"max_pool", "average_pool", "reduce", "scale"}:
        return group.inputs[0] in known
    if group.kind in ("concat", "mul", "matmul"):
        return all(name in known for name in group.inputs)
    return group.kind == "add" and group.inputs[0] in known and group.residual in known
