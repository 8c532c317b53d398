"""ResNet-50, MobileNetV2, U-Net and an EfficientNet, each as a class and as a MODEL callable.

The callables return `(module in eval mode, example inputs)`, as in `examples/networks.py`; `width`
scales the channels and `size` the images, so that tests run in seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.examples.networks import Model, settled


def convolution(
    channels_in: int,
    channels: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:
    """A convolution of the same size, batch normalisation and an activation, if any."""
    padding = kernel // 2
    layers: list[nn.Module] = [
        nn.Conv2d(channels_in, channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))


def classifier(channels: int, classes: int) -> nn.Sequential:
    """Global average and a linear layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (He et al., 2016, figure 5)."""

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            convolution(channels_in, channels, activation=nn.ReLU),
            convolution(channels, channels, 3, stride, activation=nn.ReLU),
            convolution(channels, 4 * channels),
        )
        same = stride == 1 and channels_in == 4 * channels
        self.shortcut = nn.Identity() if same else convolution(channels_in, 4 * channels, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, Y, X) to (N, 4 * channels, Y / stride, X / stride)."""
        return torch.relu(self.body(x) + self.shortcut(x))


class ResNet50(nn.Sequential):
    """The 50-layer residual network (He et al., 2016, table 1)."""

    def __init__(self, classes: int = 1000, width: float = 1.0) -> None:
        first = max(4, round(64 * width))
        layers: list[nn.Module] = [
            convolution(3, first, 7, 2, activation=nn.ReLU),
            nn.MaxPool2d(3, 2, padding=1),
        ]
        channels = first
        for stage, blocks in enumerate((3, 4, 6, 3)):
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                layers.append(Bottleneck(channels, first << stage, stride))
                channels = 4 * (first << stage)
        super().__init__(*layers, classifier(channels, classes))


class InvertedResidual(nn.Module):
    """Expand, depthwise convolution, project (Sandler et al., 2018), gated with SiLU if asked."""

    def __init__(
        self, channels_in: int, channels: int, stride: int, expansion: int, gated: bool = False
    ) -> None:
        super().__init__()
        activation = nn.SiLU if gated else nn.ReLU6
        wide = channels_in * expansion
        expand = [convolution(channels_in, wide, activation=activation)] if expansion > 1 else []
        depthwise = convolution(wide, wide, 3, stride, wide, activation)
        gate = [SqueezeExcite(wide, max(1, channels_in // 4))] if gated else []
        self.body = nn.Sequential(*expand, depthwise, *gate, convolution(wide, channels))
        self.residual = stride == 1 and channels_in == channels

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels_in, Y, X) to (N, channels, Y / stride, X / stride)."""
        y: Tensor = self.body(x)
        return x + y if self.residual else y


class SqueezeExcite(nn.Module):
    """A gate for each channel from the mean of all (Hu et al., 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(channels, squeezed, 1)
        self.expand = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, Y, X) to the same shape."""
        mean = x.mean((2, 3), keepdim=True)
        gate = torch.sigmoid(self.expand(functional.silu(self.reduce(mean))))
        return x * gate


class MobileNet(nn.Sequential):
    """Stages of inverted residuals, each (expansion, channels, blocks, stride)."""

    def __init__(
        self,
        stages: tuple[tuple[int, int, int, int], ...],
        last: int,
        classes: int,
        width: float,
        gated: bool,
    ) -> None:
        activation = nn.SiLU if gated else nn.ReLU6
        channels = max(4, round(32 * width))
        layers: list[nn.Module] = [convolution(3, channels, 3, 2, activation=activation)]
        for expansion, wanted, blocks, first in stages:
            made = max(4, round(wanted * width))
            for block in range(blocks):
                stride = 1 if block else first
                layers.append(InvertedResidual(channels, made, stride, expansion, gated))
                channels = made
        last = max(8, round(last * width))
        layers.append(convolution(channels, last, activation=activation))
        super().__init__(*layers, classifier(last, classes))


MOBILENET_V2 = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Sandler et al., 2018, table 2."""
EFFICIENT = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 40, 2, 2), (6, 80, 3, 2))
"""The first stages of EfficientNet-B0 (Tan and Le, 2019, table 1), with 3 x 3 kernels."""


class UNet(nn.Module):
    """Contracting and expanding paths that meet at every scale (Ronneberger et al., 2015).

    `learned` expands by transposed convolutions, else by bilinear interpolation.
    """

    def __init__(
        self, classes: int = 2, width: int = 64, depth: int = 4, learned: bool = True
    ) -> None:
        super().__init__()
        channels = [width << level for level in range(depth + 1)]
        pairs = list(zip(channels, channels[1:], strict=False))
        self.stem = _double(3, width)
        self.down = nn.ModuleList(_double(a, b) for a, b in pairs)
        self.up = nn.ModuleList(_expander(b, a, learned) for a, b in reversed(pairs))
        self.join = nn.ModuleList(_double(2 * a, a) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, 3, Y, X) to scores (N, classes, Y, X); extents divide by 2^depth."""
        x = self.stem(images)
        kept = []
        for down in self.down:
            kept.append(x)
            x = down(functional.max_pool2d(x, 2))
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([kept.pop(), up(x)], 1))
        scores: Tensor = self.head(x)
        return scores


def _double(channels_in: int, channels: int) -> nn.Sequential:
    first = convolution(channels_in, channels, 3, activation=nn.ReLU)
    return nn.Sequential(first, convolution(channels, channels, 3, activation=nn.ReLU))


def _expander(channels_in: int, channels: int, learned: bool) -> nn.Module:
    if learned:
        return nn.ConvTranspose2d(channels_in, channels, 2, stride=2)
    resize = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
    return nn.Sequential(resize, nn.Conv2d(channels_in, channels, 1))


def resnet50(seed: int = 0, width: float = 1.0, size: int = 224) -> Model:
    """ResNet-50 with seeded weights and one image of 3 x size x size."""
    return _seeded(lambda: ResNet50(width=width), seed, size)


def mobilenet_v2(seed: int = 0, width: float = 1.0, size: int = 224) -> Model:
    """MobileNetV2 with seeded weights and one image of 3 x size x size."""
    return _seeded(lambda: MobileNet(MOBILENET_V2, 1280, 1000, width, False), seed, size)


def efficientnet(seed: int = 0, width: float = 1.0, size: int = 224) -> Model:
    """The first half of EfficientNet-B0, with squeeze-and-excite and SiLU; seeded weights."""
    return _seeded(lambda: MobileNet(EFFICIENT, 320, 100, width, True), seed, size)


def unet(seed: int = 0, width: int = 64, depth: int = 4, size: int = 128) -> Model:
    """U-Net with transposed convolutions, seeded weights and one image of 3 x size x size."""
    return _seeded(lambda: UNet(width=width, depth=depth), seed, size)


def unet_bilinear(seed: int = 0, width: int = 64, depth: int = 4, size: int = 128) -> Model:
    """U-Net with bilinear interpolation, seeded weights and one image of 3 x size x size."""
    return _seeded(lambda: UNet(width=width, depth=depth, learned=False), seed, size)


def _seeded(build: Callable[[], nn.Module], seed: int, size: int) -> Model:
    """Seeded weights; residual branches start small (Goyal et al., 2017, section 5.1).

    Without that, a deep network of random weights doubles any rounding every few blocks, which
    trained ones do not.
    """
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        model = settled(build(), torch.randn(8, 3, size, size))
        for block in model.modules():
            if isinstance(block, Bottleneck | InvertedResidual):
                norm = list(block.body.modules())[-1]
                assert isinstance(norm, nn.BatchNorm2d)
                nn.init.uniform_(norm.weight, 0.1, 0.3)
        return model, (torch.randn(1, 3, size, size),)
