"""The functions behind tables are PyTorch's own, from the captured call to the last integer."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import Node
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.numerics import dequantise, quantise
from intaglio.compiler.passes.fuse import KINDS
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.tables import UNARY, composed, is_non_negative, raised, unary_function
from intaglio.compiler.workload import Rescale, Workload
from intaglio.errors import UnsupportedError
from tests.compiler.models import Calls, graph_of, images, line_of

Unary = Callable[[Tensor], Tensor]
EVERYWHERE: dict[str, Unary] = {
    "abs": torch.abs,
    "asinh": torch.asinh,
    "atan": torch.atan,
    "ceil": torch.ceil,
    "celu": lambda x: functional.celu(x, 1.3),
    "cos": torch.cos,
    "cosh": torch.cosh,
    "elu": lambda x: functional.elu(x, 0.7),
    "erf": torch.erf,
    "erfc": torch.erfc,
    "exp": torch.exp,
    "exp2": torch.exp2,
    "expm1": torch.expm1,
    "floor": torch.floor,
    "gelu": functional.gelu,
    "gelu tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "hardsigmoid": functional.hardsigmoid,
    "hardswish": functional.hardswish,
    "leaky relu": lambda x: functional.leaky_relu(x, 0.2),
    "log sigmoid": functional.logsigmoid,
    "logit": lambda x: torch.logit(x, 0.01),
    "mish": functional.mish,
    "power": lambda x: x**3,
    "round": torch.round,
    "selu": functional.selu,
    "sigmoid": torch.sigmoid,
    "sign": torch.sign,
    "silu": functional.silu,
    "sin": torch.sin,
    "sinh": torch.sinh,
    "softplus": lambda x: functional.softplus(x, 2.0),
    "tan": torch.tan,
    "tanh": torch.tanh,
    "threshold": lambda x: functional.threshold(x, 0.25, -1.0),
    "trunc": torch.trunc,
}
PARTLY: dict[str, Unary] = {
    "acos": torch.acos,
    "acosh": torch.acosh,
    "asin": torch.asin,
    "atanh": torch.atanh,
    "log": torch.log,
    "log10": torch.log10,
    "log1p": torch.log1p,
    "log2": torch.log2,
    "reciprocal": torch.reciprocal,
    "reciprocal root": torch.rsqrt,
    "root": torch.sqrt,
}
FUNCTIONS = EVERYWHERE | PARTLY


def together(functions: dict[str, Unary]) -> nn.Module:
    """A model that returns every function of its input, in order."""
    return Calls(lambda m, x: tuple(function(x) for function in functions.values())).eval()


@pytest.fixture(scope="module")
def captured() -> dict[str, Node]:
    """The call that each function is captured as."""
    results = graph_of(together(FUNCTIONS), images(1, 4)).graph.output_node().args[0]
    return dict(zip(FUNCTIONS, cast("tuple[Node, ...]", results), strict=True))


@pytest.fixture(scope="module")
def tables() -> dict[str, tuple[Workload, Rescale]]:
    """The operator of each function that takes every number, and the workload that holds it."""
    data = torch.arange(-128, 128).reshape(1, 256) / 64.0
    workload = to_workload(together(EVERYWHERE), (data,), calibration={"x": data.numpy()})
    made = {op.output: op for op in workload.ops if isinstance(op, Rescale)}
    ops = [made[output] for output in workload.outputs]
    return {name: (workload, op) for name, op in zip(EVERYWHERE, ops, strict=True)}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_call_gives_its_function(name: str, captured: dict[str, Node]) -> None:
    call = captured[name]
    values = np.linspace(-6, 6, 101)
    expected = FUNCTIONS[name](torch.from_numpy(values)).numpy()
    np.testing.assert_array_equal(unary_function(call)(values), expected)
    assert is_non_negative(call) == bool((expected[~np.isnan(expected)] >= 0).all())


def test_every_table_operator_is_tried(captured: dict[str, Node]) -> None:
    tried = {call.target for call in captured.values()}
    unary = {target for target, kind in KINDS.items() if kind == "unary"}
    assert tried == UNARY == unary - {composed, raised}


@pytest.mark.parametrize("name", EVERYWHERE)
def test_every_integer_of_the_input_is_rounded_once(
    name: str, tables: dict[str, tuple[Workload, Rescale]]
) -> None:
    workload, op = tables[name]
    source, output = workload.tensor(op.input), workload.tensor(op.output)
    integers = np.arange(-128, 128).reshape(1, 256)
    made = reference.compute(workload, op, {op.input: integers})
    real = EVERYWHERE[name](torch.from_numpy(dequantise(integers, source.scale))).numpy()
    assert np.array_equal(made, quantise(real, output.scale, output.element))
    assert len(np.unique(made)) > 2


COMPOSED: dict[str, Unary] = {
    "softsign": functional.softsign,
    "tanhshrink": functional.tanhshrink,
    "root of a sum of squares": lambda x: (x * x + 0.5).sqrt(),
    "logarithm of a sigmoid": lambda x: (torch.sigmoid(x) + 0.1).log(),
    "quotient": lambda x: torch.sin(x) / (x * x + 1),
    "gated linear unit": lambda x: functional.glu(x, 1),
    "square root of a cube": lambda x: x.abs() ** 1.5,
}


@pytest.mark.parametrize("name", COMPOSED)
def test_functions_that_pytorch_composes_stay_close(name: str) -> None:
    function = COMPOSED[name]
    data = images(1, 512)
    model = Calls(lambda m, x: function(x)).eval()
    workload = to_workload(model, (data,), calibration={"x": data.numpy()})
    entries = reference.quantise_inputs(workload, {"x": data.numpy()})
    made = reference.dequantise_outputs(workload, reference.run(workload, entries))
    wanted = function(data).numpy()
    error = made[workload.outputs[0]] - wanted
    assert np.square(error).sum() < 10**-2.5 * np.square(wanted).sum()


def test_an_infinite_value_becomes_the_end_of_the_type() -> None:
    data = images(1, 64).abs() + 0.5
    model = Calls(lambda m, x: torch.log(torch.relu(x))).eval()
    workload = to_workload(model, (data,), calibration={"x": data.numpy()})
    output = workload.tensor(workload.outputs[0])
    made = reference.run(workload, {"x": np.full((1, 64), -128)})[output.name]
    assert np.array_equal(made, np.full((1, 64), output.element.lo))


class Root(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.sqrt(x)


def test_a_function_that_is_no_number_somewhere_is_refused() -> None:
    data = torch.full((1, 4), 1.27)
    line = line_of(Root.forward, "torch.sqrt")
    with pytest.raises(UnsupportedError) as caught:
        to_workload(Root().eval(), (data,), calibration={"x": data.numpy()})
    assert str(caught.value) == (
        f"sqrt ({line}): its function is not a number at -1.28, which its input's type holds; keep "
        "the input inside the function's domain, or clamp it first"
    )
