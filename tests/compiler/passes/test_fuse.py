"""Grouping: which nodes become one operator, and under which name."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.passes.fuse import Group, Plan
from tests.compiler.models import (
    Calls,
    EveryOperator,
    Residual,
    images,
    kinds,
    line_of,
    plan_of,
    seeded,
)

Forward = Callable[..., object]
INFINITY = float("inf")


def plan(forward: Forward, size: tuple[int, ...] = (1, 4, 6, 6)) -> Plan:
    layers = {"conv": nn.Conv2d(4, 4, 1), "other": nn.Conv2d(4, 4, 1), "fc": nn.Linear(4, 4)}
    return plan_of(Calls(forward, **layers), images(*size))


def test_a_residual_block_becomes_four_convolutions() -> None:
    made = plan_of(seeded(Residual), images(1, 3, 8, 8))
    assert [(g.name, g.kind, g.residual, g.clamp) for g in made.groups] == [
        ("stem.0", "conv", None, (0.0, INFINITY)),
        ("conv1", "conv", None, (0.0, INFINITY)),
        ("shortcut", "conv", None, None),
        ("conv2", "conv", "conv2d_3", (0.0, INFINITY)),
        ("avg_pool2d", "average_pool", None, None),
        ("reshape", "reshape", None, None),
        ("head", "linear", None, None),
    ]
    assert made.refusals == ()
    assert made.cuts == ()


def test_a_group_names_its_nodes_and_the_users_line() -> None:
    group = plan_of(seeded(Residual), images(1, 3, 8, 8)).groups[3]
    assert group.source.nodes == (
        "conv2d_2",
        "_native_batch_norm_legit_no_training_2",
        "getitem_6",
        "add",
        "relu_2",
        "clone",
    )
    assert group.source.line == line_of(Residual.forward, "self.bn2")
    assert group.label == f"conv2 ({group.source.line})"


def test_every_supported_operator_has_a_group() -> None:
    made = plan_of(seeded(EveryOperator), images(1, 3, 20, 28))
    assert made.refusals == ()
    assert set(kinds(made.groups)) == {
        "add",
        "average_pool",
        "clamp",
        "concat",
        "conv",
        "linear",
        "max_pool",
        "reshape",
        "sub",
        "unary",
    }


def _twice(y: Tensor) -> Tensor:
    return y + y


def _nothing(y: Tensor) -> Tensor:
    return y - y


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda m, x: m.conv(x).relu(), [("conv", None, (0.0, INFINITY))]),
        (lambda m, x: functional.relu6(m.conv(x)), [("conv", None, (0.0, 6.0))]),
        (lambda m, x: m.conv(x).clamp(max=1), [("conv", None, (-INFINITY, 1.0))]),
        (lambda m, x: m.conv(x).clamp(min=-1), [("conv", None, (-1.0, INFINITY))]),
        (lambda m, x: functional.hardtanh(m.conv(x)), [("conv", None, (-1.0, 1.0))]),
        (lambda m, x: (m.conv(x) + x).relu(), [("conv", "x", (0.0, INFINITY))]),
        (lambda m, x: (x + m.conv(x)).relu(), [("conv", "x", (0.0, INFINITY))]),
        (lambda m, x: m.conv(x) - x, [("conv", "x", None)]),
        (lambda m, x: x - m.conv(x), [("conv", None, None), ("sub", "conv2d", None)]),
        (lambda m, x: (x + x).relu(), [("add", "x", (0.0, INFINITY))]),
        (lambda m, x: _twice(m.conv(x)), [("conv", None, None), ("add", "conv2d", None)]),
        (lambda m, x: _nothing(m.conv(x)), [("conv", None, None), ("sub", "conv2d", None)]),
        (lambda m, x: m.conv(x) + m.other(x), [("conv", None, None), ("conv", "conv2d_1", None)]),
        (lambda m, x: m.conv(x).tanh(), [("conv", None, None), ("unary", None, None)]),
        (lambda m, x: x.relu(), [("clamp", None, (0.0, INFINITY))]),
    ],
)
def test_what_joins_a_layer(
    forward: Forward, expected: list[tuple[str, str | None, tuple[float, float] | None]]
) -> None:
    made = plan(forward)
    assert [(g.kind, g.residual, g.clamp) for g in made.groups] == expected


def test_a_value_that_others_read_ends_its_group() -> None:
    def forward(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        y = m.get_submodule("conv")(x)
        return y, y.relu()

    assert kinds(plan(forward).groups) == ["conv", "clamp"]


def test_padding_joins_the_convolutions_that_read_it() -> None:
    def forward(m: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        y = functional.pad(x, (1, 2, 3, 0))
        return m.get_submodule("conv")(y), m.get_submodule("other")(y)

    made = plan(forward)
    assert [(g.inputs, g.padding) for g in made.groups] == [(("x",), (3, 0, 1, 2))] * 2


def test_groups_of_one_name_are_numbered() -> None:
    made = plan(lambda m, x: m.conv(m.conv(m.conv(x))))
    assert [g.name for g in made.groups] == ["conv", "conv_2", "conv_3"]


def test_a_name_never_hides_an_input() -> None:
    model = nn.Module()
    model.add_module("x", nn.Conv2d(4, 4, 1))
    model.forward = lambda x: model.get_submodule("x")(x)
    made: tuple[Group, ...] = plan_of(model, images(1, 4, 5, 5)).groups
    assert [g.name for g in made] == ["x_2"]


def test_values_of_refused_nodes_are_cuts() -> None:
    made = plan(lambda m, x: m.conv(x.cumprod(1)).relu())
    assert made.cuts == ("cumprod",)
    assert [refusal.name for refusal in made.refusals] == ["cumprod"]
    assert kinds(made.groups) == ["conv"]


def test_what_groups_left_out_would_have_made_are_cuts() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return torch.relu(torch.tanh(torch.relu(x) + x))

    plan = plan_of(Calls(forward), images(1, 4, 5, 5))
    unary = next(group for group in plan.groups if group.kind == "unary")
    made = plan.without([unary])
    assert made.cuts == (unary.output,)
    assert made.groups == tuple(group for group in plan.groups if group is not unary)
    assert plan.without([]) == plan
