"""Decoders of language models, each as a class and as a MODEL callable.

`llama_decode` is one step of a decoder of the size of Llama 7B on PyTorch's meta device: shapes
and no weights, so `intaglio estimate examples/decoders.py:llama_decode --allow-host` tells its
cycles without its 27 GB.  A step works on one token: its state is a vector of shape (1, width).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

Model = tuple[nn.Module, tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The extents of a decoder; `cached` tokens went before the one that a step computes."""

    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int
    cached: int

    @property
    def head(self) -> int:
        """Features of one head."""
        return self.width // self.heads

    @property
    def cache(self) -> tuple[int, int, int, int]:
        """The shape of the keys, and of the values, that one layer keeps."""
        return (1, self.heads, self.cached, self.head)


LLAMA_7B = Sizes(layers=32, width=4096, heads=32, hidden=11008, vocabulary=32000, cached=1024)
"""Llama 7B (Touvron et al., 2023, table 2)."""


SMALL = Sizes(layers=4, width=256, heads=8, hidden=688, vocabulary=1000, cached=64)
"""The same network, small enough to have its weights at hand."""


class Attention(nn.Module):
    """Attention of one token to those before it, positions as rotations (Su et al., 2021)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.key = nn.Linear(sizes.width, sizes.width, bias=False)
        self.value = nn.Linear(sizes.width, sizes.width, bias=False)
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)
        rates = 10000 ** (-torch.arange(0, sizes.head, 2) / sizes.head)
        angles = (sizes.cached * rates).repeat(2)
        self.cosine = nn.Buffer(angles.cos())
        self.sine = nn.Buffer(angles.sin())

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, width) and the caches to (1, width), the new key and the new value."""
        heads = (1, self.sizes.heads, 1, self.sizes.head)
        query = self._rotated(self.query(x).reshape(heads))
        key = self._rotated(self.key(x).reshape(heads))
        value = self.value(x).reshape(heads)
        scores = query @ torch.cat([keys, key], 2).transpose(2, 3) * self.sizes.head**-0.5
        mixed = torch.softmax(scores, -1) @ torch.cat([values, value], 2)
        return self.out(mixed.reshape(x.shape)), key, value

    def _rotated(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cosine + torch.cat([-second, first], -1) * self.sine


class Block(nn.Module):
    """Attention, then a gated feed-forward network, each behind an RMS norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(sizes.width, 1e-5)
        self.attention = Attention(sizes)
        self.norm = nn.RMSNorm(sizes.width, 1e-5)
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(1, width) and the caches to (1, width), the new key and the new value."""
        mixed, key, value = self.attention(self.attention_norm(x), keys, values)
        x = x + mixed
        y = self.norm(x)
        return x + self.down(nn.functional.silu(self.gate(y)) * self.up(y)), key, value


class Llama(nn.Module):
    """One decoding step of a decoder as Llama has it (Touvron et al., 2023)."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = nn.RMSNorm(sizes.width, 1e-5)
        self.head = nn.Linear(sizes.width, sizes.vocabulary, bias=False)

    def forward(self, token: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """A token (1, 1), each layer's keys and values, to logits (1, vocabulary) and new ones."""
        x = self.embedding(token).flatten(1)
        made: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x, key, value = block(x, *caches[2 * index : 2 * index + 2])
            made += (key, value)
        return (self.head(self.norm(x)), *made)


def llama(sizes: Sizes, seed: int = 0) -> Model:
    """A decoding step of a decoder of these `sizes`, with seeded weights and caches."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        token = torch.randint(sizes.vocabulary, (1, 1))
        caches = (torch.randn(sizes.cache) for _ in range(2 * sizes.layers))
        return Llama(sizes).eval(), (token, *caches)


def llama_small(seed: int = 0) -> Model:
    """A decoding step of a small decoder with 64 tokens before it, with seeded weights."""
    return llama(SMALL, seed)


def llama_decode() -> Model:
    """A decoding step of Llama 7B with 1,024 tokens before it, shapes only."""
    with torch.device("meta"):
        return llama(LLAMA_7B)
