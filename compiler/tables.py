"""The unary functions that become tables, as PyTorch computes them in float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.fx import Node
from torch.nn import functional

from intaglio.compiler.graph import argument
from intaglio.compiler.numerics import Floats

aten = torch.ops.aten
Function = Callable[[Floats], Floats]


def unary_function(node: Node) -> Function:
    """The function that a call of a table operator computes, on float64 arrays."""
    if node.target is aten.gelu.default:
        approximate = str(argument(node, 1, "approximate", "none"))
        return _on_arrays(lambda x: functional.gelu(x, approximate=approximate))
    return _on_arrays(FUNCTIONS[node.target])


def _on_arrays(function: Callable[[Tensor], Tensor]) -> Function:
    return lambda values: np.asarray(function(torch.from_numpy(values)).numpy(), np.float64)


FUNCTIONS: dict[object, Callable[[Tensor], Tensor]] = {
    aten.hardsigmoid.default: functional.hardsigmoid,
    aten.hardswish.default: functional.hardswish,
    aten.sigmoid.default: torch.sigmoid,
    aten.silu.default: functional.silu,
    aten.tanh.default: torch.tanh,
}
