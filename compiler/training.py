"""Training with the integer meaning: the quantised graph in real numbers, with gradients.

`Trainable` computes what the integer network will compute: the same passes, plan, scales and
rounding.  Its weights are trained as any module's, and become a `Workload` by the very steps that
`to_workload` takes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from intaglio.compiler.calibration import Method
from intaglio.compiler.capture import capture
from intaglio.compiler.graph import argument, quiet
from intaglio.compiler.lower import lower
from intaglio.compiler.passes.fuse import Plan
from intaglio.compiler.passes.observers import (
    PerChannelWeightObserver,
    RangeObserver,
    SignObserver,
    SignWeightObserver,
)
from intaglio.compiler.passes.quantize import (
    QUANTISE_CHANNELS,
    Quantize,
    convert,
    quantise_half_up,
    quantise_sign,
)
from intaglio.compiler.passes.quantizer import check_layers
from intaglio.compiler.passes.wide_values import LAYERS
from intaglio.compiler.pipeline import Progress, batches, calibration_data, fuse, refuse
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import UnsupportedError, UsageError

LEAST_ERROR = Method(observer="mse", weights="mse")
"""How `prepare_training` chooses scales unless told: few bits need their steps small."""
TIE = 128
"""By how many units in the last place of 1 step real numbers may miss a tie, at 8 bits.

Averages of integers are ties often, and a tie goes up in hardware.
"""
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Origin:
    """How the scales of a network in training came about."""

    method: Method
    precision: Precision
    calibration_images: int
    seed: int


class FakeQuantised(nn.Module):
    """An activation on the grid of its scale, rounded half up as the hardware does.

    The gradient is that of the clamp: it passes unchanged within the range and stops outside.  The
    range of a sign is that of the two steps that it rounds, from -2 to 2.
    """

    def __init__(self, observer: RangeObserver) -> None:
        super().__init__()
        self.scale = observer.scale
        self.lo, self.hi = observer.quant_min, observer.quant_max
        self.is_sign = isinstance(observer, SignObserver)
        reach = 2 if self.is_sign else 1
        self.range = reach * self.lo * self.scale, reach * self.hi * self.scale

    def forward(self, values: Tensor) -> Tensor:
        """`values` of any shape, rounded."""
        clamped = values.clamp(*self.range)
        raised = values.detach().double() + TIE * torch.finfo(values.dtype).eps * self.scale
        quantise = quantise_sign if self.is_sign else quantise_half_up
        steps = quantise(raised, self.scale, 0, self.lo, self.hi, torch.float64)
        rounded = (steps * self.scale).to(values.dtype)
        return clamped + (rounded - clamped).detach()


class FakeQuantisedWeight(nn.Module):
    """A weight (K, ...) on the grids of its channels' scales, as PT2E will round it.

    The gradient passes unchanged everywhere, so a weight that was clamped can come back.
    """

    def __init__(self, observer: PerChannelWeightObserver) -> None:
        super().__init__()
        scales, zeros = observer.calculate_qparams()
        self.is_sign = isinstance(observer, SignWeightObserver)
        self.grid = (scales, zeros, 0, observer.quant_min, observer.quant_max, torch.int8)

    def forward(self, weight: Tensor) -> Tensor:
        """`weight`, rounded."""
        if self.is_sign:
            integers = torch.where(weight.detach() >= 0, 1, -1)
        else:
            integers = QUANTISE_CHANNELS(weight.detach().float(), *self.grid)
        scales = self.grid[0].reshape(-1, *[1] * (weight.dim() - 1))
        rounded: Tensor = integers * scales.to(weight.dtype)
        return weight + (rounded - weight).detach()


class Trainable(nn.Module):
    """A network that computes in real numbers what its integer form will compute.

    Batch normalisation is folded; `parameters()` are the weights and biases of the layers, which
    are copies: the model they came from is left as it was.  Float32, in which one trains, misses a
    rounding now and then; after `double()` the outputs are those of the integer network.
    """

    def __init__(
        self, prepared: GraphModule, plan: Plan, shapes: Shapes, name: str, origin: Origin
    ) -> None:
        super().__init__()
        self.name = name
        self.origin = origin
        self.plan = plan
        self._shapes = dict(shapes)
        # Held in a tuple, so that the one set of parameters is registered once, under `running`.
        self._prepared = (_with_parameters(copy.deepcopy(prepared), plan),)
        self.running = _fake_quantised(self._prepared[0])

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs, (N, ...), for `inputs` (N, ...) in the order of the model's own.

        Every image goes by itself through the graph of one image.  Raises UsageError for another
        number of inputs and for shapes that do not match.
        """
        self._check(inputs)
        dtype = next(self.parameters()).dtype
        constants = tuple(
            value.to(dtype) if value.is_floating_point() else value
            for value in self.plan.constants.values()
        )

        def one(*images: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.running(*(image[None] for image in images), *constants))

        made = torch.vmap(one)(*inputs)
        outputs = tuple(value.flatten(0, 1) for value in made)
        return outputs[0] if len(outputs) == 1 else outputs

    def workload(self, name: str | None = None) -> Workload:
        """The exact integer workload of the weights as they are now; training can go on after.

        Raises UnsupportedError when the trained weights exceed what the hardware holds.
        """
        return lower(self.quantised(), self.plan, name or self.name)

    def quantised(self) -> GraphModule:
        """The quantised graph that `workload` lowers; its weights are integers."""
        with quiet(), torch.no_grad():
            return convert(copy.deepcopy(self._prepared[0]).float())

    def _check(self, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs) != len(self._shapes):
            raise UsageError(
                f"{self.name} takes {len(self._shapes)} inputs ({', '.join(self._shapes)}), "
                f"{len(inputs)} were given; give one tensor for each"
            )
        for value, (name, shape) in zip(inputs, self._shapes.items(), strict=True):
            if value.shape[1:] != shape[1:]:
                wanted = ", ".join(["images", *(str(extent) for extent in shape[1:])])
                raise UsageError(
                    f"input '{name}' of {self.name} has shape {tuple(value.shape)}, the network "
                    f"takes ({wanted}); reshape it"
                )


def prepare_training(
    model: nn.Module | ExportedProgram,
    example_inputs: Sequence[Tensor],
    *,
    calibration: Mapping[str, NDArray[np.generic]] | None = None,
    method: Method = LEAST_ERROR,
    precision: Precision | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: Progress = lambda step, done, total: None,
) -> Trainable:
    """`model`, which is best trained already, as a network that trains with its integer rounding.

    The arguments are those of `to_workload`; scales follow from `calibration` once and stay.
    Raises CaptureError, CalibrationError or UnsupportedError as `to_workload` does.
    """
    captured = capture(model, tuple(example_inputs))
    label = name or type(model).__name__
    if captured.shapes_only:
        raise UnsupportedError(
            f"{label} is on the meta device, so there is nothing to train; load its weights"
        )
    data = calibration_data(captured, calibration, seed)
    images = len(next(iter(data.values())))
    plan = fuse(captured)
    # Training runs nothing on the host, so the host is no way out.
    refuse([replace(refusal, hostable=False) for refusal in plan.refusals])
    bits = precision or Precision()
    check_layers(bits, plan, captured.shapes)
    prepared = Quantize(plan, bits, method).prepare(
        captured.module,
        batches(captured, data),
        lambda done: progress("calibrate", done, images),
        lambda done, layers: progress("round weights", done, layers),
    )
    origin = Origin(method, bits, images if calibration is not None else 0, seed)
    return Trainable(prepared, plan, captured.shapes, label, origin)


def _with_parameters(prepared: GraphModule, plan: Plan) -> GraphModule:
    """`prepared`, whose layers read parameters where they read buffers."""
    nodes = {node.name: node for node in prepared.graph.nodes}
    for parameter in prepared.parameters():
        parameter.requires_grad_(True)
    for group in plan.groups:
        if group.kind in LAYERS:
            anchor = nodes[group.anchor]
            weight = cast(Node, cast(Node, anchor.args[1]).args[0])
            for constant in (weight, argument(anchor, 2, "bias")):
                if isinstance(constant, Node):
                    _make_parameter(prepared, str(constant.target))
    return prepared


def _make_parameter(module: nn.Module, path: str) -> None:
    owner, _, name = path.rpartition(".")
    holder = module.get_submodule(owner)
    value = getattr(holder, name)
    if not isinstance(value, nn.Parameter):
        delattr(holder, name)
        holder.register_parameter(name, nn.Parameter(value.detach().clone()))


def _fake_quantised(prepared: GraphModule) -> GraphModule:
    """A graph over the parameters of `prepared` that rounds where `prepared` observes."""
    running = GraphModule(prepared, copy.deepcopy(prepared.graph))
    for node in running.graph.find_nodes(op="call_module"):
        observer = prepared.get_submodule(str(node.target))
        if isinstance(observer, RangeObserver):
            running.set_submodule(str(node.target), FakeQuantised(observer))
        elif isinstance(observer, PerChannelWeightObserver):
            running.set_submodule(str(node.target), FakeQuantisedWeight(observer))
    return running
