"""Decoders of language models with their caches: a small GPT-2, and Llama up to 7 billion weights.

A model either reads a prompt, or makes a step: one token after those whose keys and values it is
given.  `llama_step` and `llama_prompt` are Llama 7B on PyTorch's meta device, shapes and no
weights: `intaglio estimate examples/decoders.py:llama_step --allow-host` tells its cycles without
its 27 GB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

Model = tuple[nn.Module, tuple[Tensor, ...]]
States = tuple[Tensor, ...]
"""Keys and values of one layer, or none: (1, heads, tokens, features of a head) each."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The extents of a decoder, of which a feed-forward network is `hidden` wide."""

    layers: int
    width: int
    heads: int
    hidden: int
    vocabulary: int

    @property
    def head(self) -> int:
        """Features of one head."""
        return self.width // self.heads


LLAMA_7B = Sizes(layers=32, width=4096, heads=32, hidden=11008, vocabulary=32000)
"""Llama 7B (Touvron et al., 2023, table 2)."""
SMALL = Sizes(layers=4, width=256, heads=8, hidden=688, vocabulary=1000)
"""A decoder small enough to have its weights at hand."""


def attend(query: Tensor, key: Tensor, value: Tensor, past: States) -> Tensor:
    """Attention of (1, heads, tokens, features) to the past and, causally, to itself.

    Behind a past there is one token alone, which sees everything.
    """
    if past:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=not past)
    return mixed.transpose(1, 2).flatten(2)


class LlamaAttention(nn.Module):
    """Attention with positions as rotations of queries and keys (Su et al., 2021)."""

    def __init__(self, sizes: Sizes, first: int, tokens: int) -> None:
        super().__init__()
        self.heads = (sizes.heads, sizes.head)
        self.query = nn.Linear(sizes.width, sizes.width, bias=False)
        self.key = nn.Linear(sizes.width, sizes.width, bias=False)
        self.value = nn.Linear(sizes.width, sizes.width, bias=False)
        self.out = nn.Linear(sizes.width, sizes.width, bias=False)
        rates = 10000 ** (-torch.arange(0, sizes.head, 2) / sizes.head)
        angles = torch.outer(torch.arange(first, first + tokens), rates).repeat(1, 2)
        self.cosine = nn.Buffer(angles.cos())
        self.sine = nn.Buffer(angles.sin())

    def forward(self, x: Tensor, past: States) -> tuple[Tensor, Tensor, Tensor]:
        """(1, tokens, width) to the same, and the new keys and values."""
        query, key, value = (
            layer(x).unflatten(2, self.heads).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        query, key = self._rotated(query), self._rotated(key)
        return self.out(attend(query, key, value, past)), key, value

    def _rotated(self, x: Tensor) -> Tensor:
        first, second = x.chunk(2, -1)
        return x * self.cosine + torch.cat([-second, first], -1) * self.sine


class LlamaBlock(nn.Module):
    """Attention, then a gated feed-forward network, each behind an RMS norm."""

    def __init__(self, sizes: Sizes, first: int, tokens: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(sizes.width, 1e-5)
        self.attention = LlamaAttention(sizes, first, tokens)
        self.norm = nn.RMSNorm(sizes.width, 1e-5)
        self.gate = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.up = nn.Linear(sizes.width, sizes.hidden, bias=False)
        self.down = nn.Linear(sizes.hidden, sizes.width, bias=False)

    def forward(self, x: Tensor, past: States) -> tuple[Tensor, Tensor, Tensor]:
        """(1, tokens, width) to the same, and the new keys and values."""
        mixed, key, value = self.attention(self.attention_norm(x), past)
        x = x + mixed
        y = self.norm(x)
        return x + self.down(functional.silu(self.gate(y)) * self.up(y)), key, value


class Gpt2Block(nn.Module):
    """Attention from one projection, then a feed-forward network, each behind a layer norm."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.heads = (sizes.heads, sizes.head)
        self.attention_norm = nn.LayerNorm(sizes.width)
        self.project = nn.Linear(sizes.width, 3 * sizes.width)
        self.out = nn.Linear(sizes.width, sizes.width)
        self.norm = nn.LayerNorm(sizes.width)
        self.up = nn.Linear(sizes.width, sizes.hidden)
        self.down = nn.Linear(sizes.hidden, sizes.width)

    def forward(self, x: Tensor, past: States) -> tuple[Tensor, Tensor, Tensor]:
        """(1, tokens, width) to the same, and the new keys and values."""
        query, key, value = (
            part.unflatten(2, self.heads).transpose(1, 2)
            for part in self.project(self.attention_norm(x)).chunk(3, -1)
        )
        x = x + self.out(attend(query, key, value, past))
        hidden = functional.gelu(self.up(self.norm(x)), approximate="tanh")
        return x + self.down(hidden), key, value


class Decoder(nn.Module):
    """Blocks between an embedding and the logits of the next token.

    Each position in `positions` has an embedding too; blocks that know positions need none.
    """

    def __init__(
        self, sizes: Sizes, blocks: list[nn.Module], norm: nn.Module, positions: range = range(0)
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = nn.Linear(sizes.width, sizes.vocabulary, bias=False)
        table = 0.02 * torch.randn(positions.stop, sizes.width)
        self.positions = nn.Parameter(table[positions.start :]) if positions else None

    def forward(self, tokens: Tensor, *past: Tensor) -> tuple[Tensor, ...]:
        """Tokens (1, T) and each layer's past keys and values, or none, to logits and new ones.

        The logits are those after the last token, (1, vocabulary).
        """
        x = self.embedding(tokens)
        if self.positions is not None:
            x = x + self.positions
        made: list[Tensor] = []
        for index, block in enumerate(self.blocks):
            x, key, value = block(x, past[2 * index : 2 * index + 2])
            made += (key, value)
        return (self.head(self.norm(x)[:, -1]), *made)


def llama(sizes: Sizes, past: int, tokens: int = 1, seed: int = 0) -> Model:
    """A decoder as Llama is (Touvron et al., 2023), with seeded weights."""

    def make() -> Decoder:
        blocks: list[nn.Module] = [LlamaBlock(sizes, past, tokens) for _ in range(sizes.layers)]
        return Decoder(sizes, blocks, nn.RMSNorm(sizes.width, 1e-5))

    return _seeded(make, sizes, past, tokens, seed)


def gpt2(sizes: Sizes, past: int, tokens: int = 1, seed: int = 0) -> Model:
    """A decoder as GPT-2 is (Radford et al., 2019), with seeded weights."""

    def make() -> Decoder:
        blocks: list[nn.Module] = [Gpt2Block(sizes) for _ in range(sizes.layers)]
        return Decoder(sizes, blocks, nn.LayerNorm(sizes.width), range(past, past + tokens))

    return _seeded(make, sizes, past, tokens, seed)


def _seeded(make: Callable[[], Decoder], sizes: Sizes, past: int, tokens: int, seed: int) -> Model:
    """A decoder, `tokens` of a prompt, and keys and values of the `past` tokens before them."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        module = make().eval()
        read = torch.randint(sizes.vocabulary, (1, tokens))
        shape = (1, sizes.heads, past, sizes.head)
        states = (torch.randn(shape) for _ in range(2 * sizes.layers if past else 0))
        return module, (read, *states)


def gpt2_prompt(seed: int = 0) -> Model:
    """A small GPT-2 that reads 32 tokens."""
    return gpt2(SMALL, past=0, tokens=32, seed=seed)


def gpt2_step(seed: int = 0) -> Model:
    """A small GPT-2 that makes a step after 32 tokens."""
    return gpt2(SMALL, past=32, seed=seed)


def llama_small(seed: int = 0) -> Model:
    """A small Llama that makes a step after 64 tokens."""
    return llama(SMALL, past=64, seed=seed)


def llama_prompt() -> Model:
    """Llama 7B that reads 128 tokens, shapes only."""
    with torch.device("meta"):
        return llama(LLAMA_7B, past=0, tokens=128)


def llama_step() -> Model:
    """Llama 7B that makes a step after 1,024 tokens, shapes only."""
    with torch.device("meta"):
        return llama(LLAMA_7B, past=1024)
