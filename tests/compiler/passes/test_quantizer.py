"""Observers and annotations: which values become integers, of which type and scale."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.calibration import Method, Observer
from intaglio.compiler.capture import Captured
from intaglio.compiler.passes.observers import MseObserver, PercentileObserver, RangeObserver
from intaglio.compiler.passes.quantizer import ANNOTATION, GroupQuantizer
from intaglio.compiler.pipeline import fuse
from intaglio.compiler.precision import Precision
from tests.compiler.models import Calls, graph_of, images


def types(function: object, **layers: nn.Module) -> dict[str, tuple[int, int] | str]:
    """The range (or the value shared with) that each node's value is annotated with."""
    module = graph_of(Calls(function, **layers), images(1, 4, 6, 6))  # type: ignore[arg-type]
    plan = fuse(Captured(module, {}))
    GroupQuantizer(plan, Precision(4, 6), Method()).annotate(module)
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


def test_functions_one_after_another_are_quantised_once() -> None:
    made = types(lambda m, x: torch.sin(x).relu())
    assert made == {"x": SIGNED, "composed": UNSIGNED}


@pytest.mark.parametrize("observer", get_args(Observer))
def test_results_are_observed_whole_whatever_is_asked_of_the_rest(observer: Observer) -> None:
    conv = nn.Conv2d(4, 4, 1)
    module = graph_of(Calls(lambda m, x: conv(x.relu()), conv=conv), images(1, 4, 6, 6))
    plan = fuse(Captured(module, {}))
    GroupQuantizer(plan, Precision(), Method(observer)).annotate(module)
    made = {
        node.name: node.meta[ANNOTATION].output_qspec.observer_or_fake_quant_ctr
        for node in module.graph.nodes
        if node.meta.get(ANNOTATION) and node.meta[ANNOTATION].output_qspec
    }
    assert made.pop(plan.groups[-1].output) is RangeObserver
    assert len(made) == 2
    kinds = {"minmax": RangeObserver, "percentile": PercentileObserver, "mse": MseObserver}
    assert all(issubclass(kind, kinds[observer]) for kind in made.values())
