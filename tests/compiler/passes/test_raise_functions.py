"""Functions raised above 0: the same results in floats, and unsigned integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.fx import Interpreter
from torch.nn import functional

from intaglio.compiler.capture import capture
from intaglio.compiler.passes.raise_functions import LOWEST, RaiseFunctions
from intaglio.compiler.pipeline import to_workload
from tests.compiler.models import calls

Function = Callable[[Tensor], Tensor]


class Between(nn.Module):
    """A function between two layers, or read by something else as well."""

    def __init__(self, function: Function, bias: bool = True, shared: bool = False) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(6, 9, bias), nn.Linear(9, 6, bias)
        self.function, self.shared = function, shared

    def forward(self, x: Tensor) -> Tensor:
        y = self.function(self.up(x))
        made: Tensor = self.down(y)
        return made + y.sum(-1, keepdim=True) if self.shared else made


FUNCTIONS: list[Function] = [
    functional.gelu,
    lambda x: functional.gelu(x, approximate="tanh"),
    functional.hardswish,
    functional.silu,
    functional.mish,
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("bias", [True, False])
def test_a_raised_function_gives_the_same_results(function: Function, bias: bool) -> None:
    torch.manual_seed(0)
    model, x = Between(function, bias).eval(), torch.randn(1, 50, 6) * 4
    graph = RaiseFunctions()(capture(model, (x,)).module)
    assert "raised" in calls(graph)
    with torch.no_grad():
        made, wanted = Interpreter(graph).run(x)[0], model(x)
    assert torch.allclose(made, wanted, atol=1e-3)


def test_its_values_are_unsigned() -> None:
    torch.manual_seed(0)
    model, x = Between(functional.gelu).eval(), torch.randn(1, 50, 6) * 4
    up, down = to_workload(model, (x,), calibration={"x": x.numpy()})
    assert up.source.nodes == ("linear", "gelu")
    workload = to_workload(model, (x,), calibration={"x": x.numpy()})
    assert str(workload.tensor(up.output).element) == "u8"
    assert str(workload.tensor(down.output).element) == "i8"


def test_a_function_that_others_read_stays_as_it_is() -> None:
    x = torch.randn(1, 50, 6)
    model = Between(functional.gelu, shared=True).eval()
    assert calls(RaiseFunctions()(capture(model, (x,)).module))[:2] == ["linear", "gelu"]


@pytest.mark.parametrize("operator", LOWEST)
def test_the_bounds_are_close_below_the_least_values(operator: Callable[[Tensor], Tensor]) -> None:
    least = float(operator(torch.linspace(-6, 2, 1 << 20, dtype=torch.float64)).min())
    assert 0 <= least - LOWEST[operator] < 1e-4
