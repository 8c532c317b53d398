"""Mechanism of quantisation: observe, choose scales the hardware holds exactly, convert."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.calibration import Method
from intaglio.compiler.graph import is_real, parameter, quiet
from intaglio.compiler.numerics import choose_multiplier, snap_scale
from intaglio.compiler.passes.fuse import Group, Plan
from intaglio.compiler.passes.layer_inputs import Moments, Watch
from intaglio.compiler.passes.observers import (
    GivenObserver,
    GivenWeightObserver,
    PerChannelWeightObserver,
    RangeObserver,
    SignObserver,
    SignWeightObserver,
)
from intaglio.compiler.passes.quantizer import GroupQuantizer
from intaglio.compiler.passes.round_weights import round_weights, set_constant
from intaglio.compiler.passes.wide_values import LAYERS
from intaglio.compiler.precision import Precision
from intaglio.errors import CalibrationError, IntaglioError, UnsupportedError

with quiet():
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

QUANTISE = torch.ops.quantized_decomposed.quantize_per_tensor.default
DEQUANTISE = torch.ops.quantized_decomposed.dequantize_per_tensor.default
QUANTISE_CHANNELS = torch.ops.quantized_decomposed.quantize_per_channel.default
DEQUANTISE_CHANNELS = torch.ops.quantized_decomposed.dequantize_per_channel.default
SIGNS = "signs"
"""Key of the metadata of a dequantised weight: that its integers are -1 and +1 alone."""
NOT_FINITE = (
    "{}: its values are NaN or infinite on the calibration data; check the model's weights and the "
    "range of the data"
)
Refused = Callable[[Group, IntaglioError], None]
"""Told of a group that cannot be quantised, and why."""


@dataclass(frozen=True, slots=True)
class Quantize:
    """Quantise a grouped graph with PT2E.

    x -> conv(., w) -> relu ->   becomes
    x -> quantise -> dequantise -> conv(., dequantise(w int8)) -> relu -> quantise -> dequantise ->

    Weight scales are raised to the nearest value for which input scale * weight scale / output
    scale is a multiplier over a power of two, so the graph and its integer form do not differ;
    the output of a layer with a residual is adjusted likewise.  `method` says how scales, weights
    and biases follow from the data, which are seen once, in memory that does not grow with them.
    """

    plan: Plan
    precision: Precision = field(default_factory=Precision)
    method: Method = field(default_factory=Method)

    def __call__(
        self,
        module: GraphModule,
        batches: Iterable[tuple[Tensor, ...]],
        observed: Callable[[int], None] = lambda done: None,
        rounded: Callable[[int, int], None] = lambda done, layers: None,
        refused: Refused | None = None,
    ) -> GraphModule:
        """The quantised form of `module`, which is changed, calibrated on `batches`.

        Each batch holds one image for each input; `observed` is told how many were seen, and
        `rounded` how many layers have been rounded on what was seen, of how many.  Raises
        CalibrationError when a layer's values are not finite, UnsupportedError when its scales are
        out of the requantiser's range.  With `refused`, such groups are reported to it instead,
        and their part of the result means nothing.
        """
        return convert(self.prepare(module, batches, observed, rounded, refused))

    def prepare(
        self,
        module: GraphModule,
        batches: Iterable[tuple[Tensor, ...]],
        observed: Callable[[int], None] = lambda done: None,
        rounded: Callable[[int, int], None] = lambda done, layers: None,
        refused: Refused | None = None,
    ) -> GraphModule:
        """As a call, but still in real numbers: every value passes an observer with its scale."""
        with quiet():
            quantizer = GroupQuantizer(self.plan, self.precision, self.method)
            prepared: GraphModule = prepare_pt2e(module, quantizer)
            moments = self._moments(prepared)
            watch = Watch(prepared, moments)
            with torch.no_grad():
                for done, batch in enumerate(batches, start=1):
                    watch.run(*batch, *self.plan.constants.values())
                    observed(done)
            self._check_islands(prepared)
            self._settle(prepared, moments, rounded, refused)
        return prepared

    def _check_islands(self, prepared: GraphModule) -> None:
        """Raise CalibrationError when what becomes integers behind an island was not finite."""
        nodes = {node.name: node for node in prepared.graph.nodes}
        for island in self.plan.islands:
            cut = [nodes[name] for name in island.outputs if name in self.plan.cuts]
            if not all(_observer(prepared, node).finite for node in cut if is_real(node)):
                raise CalibrationError(NOT_FINITE.format(island.label))

    def _settle(
        self,
        prepared: GraphModule,
        moments: dict[str, Moments],
        rounded: Callable[[int, int], None],
        refused: Refused | None,
    ) -> None:
        """Choose the scales of every group, and round the layers whose inputs were watched."""
        nodes, watched = {node.name: node for node in prepared.graph.nodes}, len(moments)
        for group in self.plan.groups:
            if not is_real(nodes[group.output]):
                continue
            try:
                _settle(prepared, group)
                if group.anchor in moments:
                    # Moments may be large; each is freed when its layer is done.
                    seen = moments.pop(group.anchor)
                    round_weights(prepared, nodes[group.anchor], seen, self.method)
                    rounded(watched - len(moments), watched)
            except IntaglioError as error:
                if refused is None:
                    raise
                refused(group, error)

    def _moments(self, prepared: GraphModule) -> dict[str, Moments]:
        """What to gather of the inputs of each layer, by its node; empty when nothing needs it."""
        second = self.method.rounding == "compensated"
        if not (second or self.method.correct_bias):
            return {}
        shared: dict[Node, Moments] = {}
        nodes = {node.name: node for node in prepared.graph.nodes}
        return {
            group.anchor: shared.setdefault(
                cast(Node, nodes[group.anchor].args[1]), Moments(second)
            )
            for group in self.plan.groups
            if group.kind in LAYERS and not _has_given_weight(prepared, nodes[group.anchor])
        }


def convert(prepared: GraphModule) -> GraphModule:
    """A prepared graph, which is changed, with its weights and values in integers."""
    signs, readers = set[str](), set[str]()
    for node in prepared.graph.find_nodes(op="call_module"):
        observer = prepared.get_submodule(str(node.target))
        if isinstance(observer, SignObserver):
            signs.add(cast(Node, node.args[0]).name)
        elif isinstance(observer, SignWeightObserver):
            _place_signs(prepared, node, observer)
            readers.update(user.name for user in node.users)
    with quiet():
        converted: GraphModule = convert_pt2e(prepared)
    for node in converted.graph.find_nodes(op="call_function", target=QUANTISE):
        of_sign = cast(Node, node.args[0]).name in signs
        node.target = quantise_sign if of_sign else quantise_half_up
    for node in converted.graph.nodes:
        if node.name in readers:
            cast(Node, node.args[1]).meta[SIGNS] = True
    converted.recompile()
    return converted


def _place_signs(prepared: GraphModule, observed: Node, observer: SignWeightObserver) -> None:
    """Put a weight onto plus and minus its scales, where PT2E's rounding leaves it."""
    given = cast(Node, observed.args[0])
    weight = parameter(prepared, given)
    scales = observer.calculate_qparams()[0].reshape(-1, *[1] * (weight.dim() - 1))
    placed = observer.integers(weight) * scales.to(weight.device)
    set_constant(prepared, observed, 0, f"{given.name}_signs", placed)


def _has_given_weight(prepared: GraphModule, layer: Node) -> bool:
    """Whether the integers of a layer's weight are the model's own."""
    weight = prepared.get_submodule(str(cast(Node, layer.args[1]).target))
    return isinstance(weight, GivenWeightObserver)


def _settle(prepared: GraphModule, group: Group) -> None:
    """Check what was observed of one group, and choose its scales."""
    nodes = {node.name: node for node in prepared.graph.nodes}
    output = _observer(prepared, nodes[group.output])
    made = [nodes[name] for name in group.inputs if nodes[name].op != "placeholder"]
    sources = [node for node in made if is_real(node)]
    inherited = any(_observer(prepared, source) is output for source in sources)
    if not output.finite and not inherited:
        raise CalibrationError(NOT_FINITE.format(group.label))
    if group.kind in LAYERS:
        _snap(prepared, group)


def _snap(prepared: GraphModule, group: Group) -> None:
    """Choose scales of one layer that the requantiser holds exactly.

    With a residual, first the output's, so that residual scale / output scale is a multiplier over
    a power of two; then the weight's, raised until the same holds for the accumulator.  A weight
    that several layers read suits the last of those with a residual; the multipliers of the others
    are rounded to 16 bits instead, as are those of scales that the model itself gives.
    """
    nodes = {node.name: node for node in prepared.graph.nodes}
    output = _observer(prepared, nodes[group.output])
    weight_node = cast(Node, nodes[group.anchor].args[1])
    weight = prepared.get_submodule(str(weight_node.target))
    assert isinstance(weight, PerChannelWeightObserver)
    try:
        residual = None
        if group.residual is not None:
            residual = _snap_output(output, _observer(prepared, nodes[group.residual]).scale)
        given = isinstance(weight, GivenWeightObserver)
        if given or (len(weight_node.users) > 1 and residual is None):
            return
        ratio = _observer(prepared, nodes[group.inputs[0]]).scale / output.scale
        snapped = snap_scale(weight.scale.numpy() * ratio, residual)
    except UnsupportedError as error:
        raise UnsupportedError(f"{group.label}: {error}") from error
    weight.scale = torch.from_numpy(snapped / ratio)


def _snap_output(output: RangeObserver, added: float) -> float:
    """Make a residual's scale `added` over the output's a multiplier over a power of two.

    A residual too small to count has multiplier 0 and leaves the output's scale as it is.
    """
    multiplier, shift = choose_multiplier(added / output.scale)
    residual = float(np.ldexp(float(multiplier), -int(shift)))
    if residual and not isinstance(output, GivenObserver):
        output.chosen = added / residual
    return residual


def _observer(prepared: GraphModule, node: Node) -> RangeObserver:
    """The observer of a node's value."""
    for user in node.users:
        if user.op == "call_module":
            observer = prepared.get_submodule(str(user.target))
            if isinstance(observer, RangeObserver):
                return observer
    raise AssertionError(f"the value of {node.name} is not observed")


def quantise_half_up(
    values: Tensor, scale: float, zero_point: int, lo: int, hi: int, dtype: torch.dtype
) -> Tensor:
    """PT2E's quantize_per_tensor with ties rounded up, as the hardware does; zero point 0."""
    steps = torch.floor(values.double() / scale + 0.5)
    return (steps + zero_point).clamp(lo, hi).to(dtype)


def quantise_sign(
    values: Tensor, scale: float, zero_point: int, lo: int, hi: int, dtype: torch.dtype
) -> Tensor:
    """As `quantise_half_up`, of a type that holds `lo` and `hi` alone: -1, and +1 from 0 on."""
    return torch.where(values >= 0, hi, lo).to(dtype)
