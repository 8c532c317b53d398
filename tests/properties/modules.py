"""Random torch modules of the operators that the front end takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    functional.relu,
    functional.relu6,
    functional.hardswish,
    functional.silu,
    functional.gelu,
    torch.sigmoid,
    torch.tanh,
)


@dataclass(frozen=True)
class Step:
    """A value made from one or two values before it, counted from the last one backwards."""

    function: Callable[..., Tensor]
    back: tuple[int, ...] = (1,)


class Drawn(nn.Module):
    """Runs its steps one after the other and returns the last value."""

    def __init__(self, steps: tuple[Step, ...]) -> None:
        super().__init__()
        self.steps = steps
        self.layers = nn.ModuleList(
            step.function for step in steps if isinstance(step.function, nn.Module)
        )

    def forward(self, image: Tensor) -> Tensor:
        values = [image]
        for step in self.steps:
            values.append(step.function(*(values[-back] for back in step.back)))
        return values[-1]


@st.composite
def modules(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A network of one to four blocks, perhaps with a classifier, and an image for it."""
    seed = draw(st.integers(0, 1 << 16))
    channels, height, width = draw(st.integers(1, 12)), *_extents(draw)
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        image = torch.randn(1, channels, height, width)
        steps: list[Step] = []
        value = image
        for _ in range(draw(st.integers(1, 4))):
            block = draw(st.sampled_from((_conv, _conv, _depthwise, _residual, _joined, _pool)))
            steps += block(draw, value)
            value = Drawn(tuple(steps)).eval()(image)
        if draw(st.booleans()):
            steps += _classifier(draw, value)
        return Drawn(tuple(steps)).eval(), image


def _extents(draw: st.DrawFn) -> tuple[int, int]:
    return draw(st.integers(2, 12)), draw(st.integers(2, 12))


def _activation(draw: st.DrawFn) -> list[Step]:
    return [Step(draw(st.sampled_from(ACTIVATIONS)))] if draw(st.booleans()) else []


def _conv(draw: st.DrawFn, value: Tensor) -> list[Step]:
    channels, smallest = value.shape[1], min(value.shape[2:])
    kernel = draw(st.sampled_from((1, 2, 3, 5, 7)))
    dilation = draw(st.integers(1, 2))
    reach = dilation * (kernel - 1) + 1
    padding = draw(st.integers(max(0, (reach - smallest + 1) // 2), reach // 2 + 1))
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    outputs = groups * draw(st.integers(1, max(1, 24 // groups)))
    stride = draw(st.integers(1, 3))
    layer = nn.Conv2d(
        channels, outputs, kernel, stride, padding, dilation, groups, bias=draw(st.booleans())
    )
    norm = [Step(nn.BatchNorm2d(outputs))] if draw(st.booleans()) else []
    return [Step(layer), *norm, *_activation(draw)]


def _depthwise(draw: st.DrawFn, value: Tensor) -> list[Step]:
    channels = value.shape[1]
    kernel = draw(st.sampled_from((3, 5, 7)))
    layer = nn.Conv2d(
        channels, channels, kernel, draw(st.integers(1, 3)), kernel // 2, groups=channels
    )
    return [Step(layer), *_activation(draw)]


def _residual(draw: st.DrawFn, value: Tensor) -> list[Step]:
    channels = value.shape[1]
    kernel = draw(st.sampled_from((1, 3)))
    join = draw(st.sampled_from((torch.add, torch.sub)))
    layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
    return [Step(layer), Step(join, (1, 2)), *_activation(draw)]


def _joined(draw: st.DrawFn, value: Tensor) -> list[Step]:
    branch = nn.Conv2d(value.shape[1], draw(st.integers(1, 12)), 1)
    return [Step(branch), Step(_concat, (1, 2))]


def _concat(first: Tensor, second: Tensor) -> Tensor:
    return torch.cat((first, second), 1)


def _pool(draw: st.DrawFn, value: Tensor) -> list[Step]:
    kernel = draw(st.integers(1, min(4, *value.shape[2:])))
    stride = draw(st.integers(1, 3))
    if draw(st.booleans()):
        return [Step(nn.MaxPool2d(kernel, stride, draw(st.integers(0, kernel // 2))))]
    return [Step(nn.AvgPool2d(kernel, stride))]


def _classifier(draw: st.DrawFn, value: Tensor) -> list[Step]:
    pool = [Step(nn.AdaptiveAvgPool2d(1))] if draw(st.booleans()) else []
    features = value.shape[1] if pool else value[0].numel()
    hidden, classes = draw(st.integers(1, 20)), draw(st.integers(1, 12))
    flat = Step(nn.Flatten())
    if draw(st.booleans()):
        return [*pool, flat, Step(nn.Linear(features, classes))]
    first, last = nn.Linear(features, hidden), nn.Linear(hidden, classes)
    return [*pool, flat, Step(first), *_activation(draw), Step(last)]
