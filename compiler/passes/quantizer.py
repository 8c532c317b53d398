"""Intent of quantisation, for torchao's PT2E: which values get integers, of which type."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.calibration import Method
from intaglio.compiler.graph import input_name, is_real, owner, parameter, quiet
from intaglio.compiler.passes.fuse import Group, Plan
from intaglio.compiler.passes.given import GIVEN, GRID, MOST_BITS, Given, Grid
from intaglio.compiler.passes.observers import (
    GivenObserver,
    GivenSignObserver,
    GivenSignWeightObserver,
    GivenWeightObserver,
    PerChannelWeightObserver,
    ProbabilityObserver,
    RangeObserver,
    SignObserver,
    SignWeightObserver,
    activation_observer,
    weight_observer,
)
from intaglio.compiler.passes.truths import TRUTH
from intaglio.compiler.passes.wide_values import (
    KEEPS_SCALE,
    LAYERS,
    between_layers,
    keeps_scale,
    wide_values,
)
from intaglio.compiler.precision import WIDEST, Precision
from intaglio.compiler.tables import is_non_negative
from intaglio.compiler.workload import BIPOLAR, ElementType
from intaglio.errors import UnsupportedError, UsageError

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


@dataclass(frozen=True, slots=True)
class Types:
    """The element types of an activation that has a sign and of one that has none."""

    signed: ElementType
    unsigned: ElementType

    @classmethod
    def of(cls, bits: int, magnitude: int = WIDEST - 1) -> Types:
        """Types of up to `bits` bits, of values below 2^`magnitude`; of one bit, -1 and +1."""
        if bits == 1:
            return cls(BIPOLAR, ElementType(1, "unsigned"))
        return cls(
            ElementType(min(bits, magnitude + 1)), ElementType(min(bits, magnitude), "unsigned")
        )


class GroupQuantizer(Quantizer):  # type: ignore[misc]
    """Annotates the values between the groups of a plan, and the weights of its layers.

    What the graph returns is never clamped to less than its range: the largest results decide.
    """

    def __init__(self, plan: Plan, precision: Precision, method: Method) -> None:
        super().__init__()
        self.plan = plan
        self.precision = precision
        self.observer = activation_observer(method)
        self.weight_observer = weight_observer(method)

    def annotate(self, model: GraphModule) -> GraphModule:
        """Write an annotation on every node whose value becomes integers."""
        nodes = {node.name: node for node in model.graph.nodes}
        self._annotate_weights(nodes)
        self._annotate_groups(nodes, self._annotate_entries(model, nodes))
        return model

    def _annotate_entries(self, model: GraphModule, nodes: dict[str, Node]) -> set[str]:
        """Annotate inputs and cuts; returns those that cannot be negative."""
        non_negative = set[str]()
        entries = [node.name for node in model.graph.find_nodes(op="placeholder")]
        for name in (*entries, *self.plan.cuts):
            if not is_real(nodes[name]) or name in self.plan.constants:
                continue
            _check_given(self.precision, input_name(nodes[name]), nodes[name])
            spec = _given(nodes[name]) or _spec(self.observer, self._entry(nodes[name]))
            _annotation(nodes[name]).output_qspec = spec
            if spec.quant_min >= 0:
                non_negative.add(name)
        return non_negative

    def _entry(self, node: Node) -> ElementType:
        """The type of an input or a cut, which has a sign and room for 0."""
        name = input_name(node)
        bits = self.precision.activations_of(name, between_layers=False)
        if bits == 1:
            raise UsageError(
                f"precision gives activations of 1 bit to '{name}', which no layer makes; give it "
                "2 bits or more"
            )
        return Types.of(bits).signed

    def _annotate_groups(self, nodes: dict[str, Node], non_negative: set[str]) -> None:
        """Annotate what operators make; `non_negative` are the entries that cannot be negative."""
        given, signs = given_scales(self.plan, nodes), set[str]()
        wide = wide_values(self.plan, nodes, self.precision)
        inner = between_layers(self.plan, nodes)
        for group in self.plan.groups:
            if not is_real(nodes[group.output]):
                continue
            if self._is_non_negative(group, nodes, non_negative):
                non_negative.add(group.output)
            keeps = self._shares(group, nodes, given | signs)
            shared = nodes[group.inputs[0]] if keeps else None
            known, between = group.output in non_negative, group.output in inner
            types = Types.of(self.precision.activations_of(group.name, between_layers=between))
            magnitude = wide.get(group.output)
            spec = self._output(group, nodes[group.output], shared, known, types, magnitude)
            if _is_sign(spec) or (keeps and group.inputs[0] in signs):
                signs.add(group.output)
            _annotation(nodes[group.output]).output_qspec = spec

    def _annotate_weights(self, nodes: dict[str, Node]) -> None:
        """Layers that read one weight, as the steps of a recurrence do, share its integers."""
        first: dict[Node, Group] = {}
        position = {name: index for index, name in enumerate(nodes)}
        for group in sorted(self.plan.groups, key=lambda group: position[group.anchor]):
            if group.kind not in LAYERS:
                continue
            anchor = nodes[group.anchor]
            weight = cast(Node, anchor.args[1])
            spec: QuantizationSpecBase = self._weight(group, weight)
            owner = first.setdefault(weight, group)
            if owner is not group:
                _check_shared(self.precision, group, owner)
                spec = SharedQuantizationSpec((weight, nodes[owner.anchor]))
            _annotation(anchor).input_qspec_map[weight] = spec

    def _weight(self, group: Group, weight: Node) -> QuantizationSpec:
        """The type of a layer's weight: what the model itself gives, or what was asked for."""
        grid: Grid | None = weight.meta.get(GRID)
        own = self.precision.layers.get(group.name)
        if grid is None:
            bits = self.precision.weights_of(group.name)
            return _spec(self.weight_observer, BIPOLAR if bits == 1 else ElementType(bits))
        constant = weight.op == "get_attr" and parameter(owner(weight), weight)
        are_signs = isinstance(constant, Tensor) and grid.are_signs(constant)
        element = BIPOLAR if are_signs else grid.element
        _check_bits("weights", own.weights if own else None, group.name, element.bits)
        scales = grid.channels
        if grid.is_turned and grid.element.bits > MOST_BITS:
            raise UnsupportedError(
                f"{group.label}: a weight of {-grid.hi} becomes {grid.hi} by the negative gain of "
                f"a batch norm, or factor, behind it, and {MOST_BITS} signed bits hold -128 to "
                "127; quantise its weights to a narrow range, -127 to 127"
            )
        if grid.element.bits > MOST_BITS:
            raise UnsupportedError(
                f"{group.label}: its weights are given as integers {grid.lo} to {grid.hi}, "
                f"{MOST_BITS} signed bits are mapped; quantise them to a narrow range of signed "
                "integers"
            )
        if scales is None:
            raise UnsupportedError(
                f"{group.label}: its weights are given scales that differ within an output "
                "channel; give each output channel one scale"
            )
        observer = GivenSignWeightObserver if are_signs else GivenWeightObserver
        return _spec(observer.of(scales), element)

    def validate(self, model: GraphModule) -> None:
        """Nothing to check: the plan was checked when it was made."""

    def _is_non_negative(self, group: Group, nodes: Mapping[str, Node], known: set[str]) -> bool:
        """Whether the values of a group, computed or the model's own, cannot be negative."""
        given: Given | None = nodes[group.output].meta.get(GIVEN)
        if given is not None and given.lo >= 0:
            return True
        constant = self.plan.constants.get(group.output)
        if constant is None:
            return _is_non_negative(group, nodes[group.anchor], known)
        return not constant.is_meta and bool((constant >= 0).all())

    def _shares(self, group: Group, nodes: dict[str, Node], given: Collection[str]) -> bool:
        """Whether a group's output has the scale and the type of its input.

        An average of integers that a quantiser makes, or of signs, has none of its own there, and
        is real.
        """
        if group.kind == "average_pool" and group.inputs[0] in given:
            return False
        return keeps_scale(group, nodes)

    def _output(
        self,
        group: Group,
        node: Node,
        shared: Node | None,
        non_negative: bool,
        types: Types,
        magnitude: int | None,
    ) -> QuantizationSpecBase:
        """The type of a group's output, the value of `node`: what the model itself gives is kept.

        Pools and moves have that of their input, `shared`; other groups get their own, of `types`.
        With a `magnitude` the value is wide, and its readers take it below 2^`magnitude`.
        """
        given = _given(node)
        if given is not None:
            _check_given(self.precision, group.name, node)
            return given
        if shared is not None:
            _check_kept(self.precision, group)
            return SharedQuantizationSpec(shared)
        if group.kind == "softmax" or TRUTH in node.meta:
            return _spec(ProbabilityObserver, types.unsigned)
        returned = any(user.op == "output" for user in node.users)
        observer = RangeObserver if returned else self.observer
        own = self.precision.layers.get(group.name)
        if magnitude is not None and (own is None or own.activations is None):
            types, observer = Types.of(self.precision.wide_bits, magnitude), RangeObserver
        return _spec(observer, types.unsigned if non_negative else types.signed)


def given_scales(plan: Plan, nodes: Mapping[str, Node]) -> set[str]:
    """The values whose scale is that of a quantiser of the model, behind moves and maxima too."""
    made = {name for name, node in nodes.items() if GIVEN in node.meta}
    for group in plan.groups:
        if group.kind in KEEPS_SCALE - {"average_pool"} and group.inputs[0] in made:
            made.add(group.output)
    return made


def check_layers(precision: Precision, plan: Plan, inputs: Collection[str]) -> None:
    """Raise UsageError for what `precision` says of layers that cannot have it."""
    groups = {group.name: group for group in plan.groups}
    for name, own in precision.layers.items():
        group = groups.get(name)
        if group is None and name not in inputs:
            near = difflib.get_close_matches(name, [*groups, *inputs], 1)
            hint = f"did you mean '{near[0]}'?" if near else f"its layers are {', '.join(groups)}"
            raise UsageError(f"precision names '{name}', which the network does not have; {hint}")
        if own.weights is not None and (group is None or group.kind not in LAYERS):
            raise UsageError(
                f"precision gives weights of {own.weights} bits to '{name}', which has none; leave "
                "them out"
            )


def _check_given(precision: Precision, name: str, node: Node) -> None:
    """Raise UsageError for other bits than a quantiser of the model gives a value."""
    own, given = precision.layers.get(name), cast("Given | None", node.meta.get(GIVEN))
    if own is not None and given is not None:
        _check_bits("activations", own.activations, name, given.element.bits)


def _check_bits(what: str, bits: int | None, name: str, given: int) -> None:
    if bits is not None and bits != given:
        raise UsageError(
            f"precision gives {what} of {bits} bits to '{name}', to which a quantiser of the model "
            f"gives {given}; leave them out, or change the quantiser"
        )


def _check_kept(precision: Precision, group: Group) -> None:
    own = precision.layers.get(group.name)
    if own is not None and own.activations is not None:
        raise UsageError(
            f"precision gives activations of {own.activations} bits to '{group.name}', which keeps "
            "the type of its input; give them to the layer that makes the input"
        )


def _check_shared(precision: Precision, group: Group, owner: Group) -> None:
    own = precision.layers.get(group.name)
    if own is not None and own.weights is not None:
        raise UsageError(
            f"precision gives weights of {own.weights} bits to '{group.name}', which shares those "
            f"of '{owner.name}'; give them to '{owner.name}'"
        )


def _annotation(node: Node) -> QuantizationAnnotation:
    return node.meta.setdefault(ANNOTATION, QuantizationAnnotation(_annotated=True))


def _machine_type(element: ElementType) -> torch.dtype:
    """The narrowest PyTorch type that holds `element`."""
    if element.bits > 8:
        return torch.int16
    return torch.uint8 if element.encoding == "unsigned" else torch.int8


def _given(node: Node) -> QuantizationSpec | None:
    """The PT2E form of what the model itself says of a value; None when it says nothing."""
    given: Given | None = node.meta.get(GIVEN)
    if given is None:
        return None
    observer = GivenSignObserver if given.are_signs else GivenObserver
    spec = _spec(observer.of(given.scale), given.element)
    return replace(spec, quant_min=given.lo, quant_max=given.hi)


def _spec(observer: type[ObserverBase], element: ElementType) -> QuantizationSpec:
    """The PT2E form of an element type; weights leave out the lowest value unless given.

    Signs have an observer of their own, by which `quantize` knows them.
    """
    weight = issubclass(observer, PerChannelWeightObserver)
    if element == BIPOLAR and not issubclass(observer, SignObserver | SignWeightObserver):
        observer = SignWeightObserver if weight else SignObserver
    symmetric = weight and not issubclass(observer, GivenWeightObserver)
    return QuantizationSpec(
        dtype=_machine_type(element),
        observer_or_fake_quant_ctr=observer,
        quant_min=-element.hi if symmetric else element.lo,
        quant_max=element.hi,
        qscheme=torch.per_channel_symmetric if weight else torch.per_tensor_affine,
        ch_axis=0 if weight else None,
    )


def _is_sign(spec: QuantizationSpecBase) -> bool:
    """Whether a value has a type of its own that is bipolar."""
    own = isinstance(spec, QuantizationSpec)
    return own and issubclass(spec.observer_or_fake_quant_ctr, SignObserver)


def _is_non_negative(group: Group, anchor: Node, known: set[str]) -> bool:
    """Whether the real values of a group cannot be negative."""
    if group.clamp is not None:
        return group.clamp[0] >= 0
    if group.kind == "softmax":
        return True
    if group.kind == "unary":
        return is_non_negative(anchor)
    if group.kind in KEEPS_SCALE | {"reduce", "scale"}:
        return group.inputs[0] in known
    if group.kind == "mul" and len(set(group.inputs)) == 1:
        return True
    if group.kind in ("concat", "mul", "matmul"):
        return all(name in known for name in group.inputs)
    return group.kind == "add" and group.inputs[0] in known and group.residual in known
