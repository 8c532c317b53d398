"""Networks of 1 to 8 bits, quantisers written out, with the topologies of FINN's public examples.

    intaglio compile examples/low_bit.py:tfc_w1a1 -o tfc

No bits are asked for: the networks have their own.  The topologies are those of the repositories
`Xilinx/finn-examples` and `Xilinx/brevitas` (brevitas_examples/bnn_pynq), written anew here; no
weights are taken over.  TFC's are trained on real digits by `python -m intaglio.examples.low_bit`,
which prints its accuracy, and lie beside this file.  All others are seeded: CIFAR-10, Speech
Commands, UNSW-NB15 and ImageNet are no part of this repository.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from intaglio.compiler.pipeline import to_workload
from intaglio.examples.low_bit_layers import (
    QuantConv2d,
    QuantInput,
    QuantLinear,
    QuantReLU,
    QuantSigned,
    load_trained,
    save_trained,
)
from intaglio.examples.mnist import (
    DEVIATION,
    HELD_OUT,
    MEAN,
    Recipe,
    float_accuracy,
    integer_accuracy,
    load_digits,
    train,
)
from intaglio.examples.networks import Model, settled
from intaglio.progress import Callback, bars

TRAINED = Path(__file__).parent / "trained"
PIXEL = 1 / 32
"""What a step of an input of 8 bits is worth: normalised pixels lie within -4 and 4."""


class Perceptron(nn.Sequential):
    """Linear layers, each but the last with a batch norm and an activation."""

    def __init__(
        self,
        widths: Sequence[int],
        bits: int,
        entry: nn.Module,
        activation: Callable[[], nn.Module],
    ) -> None:
        layers: list[nn.Module] = [nn.Flatten(), entry]
        for before, after in zip(widths[:-2], widths[1:-1], strict=True):
            layers += [QuantLinear(before, after, bits), nn.BatchNorm1d(after), activation()]
        super().__init__(*layers, QuantLinear(widths[-2], widths[-1], bits, bias=True))


class TinyPerceptron(Perceptron):
    """TFC 784-64-64-64-10 of 28 x 28 images: FINN (Umuroglu et al., 2017), Brevitas's `TFC`."""

    def __init__(self, bits: int) -> None:
        widths = (784, 64, 64, 64, 10)
        super().__init__(widths, bits, QuantInput(8, PIXEL), lambda: QuantSigned(bits))


class ConvolutionalNetwork(nn.Sequential):
    """CNV of 32 x 32 colour images: FINN (Umuroglu et al., 2017), Brevitas's `CNV`.

    Convolutions of 3 x 3 without padding, 64, 64, pool, 128, 128, pool, 256, 256; linear layers of
    512, 512 and 10.
    """

    def __init__(self, bits: int) -> None:
        layers: list[nn.Module] = [QuantInput(8, PIXEL)]
        before = 3
        for index, after in enumerate((64, 64, 128, 128, 256, 256)):
            layers += [QuantConv2d(before, after, 3, bits), nn.BatchNorm2d(after)]
            layers += [QuantSigned(bits), *([nn.MaxPool2d(2)] if index in (1, 3) else [])]
            before = after
        layers.append(nn.Flatten())
        for inputs in (256, 512):
            layers += [QuantLinear(inputs, 512, bits), nn.BatchNorm1d(512), QuantSigned(bits)]
        super().__init__(*layers, QuantLinear(512, 10, bits, bias=True))


class KeywordPerceptron(Perceptron):
    """490-256-256-256-12 of 49 windows of 10 coefficients: finn-examples' `kws`, 3 bits."""

    def __init__(self) -> None:
        widths = (490, 256, 256, 256, 12)
        super().__init__(widths, 3, QuantInput(8, PIXEL), lambda: QuantReLU(3))


class IntrusionPerceptron(Perceptron):
    """593-64-64-64-1 of binary features, 2 bits: finn-examples' `cybersecurity_mlp`.

    The shape is that of UNSW-NB15 (Moustafa and Slay, 2015) as binarised by Murovic and Trost,
    2019; inputs are 0 and 1.
    """

    def __init__(self) -> None:
        entry = QuantInput(1, 1.0, signed=False)
        super().__init__((593, 64, 64, 64, 1), 2, entry, lambda: QuantReLU(2))


class SmallBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut (He et al., 2016, figure 2), with quantisers."""

    def __init__(self, inputs: int, outputs: int, bits: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = QuantConv2d(inputs, outputs, 3, bits, stride, 1)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = QuantReLU(bits)
        self.conv2 = QuantConv2d(outputs, outputs, 3, bits, 1, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = QuantReLU(bits)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = QuantConv2d(inputs, outputs, 1, bits, stride)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, inputs, Y, X) to (N, outputs, Y / stride, X / stride)."""
        y = self.relu1(self.bn1(self.conv1(x)))
        out: Tensor = self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))
        return out


class SmallResNet(nn.Sequential):
    """ResNet-8 of 32 x 32 colour images, as MLPerf Tiny has it (Banbury et al., 2021)."""

    def __init__(self, bits: int) -> None:
        stem = QuantConv2d(3, 16, 3, max(bits, 8), 1, 1)
        super().__init__(
            *(QuantInput(8, PIXEL), stem, nn.BatchNorm2d(16), QuantReLU(bits)),
            SmallBlock(16, 16, bits),
            SmallBlock(16, 32, bits, 2),
            SmallBlock(32, 64, bits, 2),
            *(nn.AvgPool2d(8), nn.Flatten(), QuantLinear(64, 10, max(bits, 8), bias=True)),
        )


class MobileNet(nn.Sequential):
    """MobileNet v1 (Howard et al., 2017, table 1): finn-examples' has 4 bits, its first layer 8.

    `width` scales the channels; images are `size` pixels high and wide.
    """

    def __init__(self, bits: int, width: float = 1.0, size: int = 224, classes: int = 1000) -> None:
        channels = [round(32 * width)]
        layers: list[nn.Module] = [QuantInput(8, PIXEL), QuantConv2d(3, channels[0], 3, 8, 2, 1)]
        layers += [nn.BatchNorm2d(channels[0]), QuantReLU(bits)]
        stages = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5)
        for outputs, stride in (*stages, (1024, 2), (1024, 1)):
            before, after = channels[-1], round(outputs * width)
            channels.append(after)
            layers += [QuantConv2d(before, before, 3, bits, stride, 1, groups=before)]
            layers += [nn.BatchNorm2d(before), QuantReLU(bits)]
            layers += [QuantConv2d(before, after, 1, bits), nn.BatchNorm2d(after), QuantReLU(bits)]
        layers += [nn.AvgPool2d(size // 32), nn.Flatten()]
        super().__init__(*layers, QuantLinear(channels[-1], classes, bits, bias=True))


def seeded(make: Callable[[], nn.Module], *shape: int, images: int = 8) -> Model:
    """A network with seeded weights, its norms settled on seeded images, and one image."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        batch = torch.randn(images, *shape)
        return settled(make(), batch), (torch.randn(1, *shape),)


def _tfc(bits: int) -> Model:
    module = load_trained(TinyPerceptron(bits), TRAINED / f"tfc_w{bits}a{bits}.safetensors")
    return module, (torch.full((1, 1, 28, 28), -MEAN / DEVIATION),)


def tfc_w1a1() -> Model:
    """TFC of 1 bit, trained on real digits, and an empty image of 1 x 28 x 28."""
    return _tfc(1)


def tfc_w2a2() -> Model:
    """TFC of 2 bits, trained on real digits, and an empty image of 1 x 28 x 28."""
    return _tfc(2)


def cnv_w1a1() -> Model:
    """CNV of 1 bit with seeded weights, and an image of 3 x 32 x 32."""
    return seeded(lambda: ConvolutionalNetwork(1), 3, 32, 32)


def cnv_w2a2() -> Model:
    """CNV of 2 bits with seeded weights, and an image of 3 x 32 x 32."""
    return seeded(lambda: ConvolutionalNetwork(2), 3, 32, 32)


def keywords_w3a3() -> Model:
    """The keyword spotter of 3 bits with seeded weights, and 490 coefficients."""
    return seeded(KeywordPerceptron, 490)


def intrusion_w2a2() -> Model:
    """The intrusion detector of 2 bits with seeded weights, and 593 features."""
    module, _ = seeded(IntrusionPerceptron, 593)
    return module, (torch.zeros(1, 593),)


def resnet8_w4a4() -> Model:
    """ResNet-8 of 4 bits, first and last layer 8, with seeded weights; an image of 3 x 32 x 32."""
    return seeded(lambda: SmallResNet(4), 3, 32, 32)


def resnet8_w8a8() -> Model:
    """ResNet-8 of 8 bits with seeded weights, and an image of 3 x 32 x 32."""
    return seeded(lambda: SmallResNet(8), 3, 32, 32)


def mobilenet_w4a4() -> Model:
    """MobileNet v1 of 4 bits with seeded weights, and an image of 3 x 224 x 224."""
    return seeded(lambda: MobileNet(4), 3, 224, 224, images=2)


def train_tfc(bits: int, epochs: int, progress: Callback) -> str:
    """Train TFC of `bits` bits on real digits, keep it, and say how it does on 1,000 others."""
    digits = load_digits()
    module = train(Recipe(lambda: TinyPerceptron(bits), epochs, 2e-2, 64), digits, progress)
    path = TRAINED / f"tfc_w{bits}a{bits}.safetensors"
    save_trained(module, path)
    module, inputs = _tfc(bits)
    trained = float_accuracy(module, digits)
    integer = integer_accuracy(to_workload(module, inputs), digits)
    return (
        f"TFC, {bits} bits: {trained:.1%} of {HELD_OUT} held-out digits as trained, "
        f"{integer:.1%} in integers; {path.stat().st_size} bytes in {path.name}"
    )


def main() -> int:
    """Train TFC of 1 and of 2 bits."""
    for bits in (1, 2):
        with bars() as progress:
            said = train_tfc(bits, 60, progress)
        print(said, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
