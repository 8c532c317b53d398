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


HOST = "or add allow_host=True to run it on the host"
HOSTED = {"cumprod", "conv3d", "add", "constant_pad_nd"}
"""What the host can compute in float, of the cases below."""


class ComputedWeight(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, x.relu())


def refusals(forward: Forward, size: tuple[int, ...] = (1, 4, 6, 6)) -> tuple[Refusal, ...]:
    layers = {"conv": nn.Conv2d(4, 4, 1), "fc": nn.Linear(6, 4)}
    return plan_of(Calls(forward, **layers), images(*size)).refusals


@pytest.mark.parametrize(
    ("forward", "name", "reason", "way_out"),
    [
        (lambda m, x: torch.cumprod(x, 1), "cumprod", "cumprod has no integer form", ELSEWHERE),
        (
            lambda m, x: functional.conv3d(x[None], x[None, :1, :4, :1, :1]),
            "conv3d",
            "conv3d has no integer form",
            "give it a batch of 1 in front and a weight of the model",
        ),
        (
            lambda m, x: functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
            "scaled_dot_product_attention",
            "scaled_dot_product_attention has no integer form",
            "set dropout_p=0",
        ),
        (
            lambda m, x: functional.max_pool2d(x, 2, return_indices=True),
            "max_pool2d_with_indices",
            "max_pool2d_with_indices has no integer form",
            "leave out return_indices",
        ),
        (
            lambda m, x: torch.add(x, x.relu(), alpha=2),
            "add",
            "its second operand is scaled (alpha)",
            "scale the weights of the layer before",
        ),
        (
            lambda m, x: m.conv(functional.pad(x, (1, 1), value=float("-inf"))),
            "constant_pad_nd",
            "it pads with -inf",
            "pad with a finite number",
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
    line = line_of(Calls.forward, "self.function")
    ways_out = f"{way_out}, {HOST}" if name in HOSTED else way_out
    assert str(made[name]) == f"{name} ({line}): {reason}; {ways_out}"


def test_what_the_host_can_compute_says_so() -> None:
    refusal = refusals(lambda m, x: torch.sort(x, 1).values)[0]
    line = line_of(Calls.forward, "self.function")
    assert str(refusal) == f"sort ({line}): sort has no integer form; {ELSEWHERE}, {HOST}"
    for refusal in refusals(lambda m, x: torch.sort(x.double(), 1).values.float()):
        assert HOST not in str(refusal)


def test_a_computed_weight_is_refused() -> None:
    [refusal] = plan_of(ComputedWeight(), images(1, 1, 2, 2)).refusals
    assert refusal.reason == "its weight is computed by 'relu'"


def test_an_infinite_factor_is_refused() -> None:
    [refusal] = refusals(lambda m, x: x * float("inf"))
    assert (refusal.reason, refusal.way_out) == (
        "it multiplies by inf",
        "multiply by a finite number other than 0",
    )


@pytest.mark.parametrize(
    ("forward", "reason"),
    [
        (lambda m, x: x / 0.0, "div has no integer form"),
        (lambda m, x: x * float("nan"), "it multiplies by nan"),
        (lambda m, x: x * float("-inf"), "it multiplies by -inf"),
        (lambda m, x: x + torch.randn(6), "randn has no integer form"),
        (
            lambda m, x: functional.scaled_dot_product_attention(x, x, x, scale=0.0),
            "it multiplies by 0",
        ),
        (
            lambda m, x: functional.scaled_dot_product_attention(x, x, x, scale=-0.5),
            "it multiplies by -0.5",
        ),
    ],
)
def test_what_has_no_value_on_the_accelerator_is_refused(forward: Forward, reason: str) -> None:
    assert reason in [refusal.reason for refusal in refusals(forward)]
