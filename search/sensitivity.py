"""Bits for each layer: what every choice alone does to the outputs, and the best under a budget.

What layers do alone adds up to what they do together, roughly: docs/precision.md says how well.  So
the choice under a budget of size or of cycles is a knapsack, which is solved exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import execution, reference
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.workload import Conv2d, MatMul, Workload
from intaglio.errors import UsageError
from intaglio.search.codesign import packed_bits
from intaglio.search.knapsack import Budget, Option, choose
from intaglio.sim import deployment
from intaglio.templates.deployment import deploy
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.template import Template

Build = Callable[[Precision], Workload]
"""The exact integer network at a precision, such as `to_workload` of one model makes."""
Floats = NDArray[np.floating]
Divergence = Literal["kl", "mse"]
Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""
WEIGHTS = (2, 3, 4, 8)
"""Bits of weights to choose from; 2 are ternary."""
EIGHT = 8
"""Bits of what is not chosen: those of `Precision()`."""


@dataclass(frozen=True, slots=True)
class Mixed:
    """The chosen precision.

    start             the network at 8 bits
    size_bits         of the whole network at this precision, as `packed_bits` counts; estimated
    cycles            of one image at this precision, simulated
    predicted         divergence, from the layers alone; estimated
    predicted_cycles  from the layers alone; estimated
    measured          divergence of the whole network at this precision
    options           all that was tried, layer by layer
    """

    precision: Precision
    start: Option
    size_bits: int
    cycles: int
    predicted: float
    predicted_cycles: int
    measured: float
    options: tuple[Option, ...]

    @property
    def chosen(self) -> tuple[Option, ...]:
        """The option of each layer."""
        layers = self.precision.layers
        return tuple(option for option in self.options if layers[option.layer] == option.bits)

    @property
    def bits_change_cycles(self) -> bool:
        """Whether any option takes other cycles than 8 bits."""
        return any(option.cycles != self.start.cycles for option in self.options)


@dataclass(slots=True)
class Cycles:
    """Simulated cycles of one image on a design; equal programs are simulated once.

    Raises the errors of `deploy` for what the design cannot run.
    """

    family: Template[Any, Any]
    design: NpuDesign
    allow_host: bool = False
    _known: dict[tuple[bytes, ...], int] = field(default_factory=dict)

    def __call__(self, workload: Workload) -> int:
        """Of the accelerator alone: the time of the host is not simulated."""
        made = deploy(workload, self.family, self.design, allow_host=self.allow_host)
        key = tuple(sha256(p.instructions.tobytes()).digest() for p in made.programs)
        if key not in self._known:
            self._known[key] = deployment.simulate(made).cycles
        return self._known[key]


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """Measures networks of one `build` against the outputs that are wanted, (images, ...)."""

    build: Build
    inputs: Mapping[str, Floats]
    wanted: Floats
    divergence: Divergence = "kl"
    cycles: Callable[[Workload], int] = lambda workload: 0

    def __post_init__(self) -> None:
        if self.divergence == "kl" and self.wanted.shape[-1] < 2:
            raise UsageError(
                "divergence 'kl' compares classes along the last axis, of which the outputs have "
                f"{self.wanted.shape[-1]}; choose 'mse'"
            )

    def option(self, layer: str, bits: Bits) -> Option:
        """One layer at `bits`, all others at 8; no name for all of them at 8."""
        return self.network(Precision(layers={layer: bits} if layer else {}), layer, bits)

    def network(self, precision: Precision, layer: str = "", bits: Bits | None = None) -> Option:
        """The whole network at `precision`."""
        made = self.build(precision)
        changed = MEASURES[self.divergence](self.wanted, outputs_of(made, self.inputs))
        return Option(layer, bits or Bits(), packed_bits(made), changed, self.cycles(made))


@dataclass(frozen=True, slots=True)
class Survey:
    """What every option of every layer does alone, from which choices under budgets follow."""

    measure: Sensitivity
    start: Option
    layers: tuple[tuple[Option, ...], ...]

    def within(self, budget: Budget) -> Mixed:
        """The best choice whose whole keeps `budget`, which layers alone may miss in cycles.

        Raises UsageError when there is none.
        """
        taken = choose(self.start, self.layers, budget)
        whole = self.measure.network(together(taken))
        limit = asked = budget.cycles
        while limit is not None and asked is not None and whole.cycles > limit:
            asked -= whole.cycles - limit
            try:
                taken = choose(self.start, self.layers, replace(budget, cycles=asked))
            except UsageError as error:
                raise UsageError(
                    f"no choice keeps a budget of {limit} cycles: the nearest takes "
                    f"{whole.cycles}; raise it, or allow fewer bits"
                ) from error
            whole = self.measure.network(together(taken))
        return self._mixed(taken, whole)

    def predicted(self, taken: Sequence[Option]) -> float:
        """The divergence of a choice, from the layers alone; estimated."""
        return self.start.divergence + sum(o.divergence - self.start.divergence for o in taken)

    def _mixed(self, taken: Sequence[Option], whole: Option) -> Mixed:
        return Mixed(
            together(taken),
            self.start,
            whole.size_bits,
            whole.cycles,
            self.predicted(taken),
            self.start.cycles + sum(option.cycles - self.start.cycles for option in taken),
            whole.divergence,
            tuple(option for layer in self.layers for option in layer),
        )


def together(taken: Sequence[Option]) -> Precision:
    """The precision of one option for each layer."""
    return Precision(layers={option.layer: option.bits for option in taken})


def survey(
    build: Build,
    inputs: Mapping[str, Floats],
    *,
    wanted: Floats | None = None,
    weights: Sequence[int] = WEIGHTS,
    activations: Sequence[int] = (EIGHT,),
    divergence: Divergence = "kl",
    cycles: Callable[[Workload], int] = lambda workload: 0,
    progress: Progress = lambda step, done, total: None,
) -> Survey:
    """Measure every layer with weights at every choice of bits, while all others have 8.

    `inputs` are real data by name, images along axis 0; `wanted` the outputs of the float network
    on them, by default those of 8 bits.  `cycles` says what a network takes, as `Cycles` does.
    Activations of 8 bits are left as `Precision()` has them, wide values included.  Divergence is
    the mean over images: `kl` of the softmax over the last axis, `mse` the squared error over the
    power of `wanted`.  Raises UsageError for bits that no precision has.
    """
    choices = [Precision(*pair) for pair in product(weights, activations)]
    base = build(Precision())
    target = outputs_of(base, inputs) if wanted is None else np.asarray(wanted, np.float64)
    measure = Sensitivity(build, inputs, target, divergence, cycles)
    layers, start = owners(base), measure.option("", Bits())
    pairs = [
        Bits(each.weight_bits, None if each.activation_bits == EIGHT else each.activation_bits)
        for each in choices
    ]
    options = []
    for done, (layer, bits) in enumerate(product(layers, pairs)):
        progress("measure layers", done, len(layers) * len(pairs))
        options.append(measure.option(layer, bits))
    progress("measure layers", len(options), len(options))
    table = (tuple(option for option in options if option.layer == name) for name in layers)
    return Survey(measure, start, tuple(table))


def owners(workload: Workload) -> tuple[str, ...]:
    """The layers with weights; of those that share one, the first, which stands for all."""
    products = [op for op in workload.ops if isinstance(op, Conv2d | MatMul)]
    first = {op.weight: op.name for op in reversed(products)}
    return tuple(op.name for op in products if first[op.weight] == op.name)


def kl(target: Floats, made: Floats) -> float:
    """Mean Kullback-Leibler divergence of the softmax over the last axis, in nats."""
    wanted, got = _log_softmax(target), _log_softmax(made)
    return float((np.exp(wanted) * (wanted - got)).sum(-1).mean())


def mse(target: Floats, made: Floats) -> float:
    """Squared error over the power of `target`."""
    return float(np.square(made - target).sum() / np.square(target).sum())


def _log_softmax(logits: Floats) -> Floats:
    shifted = logits - logits.max(-1, keepdims=True)
    made: Floats = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    return made


MEASURES: Mapping[Divergence, Callable[[Floats, Floats], float]] = {"kl": kl, "mse": mse}


def outputs_of(workload: Workload, inputs: Mapping[str, Floats]) -> Floats:
    """What the integer network returns first, in real numbers."""
    images = len(next(iter(inputs.values())))
    run = execution.runner(workload, execution.chosen(workload, images))
    values = run(reference.quantise_inputs(workload, inputs))
    made = reference.dequantise_outputs(workload, dict(values))
    return made[workload.outputs[0]]
