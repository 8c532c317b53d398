"""Weights to integers with the error of rounding taken up where the data allow it.

Both steps see one layer at a time and only moments of its real inputs; neither costs hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.fx import GraphModule, Node

from intaglio.compiler.calibration import Method
from intaglio.compiler.graph import argument, parameter
from intaglio.compiler.passes.layer_inputs import Moments
from intaglio.compiler.passes.observers import PerChannelWeightObserver

DAMPING = 0.01
"""Added to the diagonal of the covariance, as a share of its mean: Frantar et al., 2022."""
BLOCK = 128
"""How many inputs are rounded before the error reaches all later ones."""


def round_weights(prepared: GraphModule, layer: Node, moments: Moments, method: Method) -> None:
    """Put the weights of `layer` onto the grid of its scales, and correct its bias.

    conv(x, w, b)  ->  conv(x, rounded w, b - (rounded w - w) * mean of x)

    `prepared` is changed; parameters shared with the user's model are not.
    """
    observed = cast(Node, layer.args[1])
    observer = prepared.get_submodule(str(observed.target))
    assert isinstance(observer, PerChannelWeightObserver)
    # Layers that share a weight share its moments too: each finds the same integers.
    given = cast(Node, observed.meta.setdefault("unrounded", observed.args[0]))
    weight = parameter(prepared, given).double()
    rows = weight.flatten(1).reshape(len(moments.mean), -1, moments.mean.shape[1])
    scales = observer.calculate_qparams()[0].double().reshape(*rows.shape[:2], 1)
    steps = rows / scales
    if method.rounding == "compensated":
        integers = compensated(steps, moments.covariance, observer.integers)
    else:
        integers = observer.integers(steps)
    rounded = integers * scales
    set_constant(prepared, observed, 0, f"{layer.name}_rounded", rounded.reshape(weight.shape))
    if method.correct_bias:
        excess = ((rounded - rows) @ moments.mean[:, :, None]).flatten()
        bias = argument(layer, 2, "bias")
        old = parameter(prepared, bias).double() if isinstance(bias, Node) else 0.0
        set_constant(prepared, layer, 2, f"{layer.name}_corrected", old - excess)


def compensated(steps: Tensor, covariance: Tensor, rounded: Callable[[Tensor], Tensor]) -> Tensor:
    """`steps` (G, K, D) as integers, by the rule `rounded`, for inputs of `covariance` (G, D, D).

    Inputs are rounded one after another, and the later ones take up the error so far, as least
    squares says: GPTQ (Frantar et al., 2022), after optimal brain surgeon.  With the bias
    corrected too, the covariance is what counts, not the second moment.
    """
    inputs = steps.shape[2]
    spread = covariance.diagonal(dim1=1, dim2=2)
    order = spread.sum(0).argsort(descending=True, stable=True)
    damping = (DAMPING * spread.mean(1)).clamp(min=torch.finfo(torch.float64).tiny ** 0.5)
    damped = covariance + damping[:, None, None] * torch.eye(inputs, dtype=torch.float64)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[:, order][:, :, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left, made = steps[:, :, order].clone(), torch.empty_like(steps)
    for start in range(0, inputs, BLOCK):
        stop = min(start + BLOCK, inputs)
        errors = torch.empty_like(left[:, :, start:stop])
        for column in range(start, stop):
            made[:, :, column] = rounded(left[:, :, column])
            error = (left[:, :, column] - made[:, :, column]) / factor[:, column, column, None]
            errors[:, :, column - start] = error
            left[:, :, column:stop] -= error[:, :, None] * factor[:, None, column, column:stop]
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    result: Tensor = made[:, :, order.argsort()]
    return result


def set_constant(module: GraphModule, user: Node, index: int, name: str, value: Tensor) -> None:
    """Let `user` read a new float32 constant as its argument `index`."""
    module.register_buffer(name, value.float())
    with module.graph.inserting_before(user):
        constant = module.graph.get_attr(name)
    args = [*user.args, *[None] * (index + 1 - len(user.args))]
    args[index] = constant
    user.args = tuple(args)
