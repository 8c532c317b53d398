"""Bits for each layer: what every choice alone does to the outputs, and the best under a budget.

What layers do alone adds up to what they do together, nearly, as errors of weights do not; so the
choice under a budget of size is a knapsack, which is solved exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import execution, reference
from intaglio.compiler.precision import Bits, Precision
from intaglio.compiler.workload import Conv2d, MatMul, Workload
from intaglio.errors import UsageError
from intaglio.search.codesign import packed_bits

Build = Callable[[Precision], Workload]
"""The exact integer network at a precision, such as `to_workload` of one model makes."""
Floats = NDArray[np.floating]
Divergence = Literal["kl", "mse"]
Progress = Callable[[str, int, int], None]
"""Called with a step's text, what is done and the total."""


@dataclass(frozen=True, slots=True)
class Option:
    """Bits for one layer, while all others have 8: what is gained and what it costs.

    size_bits   of the whole network, as `packed_bits` counts
    divergence  of the outputs on the data, measured
    """

    layer: str
    bits: Bits
    size_bits: int
    divergence: float


@dataclass(frozen=True, slots=True)
class Mixed:
    """The chosen precision.

    predicted  divergence, from the layers alone; estimated
    measured   divergence of the whole network at this precision
    """

    precision: Precision
    size_bits: int
    predicted: float
    measured: float
    options: tuple[Option, ...]


def mixed_precision(
    build: Build,
    inputs: Mapping[str, Floats],
    *,
    budget_bits: int,
    wanted: Floats | None = None,
    weights: Sequence[int] = (2, 3, 4, 8),
    activations: Sequence[int] = (8,),
    divergence: Divergence = "kl",
    progress: Progress = lambda step, done, total: None,
) -> Mixed:
    """The bits of every layer with weights at which the outputs change least, within a size.

    `inputs` are real data by name, images along axis 0; `wanted` the outputs of the float network
    on them, by default those of 8 bits.  `budget_bits` bounds `packed_bits` of the network.
    Divergence is the mean over images: `kl` of the softmax over the last axis, `mse` the squared
    error over the power of `wanted`.  Raises UsageError when no choice fits the budget.
    """
    base = build(Precision())
    outputs = _outputs(base, inputs)
    target = outputs if wanted is None else np.asarray(wanted, np.float64)
    start = Option("", Bits(8, 8), packed_bits(base), MEASURES[divergence](target, outputs))
    # Layers that share a weight share its bits: the first of them stands for all.
    products = [op for op in base.ops if isinstance(op, Conv2d | MatMul)]
    owners = {op.weight: op.name for op in reversed(products)}
    layers = [op.name for op in products if owners[op.weight] == op.name]
    candidates = [Bits(*pair) for pair in product(weights, activations)]
    options = []
    for done, (layer, bits) in enumerate(product(layers, candidates)):
        progress("measure layers", done, len(layers) * len(candidates))
        made = build(Precision(layers={layer: bits}))
        changed = MEASURES[divergence](target, _outputs(made, inputs))
        options.append(Option(layer, bits, packed_bits(made), changed))
    chosen = choose(
        start, [[o for o in options if o.layer == name] for name in layers], budget_bits
    )
    precision = Precision(layers={option.layer: option.bits for option in chosen})
    made = build(precision)
    return Mixed(
        precision,
        packed_bits(made),
        start.divergence + sum(option.divergence - start.divergence for option in chosen),
        MEASURES[divergence](target, _outputs(made, inputs)),
        tuple(options),
    )


def choose(
    start: Option, layers: Sequence[Sequence[Option]], budget_bits: int
) -> tuple[Option, ...]:
    """One option for each layer: the least sum of divergences within the budget, exactly.

    Sizes and divergences count as differences from `start`.  Partial choices that another one
    beats in both are dropped, layer by layer.  Raises UsageError when nothing fits.
    """
    front: list[tuple[int, float, tuple[Option, ...]]] = [(start.size_bits, 0.0, ())]
    for options in layers:
        grown = [
            (
                size + option.size_bits - start.size_bits,
                cost + option.divergence - start.divergence,
                (*taken, option),
            )
            for size, cost, taken in front
            for option in options
        ]
        front = []
        for candidate in sorted(grown, key=lambda entry: entry[:2]):
            if not front or candidate[1] < front[-1][1]:
                front.append(candidate)
    if front[0][0] > budget_bits:
        raise UsageError(
            f"a budget of {budget_bits} bits is below {front[0][0]}, the least that these bits "
            "take; raise it, or allow fewer bits"
        )
    return [entry for entry in front if entry[0] <= budget_bits][-1][2]


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


def _outputs(workload: Workload, inputs: Mapping[str, Floats]) -> Floats:
    """What the integer network returns first, in real numbers."""
    images = len(next(iter(inputs.values())))
    run = execution.runner(workload, execution.chosen(workload, images))
    values = run(reference.quantise_inputs(workload, inputs))
    made = reference.dequantise_outputs(workload, dict(values))
    return made[workload.outputs[0]]
