"""Functions written out become one call: the same values, one table, and the integers close."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.graph import operation
from intaglio.compiler.passes.compose_functions import ComposeFunctions
from intaglio.compiler.passes.fold_constants import FoldConstants
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Rescale, Workload, epilogues
from tests.compiler.models import Calls, calls, graph_of, images

Function = Callable[[Tensor], Tensor]
ROOT = math.sqrt(2 / math.pi)
KNOWN: dict[str, tuple[Function, str]] = {
    "GELU of transformers": (
        lambda x: 0.5 * x * (1 + torch.tanh(ROOT * (x + 0.044715 * torch.pow(x, 3)))),
        "gelu",
    ),
    "GELU by erf": (lambda x: x * 0.5 * (1 + torch.erf(x / math.sqrt(2))), "gelu"),
    "GELU of Megatron": (
        lambda x: 0.5 * x * (1 + torch.tanh(x * 0.79788456 * (1 + 0.044715 * x * x))),
        "gelu",
    ),
    "mish by softplus": (lambda x: x * torch.tanh(functional.softplus(x)), "mish"),
    "softplus by logarithm": (lambda x: torch.log(1 + torch.exp(x)), "softplus"),
    "hard swish by relu6": (lambda x: x * functional.relu6(x + 3) / 6, "hardswish"),
    "SiLU": (lambda x: x * torch.sigmoid(x), "silu"),
    "sigmoid by exponential": (lambda x: 1 / (1 + torch.exp(-x)), "sigmoid"),
    "relu by comparison": (lambda x: torch.where(x > 0, x, 0.0), "relu"),
}
COMPOSED: dict[str, tuple[Function, bool]] = {
    "quick GELU": (lambda x: x * torch.sigmoid(1.702 * x), False),
    "leak by comparison": (lambda x: torch.where(x > 0, x, x * 0.1), False),
    "filled": (lambda x: x.masked_fill(x < -0.5, -0.5), False),
    "kept by a mask": (lambda x: x * ((x > 0) & ~(x >= 9) | (x < -9)), False),
    "kept where above 0": (lambda x: x - x * functional.relu(x).bool().float(), False),
    "soft shrinkage": (lambda x: functional.softshrink(x, 0.3), False),
    "squared relu": (lambda x: functional.relu(x) ** 2, True),
    "of two halves": (lambda x: torch.where(x > 0, x.abs(), x * x), True),
    "cube": (lambda x: x * x * x, False),
    "soft sign": (functional.softsign, False),
    "capped": (lambda x: torch.tanh(x / 2) * 2, False),
    "of its root": (lambda x: (x.abs() + 0.1).sqrt(), True),
    "power of two": (lambda x: 2.0**x, False),
    "negative of a root": (lambda x: 1 - (x.abs() + 0.1).sqrt(), False),
    "the larger of itself and a number": (lambda x: torch.maximum(x, torch.tensor(-0.5)), False),
}
FORWARDS = {
    **{name: function for name, (function, _) in KNOWN.items()},
    **{name: function for name, (function, _) in COMPOSED.items()},
}


@dataclass(frozen=True)
class Made:
    """A model that returns every function of one input, and what became of it."""

    module: GraphModule
    workload: Workload
    x: Tensor


@cache
def made() -> Made:
    x = images(1, 4, 6, 6) * 2
    model = Calls(lambda m, x: tuple(function(x) for function in FORWARDS.values())).eval()
    module = ComposeFunctions()(FoldConstants()(graph_of(model, x)))
    return Made(module, to_workload(model, (x,), calibration={"x": x.numpy()}), x)


def place(name: str) -> int:
    """Which of the results belongs to a function."""
    return list(FORWARDS).index(name)


@pytest.mark.parametrize("name", FORWARDS)
def test_one_call_computes_the_same(name: str) -> None:
    index = place(name)
    result = made().module.graph.output_node().args[0][index]  # type: ignore[index]
    assert isinstance(result, Node)
    assert [node.op for node in result.all_input_nodes] == ["placeholder"]
    assert operation(result).split(".")[0] == (KNOWN[name][1] if name in KNOWN else "composed")
    torch.testing.assert_close(made().module(made().x)[index], FORWARDS[name](made().x))


@pytest.mark.parametrize("name", FORWARDS)
def test_one_table_stays_close_to_the_float_function(name: str) -> None:
    workload, x = made().workload, made().x
    [op] = [op for op in workload if op.output == workload.outputs[place(name)]]
    assert isinstance(op, Rescale)
    assert op.input == "x"
    integers = reference.quantise_inputs(workload, {"x": x.numpy()})
    found = reference.dequantise_outputs(workload, reference.run(workload, integers))[op.output]
    wanted = FORWARDS[name](x).numpy()
    assert np.square(found - wanted).sum() < 10**-3.2 * np.square(wanted).sum()
    if name in COMPOSED:
        assert (workload.tensor(op.output).element.encoding == "unsigned") == COMPOSED[name][1]


def test_products_sums_and_clamps_with_numbers_stay_apart() -> None:
    x = images(1, 4, 6, 6)
    module = graph_of(Calls(lambda m, x: functional.relu6(-x * 2 + 1) / 3), x)
    assert "composed" not in calls(ComposeFunctions()(FoldConstants()(module)))


def test_what_something_else_reads_is_a_value_of_its_own() -> None:
    def forward(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(1.5 * x)
        return gate, x * gate

    x = images(1, 4, 6, 6)
    module = graph_of(Calls(forward), x)
    before = module(x)
    composed = ComposeFunctions()(FoldConstants()(module))
    assert calls(composed) == ["composed", "mul"]
    torch.testing.assert_close(composed(x), before)


def test_functions_of_two_tensors_or_of_channels_stay_apart() -> None:
    def forward(module: nn.Module, x: Tensor) -> Tensor:
        return torch.tanh(x * torch.arange(1.0, 5.0)[:, None, None]) * torch.sigmoid(
            x.amax(1, True)
        )

    x = images(1, 4, 6, 6)
    module = graph_of(Calls(forward), x)
    before = module(x)
    composed = ComposeFunctions()(FoldConstants()(module))
    assert "composed" not in calls(composed)
    torch.testing.assert_close(composed(x), before)


def test_a_network_of_unknown_values_has_them_too() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(4, 4), Calls(lambda m, x: x * torch.sigmoid(2 * x))).eval()
    workload = to_workload(model, (torch.empty(1, 4, device="meta"),))
    assert not workload.emittable
    assert [epilogue.table is not None for op in workload for epilogue in epilogues(op)] == [True]


def test_what_is_added_ahead_of_a_function_is_no_part_of_it() -> None:
    """A bias that is a sum of its own, as in ONNX files, and a residual."""
    bias = nn.Parameter(torch.linspace(-1, 1, 8))
    model = Calls(lambda m, x: KNOWN["GELU by erf"][0](x.tanh() + m.bias) + x)
    model.bias = bias
    module = graph_of(model, images(1, 8))
    assert calls(ComposeFunctions()(module)) == ["tanh", "add", "gelu", "add"]

    model = Calls(lambda m, x: KNOWN["SiLU"][0](x + x.flip(1)))
    module = graph_of(model, images(1, 8))
    assert calls(ComposeFunctions()(module)) == ["flip", "add", "silu"]
