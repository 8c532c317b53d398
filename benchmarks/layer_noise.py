"""Where a quantised network loses: each layer's weights, or its output, rounded alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Interpreter, Node

from intaglio.compiler.capture import capture
from intaglio.compiler.passes.fuse import Group
from intaglio.compiler.passes.lift_constants import lifted
from intaglio.compiler.pipeline import fuse
from intaglio.compiler.workload import Conv2d, MatMul, Workload

Change = Callable[[Tensor], Tensor]
Inputs = Tensor | Sequence[Tensor]
"""The inputs of one image: a tensor, or one for each input."""
View = Callable[[Tensor, Inputs], Tensor]
"""What of the first output counts, given the inputs it was made from."""


@dataclass(frozen=True, slots=True)
class Noise:
    """One layer: decibels of the float logits over what rounding it alone changes in them.

    `weights` is with the bias that belongs to them, and None for operators without.
    """

    name: str
    weights: float | None
    activations: float


class _Changed(Interpreter):
    """A float graph in which some weights with their biases, and some values, are replaced."""

    def __init__(
        self,
        module: GraphModule,
        constants: Mapping[str, tuple[Tensor, Tensor]],
        values: Mapping[str, Change],
    ) -> None:
        super().__init__(module)
        self.constants = constants
        self.values = values

    def run_node(self, n: Node) -> Any:  # noqa: ANN401 (the type of the base class)
        """The value of a node, changed when it is one of those."""
        if n.name in self.constants:
            arguments, options = self.fetch_args_kwargs_from_env(n)
            target = cast("Callable[..., Tensor]", n.target)
            made = target(arguments[0], *self.constants[n.name], *arguments[3:], **options)
        else:
            made = super().run_node(n)
        return self.values[n.name](made) if n.name in self.values else made


def layer_noise(
    model: nn.Module,
    workload: Workload,
    images: Sequence[Inputs],
    progress: Callable[[str, int, int], None],
    names: Sequence[str] | None = None,
    view: View = lambda output, inputs: output,
) -> list[Noise]:
    """What each layer of `workload` (or each of `names`), made from `model`, loses on `images`.

    The losses are those of `view`, the first output as it stands unless it says otherwise.
    """
    captured = capture(model, _arguments(images[0]))
    groups = [g for g in fuse(captured).groups if names is None or g.name in names]
    constants = tuple(lifted(captured.module).values())

    def seen(graph: Interpreter) -> Tensor:
        return _outputs(graph, images, constants, view)

    exact = seen(_Changed(captured.module, {}, {}))
    found = []
    for done, group in enumerate(groups):
        progress("round one layer at a time", done, len(groups))
        rounded = {group.output: _rounding(workload, group)}
        weights = _weights(workload, group)
        changed = None
        if weights is not None:
            changed = _Changed(captured.module, {group.anchor: weights}, {})
        found.append(
            Noise(
                group.name,
                None if changed is None else decibels(exact, seen(changed)),
                decibels(exact, seen(_Changed(captured.module, {}, rounded))),
            )
        )
    return found


def _weights(workload: Workload, group: Group) -> tuple[Tensor, Tensor] | None:
    """The real values of the group's integer weight and of its bias, which has no table after it.

    The constant of the epilogue is bias / output scale * 2^shift, and the rounding half.
    """
    for op in workload.ops:
        if op.name == group.name and isinstance(op, Conv2d | MatMul):
            integers = torch.from_numpy(workload.constants[op.weight].astype(np.float32))
            scales = torch.tensor(workload.tensor(op.weight).channel_scales)
            shift = workload.constants[op.epilogue.shift]
            constant = np.ldexp(workload.constants[op.epilogue.bias].astype(np.float64), -shift)
            bias = (constant - 0.5) * workload.tensor(op.output).scale
            weight = integers * scales.reshape(-1, *[1] * (integers.dim() - 1))
            return weight, torch.from_numpy(bias).float()
    return None


def _rounding(workload: Workload, group: Group) -> Change:
    """Rounds a value to the integers of the group's output."""
    tensor = workload.tensor(group.name)
    lo, hi, scale = tensor.element.lo, tensor.element.hi, tensor.scale
    return lambda value: torch.floor(value / scale + 0.5).clamp(lo, hi) * scale


def _arguments(inputs: Inputs) -> tuple[Tensor, ...]:
    return (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)


def _outputs(
    graph: Interpreter, images: Sequence[Inputs], constants: tuple[Tensor, ...], view: View
) -> Tensor:
    with torch.no_grad():
        made = [graph.run(*_arguments(inputs), *constants) for inputs in images]
        firsts = [value[0] if isinstance(value, tuple | list) else value for value in made]
        return torch.cat([view(*pair) for pair in zip(firsts, images, strict=True)])


def decibels(exact: Tensor, made: Tensor) -> float:
    """The power of `exact` over that of the difference; infinite when there is none."""
    noise = float((exact - made).square().sum())
    return 10 * float(torch.log10(exact.square().sum() / noise)) if noise else float("inf")
