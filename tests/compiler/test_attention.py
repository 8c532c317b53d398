"""Softmax, attention and norms from torch to exact integers, in every spelling."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import BatchMatMul, MatMul, Norm, Softmax, Workload, inputs
from intaglio.errors import UnsupportedError
from tests.compiler.models import Calls

Forward = Callable[[Any, Tensor], Tensor]
HEADS, TOKENS, FEATURES = 4, 6, 8
CAUSAL = torch.ones(TOKENS, TOKENS, dtype=torch.bool).tril()
LARGE = torch.arange(TOKENS)[:, None] * 1e5
HIDDEN = torch.zeros(TOKENS, TOKENS).masked_fill(~CAUSAL, float("-inf"))
attend = functional.scaled_dot_product_attention


def made_of(forward: Forward, **layers: nn.Module) -> tuple[nn.Module, Workload, Tensor]:
    """A model that calls `forward`, its workload, and the input it was calibrated on."""
    torch.manual_seed(0)
    x = torch.randn(1, HEADS, TOKENS, FEATURES)
    model = Calls(forward, **layers).eval()
    return model, to_workload(model, (x,), calibration={"x": x.numpy()}), x


def run(workload: Workload, **given: Tensor) -> np.ndarray:
    """The real output of the integer network."""
    batch = reference.quantise_inputs(workload, {name: x.numpy() for name, x in given.items()})
    made = reference.dequantise_outputs(workload, reference.run(workload, batch))
    return made[workload.outputs[0]]


def noise(made: np.ndarray, wanted: Tensor) -> float:
    """The energy of the error as a share of the signal's."""
    assert made.shape == tuple(wanted.shape)
    return float(np.square(made - wanted.numpy()).sum() / np.square(wanted.numpy()).sum())


def softmaxes(workload: Workload) -> list[Softmax]:
    return [op for op in workload if isinstance(op, Softmax)]


FORWARDS: dict[str, tuple[Forward, bool]] = {
    "softmax": (lambda m, x: x.softmax(-1), False),
    "softmax of another axis": (lambda m, x: x.softmax(1), False),
    "softmax of another axis under a mask": (
        lambda m, x: (x @ x.mT + HIDDEN).softmax(2) @ x,
        True,
    ),
    "attention": (lambda m, x: attend(x, x * -0.5, x), False),
    "attention of a given scale": (lambda m, x: attend(x, x, x, scale=0.2), False),
    "causal attention": (lambda m, x: attend(x, x * 0.5, x, is_causal=True), True),
    "attention under booleans": (lambda m, x: attend(x, x, x, attn_mask=CAUSAL), True),
    "attention under a mask of floats": (lambda m, x: attend(x, x, x, attn_mask=HIDDEN), True),
    "attention with a bias under a mask": (
        lambda m, x: attend(x, x, x, attn_mask=HIDDEN + torch.arange(6.0) / 4),
        True,
    ),
    "attention with a bias": (lambda m, x: attend(x, x, x, attn_mask=CAUSAL.float()), False),
    "a mask that hides nothing": (
        lambda m, x: attend(x, x, x, attn_mask=torch.ones(6, 6, dtype=torch.bool)),
        False,
    ),
    "grouped heads": (lambda m, x: attend(x, x[:, :2], x[:, 2:], enable_gqa=True), False),
    "scores added to": (lambda m, x: (x @ x.mT / 3 + HIDDEN).softmax(-1) @ x, True),
    "scores filled": (
        lambda m, x: (x @ x.mT / 3).masked_fill(~CAUSAL, -1e9).softmax(-1) @ x,
        True,
    ),
    "a mask taken away from scores": (
        lambda m, x: (x @ x.mT / 3 - (~CAUSAL) * 1e9).softmax(-1) @ x,
        True,
    ),
    "scores under one large number each": (
        lambda m, x: (x @ x.mT / 3 + (HIDDEN - LARGE)).softmax(-1) @ x,
        True,
    ),
    "scores chosen": (
        lambda m, x: torch.where(CAUSAL, x @ x.mT / 3, -torch.inf).softmax(-1) @ x,
        True,
    ),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_attention_stays_close_to_the_float_model(name: str) -> None:
    forward, masked = FORWARDS[name]
    model, workload, x = made_of(forward)
    [op] = softmaxes(workload)
    assert (op.mask is not None) == masked
    assert workload.tensor(op.output).scale == 1 / 255
    with torch.no_grad():
        assert noise(run(workload, x=x), model(x)) < 10**-3


def test_masked_entries_are_nothing_at_all() -> None:
    _, workload, x = made_of(lambda m, x: (x @ x.mT + HIDDEN).softmax(-1).relu())
    assert not run(workload, x=x)[..., ~CAUSAL.numpy()].any()


def test_large_numbers_in_place_of_a_mask_are_refused() -> None:
    """Numbers that are computed and added cost the scores their steps."""
    with pytest.raises(UnsupportedError) as caught:
        made_of(lambda m, x: (x @ x.mT / 3 - x.relu().mean(-1, True) * 1e6).softmax(-1) @ x)
    reason, way_out = str(caught.value).split("; ")
    assert re.fullmatch(
        r"softmax \(models.py:\d+: return self.function\(self, x\)\): its scores reach \d{6}, "
        r"the softmax tells them apart up to 3000",
        reason,
    )
    assert way_out == (
        "hide entries by a boolean mask (attn_mask, or masked_fill with -inf) in place of large "
        "numbers"
    )


MODULES: dict[str, Callable[[], tuple[nn.Module, Forward]]] = {
    "batch first": lambda: (
        nn.MultiheadAttention(FEATURES, 2, batch_first=True),
        lambda m, x: m.inner(x, x, x, need_weights=False)[0],
    ),
    "tokens first": lambda: (
        nn.MultiheadAttention(FEATURES, 2),
        lambda m, x: m.inner(x.mT.permute(2, 0, 1), x.permute(1, 0, 2), x.permute(1, 0, 2))[0],
    ),
    "encoder layer": lambda: (
        nn.TransformerEncoderLayer(FEATURES, 2, 16, batch_first=True),
        lambda m, x: m.inner(x),
    ),
    "encoder layer, norms first": lambda: (
        nn.TransformerEncoderLayer(FEATURES, 2, 16, batch_first=True, norm_first=True),
        lambda m, x: m.inner(x),
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_transformer_modules_of_torch_keep_their_tokens_as_rows(name: str) -> None:
    """Axes of extent 1 that change places are no move, and no layer reads tokens as a batch."""
    torch.manual_seed(0)
    inner, forward = MODULES[name]()
    x = torch.randn(1, TOKENS, FEATURES)
    model = Calls(forward, inner=inner).eval()
    workload = to_workload(model, (x,), calibration={"x": x.numpy()})
    layers = [op for op in workload if isinstance(op, MatMul)]
    assert len(layers) >= 2
    assert {workload.tensor(op.input).shape[:-1] for op in layers} == {(1, TOKENS)}
    with torch.no_grad():
        assert noise(run(workload, x=x), model(x)) < 10**-2.5


class Masked(nn.Module):
    """Attention whose mask is an input, as token networks have it."""

    def forward(self, x: Tensor, kept: Tensor) -> Tensor:
        made: Tensor = attend(x, x, x, attn_mask=kept.to(torch.bool)[:, None, None, :])
        return made


def test_a_mask_can_be_an_input() -> None:
    torch.manual_seed(0)
    x, kept = torch.randn(1, HEADS, TOKENS, FEATURES), torch.tensor([[1, 1, 1, 1, 0, 0]])
    model = Masked().eval()
    workload = to_workload(model, (x, kept), calibration={"x": x.numpy(), "kept": kept.numpy()})
    assert str(workload.tensor("kept").element) == "u1"
    with torch.no_grad():
        assert noise(run(workload, x=x, kept=kept), model(x, kept)) < 10**-3
    assert not run(workload, x=x, kept=torch.zeros_like(kept)).any()
    other = x.clone()
    other[:, :, 4:] = 1.5
    assert np.array_equal(
        run(workload, x=x, kept=kept)[:, :, :4], run(workload, x=other, kept=kept)[:, :, :4]
    )


def written_out(module: Any, x: Tensor) -> Tensor:
    """An RMS norm as transformers' language models write it."""
    variance = x.pow(2).mean(-1, keepdim=True)
    made: Tensor = module.norm.weight * (x * torch.rsqrt(variance + 1e-6))
    return made


NORMS: dict[str, tuple[Forward, nn.Module, str]] = {
    "layer": (lambda m, x: m.norm(x), nn.LayerNorm(FEATURES), "layer"),
    "layer over two axes": (lambda m, x: m.norm(x), nn.LayerNorm((TOKENS, FEATURES)), "layer"),
    "layer without a weight": (
        lambda m, x: m.norm(x),
        nn.LayerNorm(FEATURES, elementwise_affine=False),
        "layer",
    ),
    "RMS": (lambda m, x: m.norm(x), nn.RMSNorm(FEATURES), "rms"),
    "RMS, written out": (written_out, nn.RMSNorm(FEATURES), "rms"),
    "RMS of no weight, written out": (
        lambda m, x: x * torch.rsqrt((x * x).mean(-1, True) + 1e-5),
        nn.Identity(),
        "rms",
    ),
    "group": (lambda m, x: m.norm(x), nn.GroupNorm(2, HEADS), "group"),
}


@pytest.mark.parametrize("name", NORMS)
def test_norms_stay_close_to_the_float_model(name: str) -> None:
    forward, norm, kind = NORMS[name]
    torch.manual_seed(1)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    model, workload, x = made_of(forward, norm=norm)
    [op] = [op for op in workload if isinstance(op, Norm)]
    assert op.kind == kind
    with torch.no_grad():
        assert noise(run(workload, x=x), model(x)) < 10**-3.5


class Block(nn.Module):
    """A block of a transformer with its norms ahead."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES)
        self.last = nn.LayerNorm(FEATURES)
        self.project, self.mix = nn.Linear(FEATURES, FEATURES), nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0 + 0.5
        y = self.before(x)
        x = x + self.project(attend(y, y, y))
        x = x + self.mix(functional.gelu(self.between(x)))
        made: Tensor = self.last(x)
        return made


def test_scores_and_sums_ahead_of_norms_are_wide() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, HEADS, TOKENS, FEATURES)
    model = Block().eval()
    workload = to_workload(model, (x,), calibration={"x": x.numpy()})
    read = {type(op): [workload.tensor(name) for name in inputs(op)] for op in workload}
    assert {t.element.bits for t in read[Softmax] + read[Norm]} == {16}
    assert {t.element.bits for t in read[MatMul][:1] + read[BatchMatMul]} == {8}
    narrow = to_workload(
        model, (x,), calibration={"x": x.numpy()}, precision=Precision(wide_bits=8)
    )
    assert all(t.element.bits <= 8 for t in narrow.activations())
    with torch.no_grad():
        assert noise(run(workload, x=x), model(x)) < noise(run(narrow, x=x), model(x))


class Behind(nn.Module):
    """A block of a transformer with its norms behind the sums."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.LayerNorm(FEATURES), nn.LayerNorm(FEATURES)
        self.project = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        made: Tensor = self.last(self.project(y) + y)
        return made


def test_sums_that_are_normalised_again_read_a_norm_of_their_own() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, HEADS, TOKENS, FEATURES)
    workload = to_workload(Behind().eval(), (x,), calibration={"x": x.numpy()})
    norms = {op.name: workload.tensor(op.output) for op in workload if isinstance(op, Norm)}
    assert {name: tensor.element.bits for name, tensor in norms.items()} == {
        "first": 16,
        "first_2": 8,
        "last": 8,
    }
