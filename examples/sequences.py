"""Keyword spotting and classification of series: an MLP, a DS-CNN over time, an LSTM and a GRU.

The callables return `(module in eval mode, example inputs)`, as in `examples/networks.py`.  Inputs
are features over time (steps, features), such as 49 frames of 10 cepstral coefficients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from intaglio.examples.networks import Model, settled

STEPS, FEATURES, WORDS = 49, 10, 12


class KeywordMLP(nn.Sequential):
    """Three hidden layers of 144 neurons (Zhang et al., 2017, Hello Edge, small DNN)."""

    def __init__(self, steps: int = STEPS) -> None:
        sizes = [steps * FEATURES, 144, 144, 144]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
        super().__init__(*layers, nn.Linear(sizes[-1], WORDS))


class KeywordDSCNN(nn.Module):
    """A convolution over time, then depthwise and pointwise ones, as in DS-CNN (ibid.)."""

    def __init__(self, channels: int = 64, blocks: int = 4) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv1d(FEATURES, channels, 4, stride=2)]
        for _ in range(blocks):
            depthwise = nn.Conv1d(channels, channels, 3, padding="same", groups=channels)
            for layer in (depthwise, nn.Conv1d(channels, channels, 1)):
                layers += [layer, nn.BatchNorm1d(channels), nn.ReLU()]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(channels, WORDS)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, steps, features) to scores (N, words)."""
        scores: Tensor = self.head(self.body(frames.transpose(1, 2)).mean(2))
        return scores


class RecurrentClassifier(nn.Module):
    """The last output of a recurrent layer, and a linear layer."""

    def __init__(self, layer: nn.LSTM | nn.GRU) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size, WORDS)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (N, steps, features) to scores (N, words)."""
        outputs, _ = self.layer(frames)
        scores: Tensor = self.head(outputs[:, -1])
        return scores


def keyword_mlp(seed: int = 0, steps: int = STEPS) -> Model:
    """The MLP with seeded weights and one word of `steps` frames."""
    return _seeded(lambda: KeywordMLP(steps), seed, steps)


def keyword_dscnn(seed: int = 0, steps: int = STEPS) -> Model:
    """The DS-CNN with seeded weights and one word of `steps` frames."""
    return _seeded(KeywordDSCNN, seed, steps)


def lstm(seed: int = 0, steps: int = STEPS, hidden: int = 64) -> Model:
    """An LSTM classifier with seeded weights and one word of `steps` frames."""
    return _seeded(
        lambda: RecurrentClassifier(nn.LSTM(FEATURES, hidden, batch_first=True)), seed, steps
    )


def gru(seed: int = 0, steps: int = STEPS, hidden: int = 64) -> Model:
    """A GRU classifier with seeded weights and one word of `steps` frames."""
    return _seeded(
        lambda: RecurrentClassifier(nn.GRU(FEATURES, hidden, batch_first=True)), seed, steps
    )


def _seeded(build: Callable[[], nn.Module], seed: int, steps: int) -> Model:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        frames = torch.cumsum(torch.randn(16, steps, FEATURES), 1) / 4
        return settled(build(), frames), (frames[:1].clone(),)
