"""Networks for the tests of the whole path: small enough to run in RTL in a moment."""

from __future__ import annotations

import torch
from torch import Tensor, nn

Model = tuple[nn.Module, tuple[Tensor, ...]]


class Tiny(nn.Module):
    """One of everything that matters: convolutions, a residual sum, a pool and a product."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(8)
        self.conv2 = nn.Conv2d(8, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.fc = nn.Linear(8 * 4 * 4, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(images)))
        x = torch.relu(self.conv2(x) + x)
        logits: Tensor = self.fc(torch.flatten(self.pool(x), 1))
        return logits


class Running(nn.Module):
    """Holds an operator that no accelerator here runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cumprod(self.conv(images), 1)


def tiny() -> Model:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Tiny().eval(), (torch.randn(1, 3, 8, 8),)


def running() -> Model:
    return Running().eval(), (torch.zeros(1, 1, 8, 8),)


def not_a_pair() -> nn.Module:
    return Tiny().eval()


class Shuffled(nn.Module):
    """What the npu has no instruction for, amid what it has: a channel shuffle and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.mix = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.excite = nn.Linear(8, 8)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.relu(self.stem(images))
        x = x.reshape(1, 2, 4, 8, 8).transpose(1, 2).reshape(1, 8, 8, 8)
        x = torch.relu(self.mix(x))
        gate = torch.sigmoid(self.excite(x.mean((2, 3))))
        logits: Tensor = self.fc((x * gate[:, :, None, None]).mean((2, 3)))
        return logits


def shuffled() -> Model:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Shuffled().eval(), (torch.randn(1, 3, 8, 8),)


class Transformer(nn.Module):
    """One block of a vision transformer: attention, softmax, layer norms, products over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 32), nn.Linear(32, 16)
        self.head = nn.Linear(16, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch(images).flatten(2).transpose(1, 2)
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (part.reshape(1, 16, 2, 8).transpose(1, 2) for part in parts)
        weights = torch.softmax(q @ k.transpose(-1, -2) * 8**-0.5, -1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(1, 16, 16))
        x = x + self.down(nn.functional.gelu(self.up(self.norm2(x))))
        logits: Tensor = self.head(x.mean(1))
        return logits


def transformer() -> Model:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Transformer().eval(), (torch.randn(1, 3, 16, 16),)


class Ordered(nn.Module):
    """What has no integer form: between two layers, and behind the last."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.mix = nn.Conv2d(8, 8, 3, padding=1)
        self.fc = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        x = torch.sort(torch.relu(self.stem(images)), 1).values
        x = torch.relu(self.mix(x)).mean((2, 3))
        return torch.sort(self.fc(x), 1).values


def ordered() -> Model:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Ordered().eval(), (torch.randn(1, 3, 8, 8),)
