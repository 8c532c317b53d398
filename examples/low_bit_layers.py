"""Layers whose quantisers are written out: what is trained is what `intaglio` compiles.

Weights of one bit are signs times one scale for each output channel (Rastegari et al., 2016,
XNOR-Net); of more bits they are integers from -q to q, q = 2^(bits-1) - 1, so 2 bits are ternary.
Activations have constant scales, as those of FINN's examples, since batch normalisation comes
before them.  Gradients pass the rounding unchanged within the range (straight-through, clipped).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler.packing import pack, unpack
from intaglio.compiler.tensor import BIPOLAR, ElementType
from intaglio.errors import writing

RELU_REACH = 3.0
"""Where activations without a sign end, in standard deviations of what a batch norm makes."""


class _QuantisedWeight(nn.Module):
    """A weight (K, ...) with `bits` bits and one scale for each of its K channels."""

    weight: Tensor
    scales: Tensor

    def prepare(self, bits: int) -> None:
        """Add the scales, (K,), which follow the weight while it is trained."""
        self.bits = bits
        self.register_buffer("scales", self._scales())

    @property
    def highest(self) -> int:
        """The largest integer."""
        return max((1 << (self.bits - 1)) - 1, 1)

    def quantised(self) -> Tensor:
        """The weight on the grid of its scales."""
        if self.training:
            self.scales = self._scales()
        weight = self.weight
        if self.bits == 1:
            scales = self.scales.reshape(-1, *[1] * (weight.dim() - 1))
            signs = torch.where(weight >= 0, scales, -scales)
            weight = weight + (signs - weight).detach() if self.training else signs
        zeros = torch.zeros(len(self.scales), dtype=torch.int32)
        made: Tensor = torch.fake_quantize_per_channel_affine(
            weight, self.scales, zeros, 0, -self.highest, self.highest
        )
        return made

    def _scales(self) -> Tensor:
        """Mean magnitudes for signs; else 2 mean / sqrt(q), Esser et al., 2020, LSQ, section 2.1.

        No scale leaves codes unused beyond the largest weight.
        """
        rows = self.weight.detach().abs().flatten(1)
        mean = rows.mean(1).clamp(min=1e-6)
        if self.bits == 1:
            return mean
        start = 2 * mean / math.sqrt(self.highest)
        return torch.minimum(start, rows.amax(1).clamp(min=1e-6) / self.highest)


class QuantLinear(_QuantisedWeight, nn.Linear):
    """A linear layer with weights of `bits` bits."""

    def __init__(self, inputs: int, outputs: int, bits: int, bias: bool = False) -> None:
        nn.Linear.__init__(self, inputs, outputs, bias)
        self.prepare(bits)

    def forward(self, values: Tensor) -> Tensor:
        """(N, inputs) to (N, outputs)."""
        return functional.linear(values, self.quantised(), self.bias)


class QuantConv2d(_QuantisedWeight, nn.Conv2d):
    """A convolution with weights of `bits` bits and no bias."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        bits: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> None:
        nn.Conv2d.__init__(
            self, inputs, outputs, kernel, stride, padding, groups=groups, bias=False
        )
        self.prepare(bits)

    def forward(self, values: Tensor) -> Tensor:
        """(N, inputs, Y, X) to (N, outputs, OY, OX)."""
        return functional.conv2d(
            values, self.quantised(), None, self.stride, self.padding, self.dilation, self.groups
        )


class QuantInput(nn.Module):
    """Inputs as integers of `scale` each, with a sign or without."""

    def __init__(self, bits: int, scale: float, signed: bool = True) -> None:
        super().__init__()
        half = 1 << (bits - 1)
        self.scale = scale
        self.lo, self.hi = (-half, half - 1) if signed else (0, 2 * half - 1)

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        made: Tensor = torch.fake_quantize_per_tensor_affine(
            values, self.scale, 0, self.lo, self.hi
        )
        return made


class QuantSigned(nn.Module):
    """Activations in -1 to 1: their signs at one bit, else integers -q to q."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits = bits
        self.highest = max((1 << (bits - 1)) - 1, 1)

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        if self.bits > 1:
            made: Tensor = torch.fake_quantize_per_tensor_affine(
                values, 1 / self.highest, 0, -self.highest, self.highest
            )
            return made
        signs = torch.where(values >= 0, 1.0, -1.0)
        clamped = functional.hardtanh(values) if self.training else values
        return clamped + (signs - clamped).detach() if self.training else signs


class QuantReLU(nn.Module):
    """ReLU to unsigned integers that reach 3 standard deviations."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.highest = (1 << bits) - 1

    def forward(self, values: Tensor) -> Tensor:
        """Any shape."""
        made: Tensor = torch.fake_quantize_per_tensor_affine(
            functional.relu(values), RELU_REACH / self.highest, 0, 0, self.highest
        )
        return made


def save_trained(module: nn.Module, path: Path) -> None:
    """Write a trained network to a safetensors file, the integers of its weights packed.

    Raises OutputError when the system refuses.
    """
    packed = dict(_integers(module))
    state = {name: value.numpy() for name, value in module.state_dict().items()}
    with writing(f"'{path}'"):
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({**state, **packed}, path)


def load_trained(module: nn.Module, path: Path) -> nn.Module:
    """`module` with what `save_trained` wrote, in eval mode: the very same integers and scales."""
    arrays = load_file(path)
    for name, layer in _layers(module):
        element, shape = _element(layer), tuple(layer.weight.shape)
        integers = torch.from_numpy(unpack(arrays[f"{name}.weight"], element, shape))
        scales = torch.from_numpy(arrays[f"{name}.scales"])
        weight = integers * scales.reshape(-1, *[1] * (integers.dim() - 1))
        arrays[f"{name}.weight"] = weight.numpy()
    module.load_state_dict({name: torch.from_numpy(value) for name, value in arrays.items()})
    return module.eval()


def _layers(module: nn.Module) -> Iterator[tuple[str, _QuantisedWeight]]:
    for name, layer in module.named_modules():
        if isinstance(layer, _QuantisedWeight):
            yield name, layer


def _element(layer: _QuantisedWeight) -> ElementType:
    return BIPOLAR if layer.bits == 1 else ElementType(layer.bits)


def _integers(module: nn.Module) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for name, layer in _layers(module):
        with torch.no_grad():
            scales = layer.scales.reshape(-1, *[1] * (layer.weight.dim() - 1))
            integers = (layer.eval().quantised() / scales).round().to(torch.int8)
        yield f"{name}.weight", pack(integers.numpy(), _element(layer))
