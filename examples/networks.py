"""LeNet-5, ResNet-8 and ResNet-18, each as a class and as a MODEL callable.

A MODEL callable takes nothing and returns `(module in eval mode, example inputs)`, so that
`intaglio compile examples/networks.py:resnet18 -o build` works.  Weights are seeded, and batch
normalisation holds statistics gathered from seeded images, so that folding it is not trivial.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

Model = tuple[nn.Module, tuple[Tensor, ...]]


class LeNet5(nn.Module):
    """Two convolutions and three linear layers on 28 x 28 grey images (LeCun et al., 1998).

    ReLU and max pooling replace the original's sigmoids and averages.  `width` scales the
    channels of every layer but the last.
    """

    def __init__(self, classes: int = 10, width: float = 1.0) -> None:
        super().__init__()
        conv1, conv2, fc1, fc2 = (max(1, round(width * n)) for n in (6, 16, 120, 84))
        self.conv1 = nn.Conv2d(1, conv1, 5, padding=2)
        self.conv2 = nn.Conv2d(conv1, conv2, 5)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(conv2 * 5 * 5, fc1)
        self.fc2 = nn.Linear(fc1, fc2)
        self.fc3 = nn.Linear(fc2, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) to logits (N, classes)."""
        x = self.pool(self.relu(self.conv1(images)))
        x = self.pool(self.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = self.relu(self.fc1(x))
        x = self.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., 2016, figure 2)."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels_in != channels:
            projection = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, Y, X) to (N, channels, Y / stride, X / stride)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + self.shortcut(x))
        return out


class ResNet8(nn.Module):
    """A stem and three stages of one block (16, 32, 64 channels) on 28 x 28 grey images."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
        )
        self.stage1 = BasicBlock(16, 16)
        self.stage2 = BasicBlock(16, 32, stride=2)
        self.stage3 = BasicBlock(32, 64, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 1, 28, 28) to logits (N, classes)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(images))))
        logits: Tensor = self.head(torch.flatten(self.pool(x), 1))
        return logits


class ResNet18(nn.Module):
    """The 18-layer residual network on 224 x 224 colour images (He et al., 2016, table 1)."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BasicBlock(64, 64), BasicBlock(64, 64))
        self.layer2 = nn.Sequential(BasicBlock(64, 128, stride=2), BasicBlock(128, 128))
        self.layer3 = nn.Sequential(BasicBlock(128, 256, stride=2), BasicBlock(256, 256))
        self.layer4 = nn.Sequential(BasicBlock(256, 512, stride=2), BasicBlock(512, 512))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, 224, 224) to logits (N, classes)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def lenet5(seed: int = 0) -> Model:
    """LeNet-5 with seeded weights and one image of 1 x 28 x 28."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return LeNet5().eval(), (torch.randn(1, 1, 28, 28),)


def resnet8(seed: int = 0) -> Model:
    """ResNet-8 with seeded weights and one image of 1 x 28 x 28."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return settled(ResNet8(), torch.randn(8, 1, 28, 28)), (torch.randn(1, 1, 28, 28),)


def resnet18(seed: int = 0) -> Model:
    """ResNet-18 with seeded weights and one image of 3 x 224 x 224."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return settled(ResNet18(), torch.randn(2, 3, 224, 224)), (torch.randn(1, 3, 224, 224),)


def settled(module: nn.Module, images: Tensor) -> nn.Module:
    """`module` in eval mode: seeded affine terms, statistics cumulated over `images`."""
    norms = [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.25, 0.25)
        norm.momentum = None
    module.train()
    with torch.no_grad():
        module(images)
    for norm in norms:
        norm.momentum = 0.1
    return module.eval()
