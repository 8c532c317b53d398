"""Every refusal names the node, the user's line, the reason and the way out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.passes.refusals import Refusal
from tests.compiler.models import Calls, images, line_of, plan_of

Forward = Callable[..., object]
ELSEWHERE = "replace it by supported layers, or run this part outside the model"


class Constant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.ones(1, 4, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.value


class Joined(Constant):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.value], 1)


class ComputedWeight(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, x.relu())


def refusals(forward: Forward, size: tuple[int, ...] = (1, 4, 6, 6)) -> tuple[Refusal, ...]:
    layers = {"conv": nn.Conv2d(4, 4, 1), "one": nn.Conv1d(4, 4, 1), "fc": nn.Linear(6, 4)}
    return plan_of(Calls(forward, **layers), images(*size)).refusals


@pytest.mark.parametrize(
    ("forward", "name", "reason", "way_out"),
    [
        (lambda m, x: torch.sin(x), "sin", "sin has no integer form", ELSEWHERE),
        (
            lambda m, x: m.one(x[:, :, 0]),
            "one",
            "conv1d has no integer form",
            "write it as a Conv2d with a kernel of height 1",
        ),
        (
            lambda m, x: x * x,
            "mul",
            "mul has no integer form",
            "fold a constant factor into the layer before (products of activations are not mapped)",
        ),
        (
            lambda m, x: torch.softmax(x, 1),
            "softmax",
            "softmax has no integer form",
            "return the scores and apply softmax to the outputs",
        ),
        (
            lambda m, x: m.fc(x),
            "fc",
            "its input has shape (1, 4, 6, 6), (1, features) is needed",
            "flatten it, or use a Conv2d with a 1x1 kernel on channels-first maps",
        ),
        (
            lambda m, x: functional.max_pool2d(x, 2, dilation=2),
            "max_pool2d",
            "dilated max pooling is not mapped",
            "use a max pool of dilation 1",
        ),
        (
            lambda m, x: functional.avg_pool2d(x, 2, divisor_override=3),
            "avg_pool2d",
            "divisor_override is not mapped",
            "leave it out and scale the next layer's weights",
        ),
        (
            lambda m, x: functional.avg_pool2d(x, 2, padding=1, count_include_pad=False),
            "avg_pool2d",
            "its divisor varies with the position (count_include_pad=False)",
            "set count_include_pad=True or padding=0",
        ),
        (
            lambda m, x: functional.avg_pool2d(x, 4, ceil_mode=True),
            "avg_pool2d",
            "its divisor varies with the position (ceil_mode with partial windows)",
            "set ceil_mode=False or pad the input to whole windows",
        ),
        (
            lambda m, x: x + 1,
            "add",
            "it adds a number to an activation",
            "fold the number into the bias of a layer",
        ),
        (
            lambda m, x: x + functional.max_pool2d(x, 6),
            "add",
            "its operands have shapes (1, 4, 6, 6) and (1, 4, 1, 1)",
            "give both operands the same shape",
        ),
        (
            lambda m, x: torch.add(x, x.relu(), alpha=2),
            "add",
            "its second operand is scaled (alpha)",
            "scale the weights of the layer before",
        ),
        (
            lambda m, x: torch.cat([x, x], 2),
            "cat",
            "it joins axis 2",
            "join along the channels (dim=1)",
        ),
        (
            lambda m, x: m.conv(functional.pad(x, (1, 1), value=2.0)),
            "constant_pad_nd",
            "only zeros around height and width are mapped",
            "pad with zeros, or in the data",
        ),
        (
            lambda m, x: functional.max_pool2d(functional.pad(x, (1, 1)), 2),
            "constant_pad_nd",
            "padding is mapped ahead of convolutions only",
            "give the layer itself the padding",
        ),
        (
            lambda m, x: x.view(2, 2, 6, 6),
            "reshape",
            "its result has shape (2, 2, 6, 6), (1, channels, height, width) or (1, features) is "
            "needed",
            "keep the batch of 1 in front and two or four dimensions",
        ),
        (
            lambda m, x: x.double().relu().float(),
            "relu",
            "it works on torch.float64 ('relu')",
            "keep the model in float32 throughout",
        ),
    ],
)
def test_the_sentence(forward: Forward, name: str, reason: str, way_out: str) -> None:
    made = {refusal.name: refusal for refusal in refusals(forward)}
    assert (made[name].reason, made[name].way_out) == (reason, way_out)
    assert str(made[name]) == f"{name} ({made[name].line}): {reason}; {way_out}"
    assert made[name].line == line_of(Calls.forward, "self.function")


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Constant(), "it adds a constant to an activation"),
        (Joined(), "it joins a constant"),
        (ComputedWeight(), "its weight is computed by 'relu'"),
    ],
)
def test_constants_where_none_belong(model: nn.Module, reason: str) -> None:
    size = (1, 4, 6, 6) if isinstance(model, Constant) else (1, 1, 2, 2)
    assert [refusal.reason for refusal in plan_of(model, images(*size)).refusals] == [reason]


def test_padding_of_a_refused_layer_is_refused_with_it() -> None:
    def forward(m: nn.Module, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (1, 1)), x)

    made = plan_of(Calls(forward), images(1, 1, 2, 2)).refusals
    assert [(refusal.name, refusal.reason) for refusal in made] == [
        ("constant_pad_nd", "'conv2d', which reads it, is refused"),
        ("conv2d", "its weight is computed by 'x'"),
    ]


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: (x.relu(), x), "the model returns an input unchanged"),
        (lambda m, x: (x.relu(), m.conv.weight), "the model returns a constant unchanged"),
        (lambda m, x: (x.relu(), None), "the model returns None"),
    ],
)
def test_results_that_nothing_computes(forward: Forward, reason: str) -> None:
    assert [refusal.reason for refusal in refusals(forward)] == [reason]
