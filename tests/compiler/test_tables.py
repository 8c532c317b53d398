"""The functions behind tables are PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from intaglio.compiler.passes.fuse import UNARY
from intaglio.compiler.tables import FUNCTIONS, unary_function
from tests.compiler.models import Calls, graph_of, images

FORWARDS: list[Callable[[Tensor], Tensor]] = [
    torch.sigmoid,
    torch.tanh,
    functional.hardsigmoid,
    functional.hardswish,
    functional.silu,
    functional.gelu,
    lambda x: functional.gelu(x, approximate="tanh"),
]


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_call_gives_its_function(forward: Callable[[Tensor], Tensor]) -> None:
    module = graph_of(Calls(lambda m, x: forward(x)), images(1, 4))
    (call,) = [node for node in module.graph.nodes if node.op == "call_function"]
    assert call.target in UNARY
    values = np.linspace(-6, 6, 101)
    expected = forward(torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(unary_function(call)(values), expected)


def test_every_table_operator_has_a_function() -> None:
    assert set(FUNCTIONS) | {torch.ops.aten.gelu.default} == UNARY
