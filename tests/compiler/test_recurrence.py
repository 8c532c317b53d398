"""LSTM, GRU and RNN layers: unrolled, one weight for all steps, close to the float model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intaglio.compiler import reference
from intaglio.compiler.calibration import Method
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import MatMul, Workload
from tests.compiler.fake_quantised import compare
from tests.compiler.models import Calls, images, seeded

FEATURES, HIDDEN, STEPS = 4, 6, 5
KINDS: dict[str, partial[Any]] = {
    "lstm": partial(nn.LSTM),
    "gru": partial(nn.GRU),
    "rnn": partial(nn.RNN),
    "lstm of two layers, both ways": partial(nn.LSTM, num_layers=2, bidirectional=True),
    "gru, both ways, no bias": partial(nn.GRU, bidirectional=True, bias=False),
}


class Recurrent(nn.Module):
    """A recurrent layer that returns its outputs and its last states."""

    def __init__(self, kind: partial[Any]) -> None:
        super().__init__()
        self.layer = kind(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs, state = self.layer(x)
        return (outputs, *state) if isinstance(state, tuple) else (outputs, state)


def walks(seed: int = 0) -> Tensor:
    """Eight random walks, as sensors give them: each value close to the one before."""
    return torch.cumsum(images(8, STEPS, FEATURES, seed=seed), 1) / 2


def workload_of(name: str, method: Method | None = None) -> tuple[nn.Module, Workload]:
    model, x = seeded(lambda: Recurrent(KINDS[name])), walks()
    return model, to_workload(model, (x[:1],), calibration={"x": x.numpy()}, method=method)


def cosines(model: nn.Module, workload: Workload, x: Tensor) -> list[float]:
    """The cosine of every output with that of the float model, over the sequences of `x`."""
    entries = reference.quantise_inputs(workload, {"x": x.numpy()})
    made = reference.dequantise_outputs(workload, reference.run(workload, entries))
    with torch.no_grad():
        wanted = zip(*(model(sequence[None]) for sequence in x), strict=True)
        found = [(made[n], torch.cat(w).numpy()) for n, w in zip(made, wanted, strict=True)]
    return [float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum())) for a, b in found]


@pytest.mark.parametrize("name", KINDS)
def test_sequences_not_seen_before_stay_close(name: str) -> None:
    model, workload = workload_of(name)
    assert min(cosines(model, workload, walks(seed=1))) > 0.995


@pytest.mark.parametrize("name", KINDS)
def test_all_steps_read_one_weight(name: str) -> None:
    model, workload = workload_of(name)
    weights = {op.weight for op in workload if isinstance(op, MatMul) and not op.epilogue.residual}
    assert len(weights) <= sum("weight" in key for key, _ in model.named_parameters())


def test_every_step_is_its_fake_quantised_form() -> None:
    def steps(model: Calls, x: Tensor) -> Tensor:
        cell = model.get_submodule("cell")
        for _ in range(STEPS):
            x = torch.tanh(cell(x))
        return x

    made = compare(seeded(lambda: Calls(steps, cell=nn.Linear(9, 9))), images(1, 9))
    assert max(made.excess.values()) < 1e-3


def test_weights_of_all_steps_are_rounded_together() -> None:
    method = Method(rounding="compensated", correct_bias=True)
    model, workload = workload_of("lstm", method)
    assert min(cosines(model, workload, walks(seed=1))) > 0.995
    stored = {op.weight for op in workload if isinstance(op, MatMul)}
    assert len(stored) == 2
