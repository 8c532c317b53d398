"""Small torch models for the tests of the compiler, with seeded weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.nn import functional

from intaglio.compiler.capture import capture
from intaglio.compiler.graph import operation
from intaglio.compiler.passes.fuse import Group, Plan
from intaglio.compiler.pipeline import fuse


class Residual(nn.Module):
    """A stem, a residual block with projection, global pooling and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.conv1 = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 12, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(12)
        self.shortcut = nn.Conv2d(8, 12, 1, stride=2)
        self.drop = nn.Dropout()
        self.head = nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        y += self.shortcut(x)
        y = self.drop(functional.relu(y))
        scores: Tensor = self.head(y.mean((2, 3)))
        return scores


class Signs(nn.Module):
    """What may stand between layers of one bit: norms, bounds, a pool, a residual, a join, ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 6, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(6)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 4, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(4)
        self.conv3 = nn.Conv2d(6, 4, 3)
        self.fc = nn.Linear(8 * 4 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.hardtanh(self.bn1(self.conv1(2 * x)))
        x = self.pool(x)
        y = functional.hardtanh(self.bn2(self.conv2(x)))
        z = torch.cat([y, self.conv3(x) + y], 1)
        return torch.sigmoid(self.fc(torch.flatten(functional.relu(z), 1)))


class EveryOperator(nn.Module):
    """Each supported operator at least once, in its less common geometries too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, (3, 5), stride=(1, 2), padding="valid")
        self.depthwise = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=8, bias=False)
        self.even = nn.Conv2d(8, 8, 4, padding="same", groups=2)
        self.padded = nn.Conv2d(8, 8, 3, stride=2)
        self.branch = nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(12)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
        self.average = nn.AvgPool2d(2, stride=1, padding=1)
        self.fc1 = nn.Linear(12 * 5 * 2, 10)
        self.fc2 = nn.Linear(10, 6)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        x = functional.relu6(self.stem(image))
        y = self.depthwise(x) + x
        y = functional.hardswish(self.even(y)) - torch.tanh(x)
        y = self.padded(functional.pad(y, (0, 1, 1, 0)))
        joined = torch.cat([functional.gelu(y), functional.silu(self.branch(y))], 1)
        z = self.norm(functional.relu(functional.max_pool2d(joined, 1)))
        z = self.average(self.pool(z))
        z = functional.adaptive_avg_pool2d(z + functional.hardtanh(z, -1.5, 2.0), (5, 2))
        hidden = torch.sigmoid(self.fc1(torch.flatten(z, 1)))
        return self.fc2(hidden).unsqueeze(0).squeeze(0), functional.hardsigmoid(joined)


class InvertedResidual(nn.Module):
    """A narrow residual around a wide depthwise convolution, without a clamp at its end."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(inplace=True),
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(inplace=True),
            nn.Conv2d(12, 3, 1, bias=False),
            nn.BatchNorm2d(3),
        )

    def forward(self, x: Tensor) -> Tensor:
        wide: Tensor = x + self.body(x)
        return wide


class TwoInputs(nn.Module):
    """Two inputs that meet, and one layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 1)
        self.second = nn.Conv2d(2, 4, 1)

    def forward(self, left: Tensor, right: Tensor) -> dict[str, Tensor]:
        total = functional.relu(self.first(left) + self.second(right))
        return {"sum": total, "again": self.second(right) - total}


def settled(model: nn.Module) -> nn.Module:
    """`model` in eval mode, its batch normalisation settled on seeded statistics."""
    generator = torch.Generator().manual_seed(7)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            for tensor, low, high in (
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
                (module.running_mean, -0.2, 0.2),
                (module.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)
    return model.eval()


def seeded(kind: Callable[[], nn.Module], seed: int = 0) -> nn.Module:
    """A model made under a seed, without touching the global generator."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return settled(kind())


def images(*shape: int, seed: int = 0) -> Tensor:
    """A seeded normal batch."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Calls(nn.Module):
    """A model whose forward is a given function, with some layers at hand."""

    def __init__(self, function: Callable[..., object], **layers: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> object:
        return self.function(self, x)


def graph_of(model: nn.Module, *inputs: Tensor) -> GraphModule:
    """The captured graph of a model, before any pass."""
    return capture(model.eval(), inputs).module


def calls(module: GraphModule) -> list[str]:
    """The names of the functions that a graph calls, in order."""
    return [operation(n).split(".")[0] for n in module.graph.nodes if n.op == "call_function"]


def plan_of(model: nn.Module, *inputs: Tensor) -> Plan:
    """The plan of a model after the graph passes."""
    return fuse(capture(model.eval(), inputs))


def kinds(groups: tuple[Group, ...]) -> list[str]:
    """The kind of each group, in order."""
    return [group.kind for group in groups]


def line_of(thing: Callable[..., object], text: str) -> str:
    """How errors quote the line of `thing` that holds `text`: `file.py:12: text`."""
    lines, start = inspect.getsourcelines(thing)
    for offset, line in enumerate(lines):
        if text in line:
            path = Path(inspect.getfile(thing)).name
            return f"{path}:{start + offset}: {line.strip()}"
    raise AssertionError(f"no line with {text!r}")
