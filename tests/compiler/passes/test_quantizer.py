"""Observers and annotations: which values become integers, of which type and scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.capture import Captured
from intaglio.compiler.passes.quantizer import (
    ANNOTATION,
    GroupQuantizer,
    PerChannelWeightObserver,
    RangeObserver,
)
from intaglio.compiler.pipeline import fuse
from intaglio.compiler.precision import Precision
from tests.compiler.models import Calls, graph_of, images


def observed(values: Tensor, lo: int, hi: int) -> RangeObserver:
    observer = RangeObserver(torch.int8, lo, hi)
    assert observer(values) is values
    return observer


@pytest.mark.parametrize(
    ("values", "lo", "hi", "scale"),
    [
        ([-1.0, 2.0], -128, 127, 2 / 127),
        ([-3.0, 2.0], -128, 127, 3 / 128),
        ([0.0, 2.0], 0, 255, 2 / 255),
        ([0.0, 0.0], -8, 7, 1 / 7),
    ],
)
def test_the_range_is_spread_over_the_type(
    values: list[float], lo: int, hi: int, scale: float
) -> None:
    observer = observed(torch.tensor(values), lo, hi)
    made, zero_point = observer.calculate_qparams()
    assert float(made) == observer.scale == pytest.approx(scale)
    assert int(zero_point) == 0


def test_the_range_widens_and_a_chosen_scale_wins() -> None:
    observer = observed(torch.tensor([0.0, 1.0]), 0, 255)
    observer(torch.tensor([0.5, 4.0]))
    assert observer.scale == 4 / 255
    observer.chosen = 0.5
    assert observer.scale == 0.5


def test_values_that_are_not_finite_are_noticed() -> None:
    assert observed(torch.tensor([1.0]), 0, 255).finite
    for value in (float("nan"), float("inf")):
        observer = RangeObserver(torch.int8, 0, 255)
        observer(torch.tensor([1.0, value]))
        assert not observer.finite


def test_zeros_pass_for_values_that_are_not_finite() -> None:
    observer = RangeObserver(torch.int8, -128, 127)
    values = torch.tensor([2.0, float("nan"), float("-inf")])
    assert observer(values).tolist() == [2.0, 0.0, 0.0]
    assert (observer.lowest, observer.highest) == (0.0, 2.0)


def test_weights_have_a_scale_a_channel_and_dead_channels_one_too() -> None:
    observer = PerChannelWeightObserver(torch.int8, -7, 7)
    observer(torch.tensor([[1.0, -14.0], [0.0, 0.0], [3.5, 0.0]]))
    scales, zero_points = observer.calculate_qparams()
    np.testing.assert_allclose(scales, [2.0, 2.0, 0.5])
    assert zero_points.tolist() == [0, 0, 0]


def types(function: object, **layers: nn.Module) -> dict[str, tuple[int, int] | str]:
    """The range (or the value shared with) that each node's value is annotated with."""
    module = graph_of(Calls(function, **layers), images(1, 4, 6, 6))  # type: ignore[arg-type]
    plan = fuse(Captured(module, {}))
    GroupQuantizer(plan, Precision(4, 6)).annotate(module)
    made: dict[str, tuple[int, int] | str] = {}
    for node in module.graph.nodes:
        annotation = node.meta.get(ANNOTATION)
        if annotation is None:
            continue
        for weight, spec in annotation.input_qspec_map.items():
            made[weight.name] = spec.quant_min, spec.quant_max
        spec = annotation.output_qspec
        if hasattr(spec, "edge_or_node"):
            made[node.name] = f"as {spec.edge_or_node.name}"
        elif spec is not None:
            made[node.name] = spec.quant_min, spec.quant_max
    return made


SIGNED, UNSIGNED, WEIGHT = (-32, 31), (0, 63), (-7, 7)


def test_a_layer_is_annotated_at_its_end() -> None:
    conv = nn.Conv2d(4, 4, 1)
    made = types(lambda m, x: (conv(x) + x).relu(), conv=conv)
    assert made == {"x": SIGNED, "conv_weight": WEIGHT, "relu": UNSIGNED}


def test_what_cannot_be_negative_is_unsigned() -> None:
    def forward(m: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
        a, b = x.relu(), x.sigmoid()
        return (
            a + b,
            a - b,
            torch.cat([a, b], 1),
            torch.cat([a, x], 1),
            a.tanh(),
            functional.hardsigmoid(a),
            x.clamp(1.0, 2.0),
        )

    made = types(forward)
    assert made == {
        "x": SIGNED,
        "relu": UNSIGNED,
        "sigmoid": UNSIGNED,
        "add": UNSIGNED,
        "sub": SIGNED,
        "cat": UNSIGNED,
        "cat_1": SIGNED,
        "tanh": SIGNED,
        "hardsigmoid": UNSIGNED,
        "clamp": UNSIGNED,
    }


def test_pools_and_reshapes_share_the_scale_of_their_input() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        y = functional.avg_pool2d(functional.max_pool2d(x, 2), 3)
        return y.flatten(1)

    assert types(forward) == {
        "x": SIGNED,
        "max_pool2d": "as x",
        "avg_pool2d": "as max_pool2d",
        "view": "as avg_pool2d",
    }


def test_a_cut_is_quantised_where_an_operator_reads_it() -> None:
    made = types(lambda m, x: torch.sin(x).relu())
    assert made == {"x": SIGNED, "sin": SIGNED, "relu": UNSIGNED}
