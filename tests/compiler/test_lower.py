"""The integer workload against the quantised graph it came from, at tolerance 0 off the ties."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.lower import lower
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import (
    Concat,
    Conv2d,
    Eltwise,
    MatMul,
    Pool,
    Rescale,
    Reshape,
    Workload,
    epilogues,
    inputs,
)
from intaglio.errors import UnsupportedError
from tests.compiler.fake_quantised import compare, quantised
from tests.compiler.models import (
    Calls,
    EveryOperator,
    InvertedResidual,
    Residual,
    TwoInputs,
    images,
    line_of,
    seeded,
)


@pytest.mark.parametrize("precision", [Precision(8, 8), Precision(4, 8), Precision(4, 4)])
def test_a_residual_network_is_its_fake_quantised_form(precision: Precision) -> None:
    made = compare(seeded(Residual), images(1, 3, 16, 16), precision=precision)
    assert made.compared > 3000
    assert max(made.excess.values()) < 1e-3


@pytest.mark.parametrize("precision", [Precision(8, 8), Precision(5, 6)])
def test_every_operator_is_its_fake_quantised_form(precision: Precision) -> None:
    made = compare(seeded(EveryOperator), images(1, 3, 20, 28), precision=precision)
    assert made.compared > 6000
    assert max(made.excess.values()) < 0.01


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [(InvertedResidual, [(1, 3, 9, 9)]), (TwoInputs, [(1, 3, 5, 5), (1, 2, 5, 5)])],
)
def test_other_shapes_of_networks_are_their_fake_quantised_form(
    kind: type[nn.Module], shapes: list[tuple[int, ...]]
) -> None:
    made = compare(seeded(kind), *(images(*shape) for shape in shapes))
    assert max(made.excess.values()) < 1e-3


def test_two_inputs_and_a_layer_called_twice() -> None:
    workload = lowered(seeded(TwoInputs), images(1, 3, 5, 5), images(1, 2, 5, 5))
    assert workload.inputs == ("left", "right")
    assert workload.outputs == ("first", "second_2")
    assert [(op.name, inputs(op)) for op in workload.ops] == [
        ("second", ("right",)),
        ("first", ("left", "second")),
        ("second_2", ("right", "first")),
    ]


def lowered(model: nn.Module, *batch: Tensor) -> Workload:
    graph, plan = quantised(model, *batch)
    return lower(graph, plan, "net")


def test_every_kind_of_operator_comes_out() -> None:
    workload = lowered(seeded(EveryOperator), images(1, 3, 20, 28))
    made = {type(op) for op in workload.ops}
    assert made == {Conv2d, MatMul, Pool, Eltwise, Rescale, Concat, Reshape}
    assert workload.outputs == ("fc2", "hardsigmoid")
    assert workload.emittable


def test_geometry_is_taken_over() -> None:
    workload = lowered(seeded(EveryOperator), images(1, 3, 20, 28))
    ops = {op.name: op for op in workload.ops}
    stem, depthwise, even, padded = (ops[name] for name in ("stem", "depthwise", "even", "padded"))
    assert isinstance(stem, Conv2d)
    assert (stem.stride, stem.padding) == ((1, 2), (0, 0, 0, 0))
    assert isinstance(depthwise, Conv2d)
    assert (depthwise.groups, depthwise.dilation, depthwise.padding) == (8, (2, 2), (2, 2, 2, 2))
    assert depthwise.epilogue.residual == "stem"
    assert isinstance(even, Conv2d)
    assert (even.groups, even.padding) == (2, (1, 2, 1, 2))
    assert isinstance(padded, Conv2d)
    assert (padded.stride, padded.padding) == ((2, 2), (1, 0, 0, 1))
    pool = ops["pool"]
    assert isinstance(pool, Pool)
    assert (pool.kernel, pool.stride, pool.padding) == ((3, 3), (2, 2), (0, 0, 0, 1))


def test_constants_have_their_types() -> None:
    workload = lowered(seeded(Residual), images(1, 3, 16, 16))
    types = {
        name.rpartition(".")[2]: str(workload.tensor(name).element) for name in workload.constants
    }
    assert types == {
        "weight": "i8",
        "multiplier": "u16",
        "shift": "u6",
        "bias": "i48",
        "residual_multiplier": "i17",
    }
    assert workload.constants["stem.0.weight"].dtype == np.int8
    assert workload.constants["head.weight"].shape == (5, 12)
    assert len(workload.tensor("head.weight").channel_scales) == 5


def test_activations_after_relu_are_unsigned_and_pools_keep_the_scale() -> None:
    workload = lowered(seeded(Residual), images(1, 3, 16, 16))
    assert {t.name: str(t.element) for t in workload.activations()} == {
        "x": "i8",
        "stem.0": "u8",
        "conv1": "u8",
        "shortcut": "i8",
        "conv2": "u8",
        "avg_pool2d": "u8",
        "reshape": "u8",
        "head": "i8",
    }
    assert workload.tensor("reshape").scale == workload.tensor("conv2").scale


def test_a_clamp_is_rounded_to_the_output() -> None:
    conv = nn.Conv2d(3, 4, 1)
    conv.weight.data.fill_(4.0)
    model = Calls(lambda m, x: functional.hardtanh(conv(x), 0.0, 2.0), conv=conv)
    workload = lowered(model, images(1, 3, 6, 6))
    epilogue = workload.ops[0].epilogue  # type: ignore[union-attr]
    assert epilogue is not None
    assert not isinstance(epilogue, tuple)
    assert epilogue.lo == 0
    assert epilogue.hi == int(np.floor(2.0 / workload.tensor("conv").scale + 0.5)) == 255


def test_a_function_joins_the_layer_ahead_of_it() -> None:
    fc = nn.Linear(4, 4)
    workload = lowered(Calls(lambda m, x: torch.sigmoid(fc(x)), fc=fc), images(1, 4))
    (op,) = workload.ops
    assert isinstance(op, MatMul)
    assert (op.output, op.epilogue.table) == ("sigmoid", "sigmoid.table")
    assert str(workload.tensor("sigmoid").element) == "u8"
    assert op.source.nodes == ("linear", "sigmoid")


@pytest.mark.parametrize(
    "forward",
    [
        lambda m, x: (lambda y: (y.sigmoid(), y.tanh().sigmoid()))(m.fc(x)),
        lambda m, x: m.both(m.fc(x)),
    ],
)
def test_a_function_of_a_value_that_others_read_stands_alone(
    forward: Callable[..., object],
) -> None:
    class Both(nn.Module):
        def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
            return y, torch.tanh(y)

    model = Calls(forward, fc=nn.Linear(4, 4), both=Both())
    result = compare(model, images(1, 4))
    assert max(result.excess.values()) < 1e-3
    assert any(isinstance(op, Rescale) for op in lowered(model, images(1, 4)).ops)


def test_a_difference_has_negative_residual_multipliers() -> None:
    conv = nn.Conv2d(4, 4, 1)
    for forward in (lambda m, x: conv(x) - x, lambda m, x: x - conv(x)):
        workload = lowered(Calls(forward, conv=conv), images(1, 4, 5, 5))
        last = workload.ops[-1]
        assert isinstance(last, Conv2d | Eltwise)
        name = last.epilogue.residual_multiplier
        assert name is not None
        assert np.all(workload.constants[name] < 0)


def test_an_accumulator_that_overflows_is_refused() -> None:
    fc = nn.Linear(70000, 1)
    fc.weight.data.fill_(1.0)
    model = Calls(lambda m, x: fc(x.relu()), fc=fc)
    line = line_of(Calls.forward, "self.function")
    with pytest.raises(UnsupportedError) as caught:
        lowered(model, images(1, 70000))
    assert str(caught.value) == (
        f"fc ({line}): channel 0 can accumulate 2266950000, 32 bits hold 2147483647; use fewer "
        "weight or activation bits, or split the layer"
    )


def test_an_average_without_reciprocal_is_refused_or_reported() -> None:
    model = Calls(lambda m, x: functional.avg_pool2d(x, (53, 59)).relu())
    graph, plan = quantised(model, images(1, 1, 53, 59))
    line = line_of(Calls.forward, "self.function")
    sentence = (
        f"avg_pool2d ({line}): an average over 3127 values has no exact 16-bit reciprocal; pool in "
        "two steps of smaller windows"
    )
    with pytest.raises(UnsupportedError) as caught:
        lower(graph, plan, "net")
    assert str(caught.value) == sentence
    reported: list[tuple[str, str]] = []
    workload = lower(graph, plan, "net", lambda g, error: reported.append((g.name, str(error))))
    assert reported == [("avg_pool2d", sentence)]
    assert workload.inputs == ("x", "avg_pool2d")
    assert [op.name for op in workload.ops] == ["relu"]


def test_a_dead_channel_and_a_dead_tensor_come_out_zero() -> None:
    conv, other = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
    conv.weight.data[1] = 0
    other.weight.data.zero_()
    conv.bias = None
    model = Calls(lambda m, x: other(conv(x).relu()), conv=conv, other=other)
    workload = to_workload(model.eval(), (images(1, 3, 5, 5),))
    values = reference.run(workload, {"x": np.full((1, 3, 5, 5), 100)})
    assert not values["conv"][:, 1].any()
    made = reference.dequantise_outputs(workload, values)["other"]
    assert other.bias is not None
    bias = other.bias.detach().numpy().reshape(1, 2, 1, 1)
    assert np.abs(made - bias).max() <= workload.tensor("other").scale / 2


class Faint(nn.Module):
    """A residual far below the sum: its multiplier rounds to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.loud, self.faint = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        nn.init.constant_(self.faint.weight, 1e-13)
        nn.init.constant_(self.faint.bias, 1e-13)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.loud(x) + torch.relu(self.faint(x))
        return total


def test_a_residual_too_small_to_count_is_added_as_nothing() -> None:
    torch.manual_seed(0)
    workload = lowered(Faint().eval(), torch.randn(1, 3, 4, 4))
    [epilogue] = [e for op in workload for e in epilogues(op) if e.residual is not None]
    assert epilogue.residual_multiplier is not None
    assert not workload.constants[epilogue.residual_multiplier].any()
