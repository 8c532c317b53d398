"""Canonical spelling: synonyms disappear, values stay."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.graph import argument, origins
from intaglio.compiler.passes.canonicalize import Canonicalize
from intaglio.compiler.passes.fold_constants import FoldConstants
from tests.compiler.models import Calls, EveryOperator, calls, graph_of, images, seeded

Forward = Callable[[nn.Module, Tensor], object]


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda m, x: torch.relu(functional.dropout(x, training=False).clone()), ["relu"]),
        (lambda m, x: torch.relu(x.view(1, 4, 6, 6)), ["relu"]),
        (lambda m, x: x.expand(1, 4, 6, 6).relu(), ["relu"]),
        (lambda m, x: torch.flatten(x.relu(), 1), ["relu", "reshape"]),
        (lambda m, x: x.relu().reshape(1, 4, 36).flatten(1).unsqueeze(2), ["relu", "reshape"]),
        (lambda m, x: x.relu().reshape(1, 4, 36).view(1, 4, 6, 6), ["relu"]),
        (lambda m, x: functional.adaptive_avg_pool2d(x, 1), ["avg_pool2d"]),
        (lambda m, x: functional.adaptive_avg_pool2d(x, (3, 2)), ["avg_pool2d"]),
        (lambda m, x: functional.adaptive_avg_pool2d(x.relu(), 6), ["relu"]),
        (
            lambda m, x: functional.adaptive_avg_pool2d(x, 4),
            2 * ["permute", "reshape", "linear", "reshape"],
        ),
        (lambda m, x: x.mean((2, 3)), ["avg_pool2d", "reshape"]),
        (lambda m, x: x.mean((-1, -2), keepdim=True), ["avg_pool2d"]),
        (lambda m, x: x.mean(1), ["mean"]),
        (lambda m, x: functional.pad(x, (1, 2, 0, 1)), ["constant_pad_nd"]),
        (lambda m, x: functional.pad(x, (1, 1, 0, 0), "reflect"), None),
        (lambda m, x: functional.max_pool2d(x, 2).relu(), ["relu", "max_pool2d"]),
        (lambda m, x: functional.relu6(functional.max_pool2d(x, 2)), ["hardtanh", "max_pool2d"]),
        (lambda m, x: functional.avg_pool2d(x, 2).relu(), ["avg_pool2d", "relu"]),
        (lambda m, x: x.flatten(1).relu(), ["relu", "reshape"]),
        (lambda m, x: functional.gelu(x.flatten(1), approximate="tanh"), ["gelu", "reshape"]),
        (lambda m, x: x.flatten(1).clamp(-1, 0.5).tanh(), ["clamp", "tanh", "reshape"]),
        (lambda m, x: x.view(1, 4, 36).relu().flatten(1), ["relu", "reshape"]),
        (
            lambda m, x: functional.max_pool2d(x, 2).flatten(1).relu(),
            ["relu", "max_pool2d", "reshape"],
        ),
        (
            lambda m, x: x.relu().view(2, 2, 6, 6).view(1, 2, 12, 6).tanh(),
            ["relu", "tanh", "reshape"],
        ),
    ],
)
def test_one_spelling(forward: Forward, expected: list[str] | None) -> None:
    x = images(1, 4, 6, 6)
    module = graph_of(Calls(forward), x)
    before = module(x)
    made = Canonicalize()(module)
    torch.testing.assert_close(made(x), before)
    if expected is not None:
        assert calls(made) == expected


@pytest.mark.parametrize(("kernel", "padded"), [(3, False), ((2, 3), True), (4, True)])
def test_same_padding_becomes_numbers(kernel: int | tuple[int, int], padded: bool) -> None:
    conv = nn.Conv2d(4, 4, kernel, padding="same", dilation=1, groups=2)
    x = images(1, 4, 6, 6)
    module = graph_of(Calls(lambda m, x: m.conv(x), conv=conv), x)
    before = module(x)
    made = Canonicalize()(module)
    torch.testing.assert_close(made(x), before)
    assert calls(made) == ["constant_pad_nd"] * padded + ["conv2d"]
    assert all(not isinstance(arg, str) for node in made.graph.nodes for arg in node.args)


def test_values_of_a_whole_model_stay() -> None:
    model, x = seeded(EveryOperator), images(1, 3, 20, 28)
    made = Canonicalize()(graph_of(model, x))
    torch.testing.assert_close(made(x), model(x))


def test_what_is_removed_is_remembered() -> None:
    module = graph_of(Calls(lambda m, x: x.relu().clone().flatten(1).unsqueeze(0)), images(1, 4, 2))
    made = Canonicalize()(module)
    names = {n.name: origins(n) for n in made.graph.nodes if n.op == "call_function"}
    assert names == {"relu": ("relu", "clone"), "unsqueeze": ("unsqueeze", "view")}


def test_a_function_moves_ahead_of_a_view_that_others_read() -> None:
    def forward(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(1)
        return flat.tanh(), module.get_submodule("fc")(flat)

    x = images(1, 4, 2, 3)
    module = graph_of(Calls(forward, fc=nn.Linear(24, 5)), x)
    before = module(x)
    made = Canonicalize()(module)
    torch.testing.assert_close(made(x), before)
    assert sorted(calls(made)) == ["linear", "reshape", "reshape", "tanh"]
    (tanh,) = made.graph.find_nodes(op="call_function", target=torch.ops.aten.tanh.default)
    (moved,) = tanh.users
    assert (origins(tanh), origins(moved)) == (("tanh",), ("view",))


def test_a_function_stays_behind_a_view_of_what_no_operator_may_have() -> None:
    module = graph_of(Calls(lambda m, x: x.view(1, 4, 6, 6).relu()), images(1, 4, 36))
    assert calls(Canonicalize()(module)) == ["reshape", "relu"]


def test_a_shared_view_is_kept_for_its_other_user() -> None:
    def forward(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.relu().flatten(1)
        return flat.tanh(), flat.view(1, 6, 4).sigmoid()

    x = images(1, 4, 2, 3)
    module = graph_of(Calls(forward), x)
    before = module(x)
    torch.testing.assert_close(Canonicalize()(module)(x), before)


def test_a_constant_added_to_a_product_is_the_bias_of_its_layer() -> None:
    matrix, bias = images(6, 3), images(1, 3)

    class Sums(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.matrix, self.bias = nn.Parameter(matrix), nn.Parameter(bias)

        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            once, twice = x @ self.matrix, x.tanh() @ self.matrix
            return self.bias + x[0] @ self.matrix, once + self.bias[0], twice + self.bias, twice

    x = images(1, 4, 6)
    module = graph_of(Sums(), x)
    before = module(x)
    made = Canonicalize()(FoldConstants()(module))
    torch.testing.assert_close(made(x), before)
    layers = made.graph.find_nodes(op="call_function", target=torch.ops.aten.linear.default)
    biased = [layer for layer in layers if argument(layer, 2, "bias") is not None]
    assert (len(layers), len(biased)) == (3, 2)
    assert calls(made).count("add") == 1


def test_factors_ahead_of_a_product_become_one_behind_it() -> None:
    x = images(1, 4, 6)
    module = graph_of(Calls(lambda m, x: (x * 0.5) @ (x.transpose(1, 2) * 3)), x)
    before = module(x)
    made = Canonicalize()(module)
    torch.testing.assert_close(made(x), before)
    assert calls(made) == ["permute", "matmul", "mul"]
    (factor,) = made.graph.find_nodes(op="call_function", target=torch.ops.aten.mul.Scalar)
    assert factor.args[1] == 1.5
