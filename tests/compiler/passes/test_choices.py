"""Choices, comparisons and masks of inputs in sums and products: the same values, in integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.fx import Interpreter
from torch.nn import functional

from intaglio.compiler import reference
from intaglio.compiler.capture import capture
from intaglio.compiler.passes.lift_constants import lifted
from intaglio.compiler.pipeline import fuse, to_workload
from intaglio.compiler.workload import Rescale, Softmax, Workload
from intaglio.errors import CalibrationError
from tests.compiler.kernels.agreement import check
from tests.compiler.models import images, plan_of

Forward = Callable[[Tensor, Tensor], Any]
CAUSAL = torch.ones(6, 6, dtype=torch.bool).tril()
LOWEST = torch.finfo(torch.float32).min
KEPT = torch.tensor([[1, 1, 1, 0, 1, 0]])
attend = functional.scaled_dot_product_attention
CHOICES: dict[str, Forward] = {
    "maximum": lambda x, k: torch.maximum(x, x.flip(-1)),
    "maximum of two shapes": lambda x, k: torch.maximum(x.mean(-1, True), x),
    "minimum": lambda x, k: torch.minimum(x, x.flip(-1)),
    "bounds that are computed": lambda x, k: torch.clamp(x, x.mean(-1, True), x.mean(1, True) + 1),
    "largest of an axis": lambda x, k: x.max(1)[0],
    "smallest of an axis": lambda x, k: x.min(dim=1, keepdim=True).values,
    "smallest and largest": lambda x, k: torch.cat(torch.aminmax(x, dim=1, keepdim=True), 1),
    "smallest of all": lambda x, k: torch.cat([x.min().view(1, 1), x.max().view(1, 1)]),
    "the larger by comparison": lambda x, k: torch.where(x > x.flip(-1), x, x.flip(-1)),
    "by a mask of the model": lambda x, k: torch.where(CAUSAL, x, x.flip(-1)),
    "lower triangle": lambda x, k: x.tril(),
    "filled where another is low": lambda x, k: (x.flip(-1) * 1).masked_fill(x < x.flip(-1), 0.5),
    "logic of two": lambda x, k: x * ((x > -9) & ~(x.flip(-1) >= 9) | (x.flip(1) < -9)),
    "one or the other": lambda x, k: x * ((x > -9) ^ (x.flip(-1) > 9)),
    "comparisons that differ": lambda x, k: x * ((x > -9) != (x.flip(-1) > 9)),
    "comparisons that agree": lambda x, k: x * ((x > -9) == (x.flip(-1) < 9)),
    "bounds the wrong way round": lambda x, k: x.clamp(0.5, -0.5) + x,
    "zeros either way": lambda x, k: torch.where(x > x.flip(-1), 0.0, 0.0) + x,
    "logic with numbers": lambda x, k: x * torch.logical_and(x > x.flip(-1), torch.arange(6) / 2),
    "truth of a real": lambda x, k: torch.where(x.relu().bool(), x, x.tril().relu()),
    "zeros like it": lambda x, k: torch.maximum(x, torch.zeros_like(x.flip(1))) + x.flip(1),
    "interpolation": lambda x, k: torch.lerp(x, x.flip(-1), 0.3),
}


def scores(x: Tensor) -> Tensor:
    return x @ x.mT / 2


def padding(k: Tensor) -> Tensor:
    return k[:, None, None, :]


MASKS: dict[str, Forward] = {
    "booleans joined": lambda x, k: attend(x, x, x, attn_mask=CAUSAL & padding(k).bool()),
    "chosen biases": lambda x, k: attend(
        x, x, x, attn_mask=torch.where(CAUSAL & padding(k).bool(), 0.0, LOWEST)
    ),
    "one minus the mask": lambda x, k: (
        (scores(x) + (1.0 - padding(k).float()) * LOWEST).softmax(-1) @ x
    ),
    "a sum of biases": lambda x, k: (
        (scores(x) + ((1.0 - padding(k).float()) * -1e9 + torch.where(CAUSAL, 0.0, -1e9))).softmax(
            -1
        )
        @ x
    ),
    "filled where 0": lambda x, k: scores(x).masked_fill(padding(k) == 0, -1e9).softmax(-1) @ x,
    "filled twice": lambda x, k: (
        scores(x).masked_fill(~CAUSAL, -1e9).masked_fill(~(padding(k) > 0), -1e9).softmax(-1) @ x
    ),
    "filled where either": lambda x, k: (
        scores(x).masked_fill((padding(k) == 0) | ~CAUSAL, LOWEST).softmax(-1) @ x
    ),
    "a bias and a mask": lambda x, k: (
        (scores(x) + (torch.arange(6.0) / 4 + (1.0 - padding(k).float()) * -1e9)).softmax(-1) @ x
    ),
}


class Forwards(nn.Module):
    """A model that returns the results of several functions, of two inputs if it has a mask."""

    def __init__(self, forwards: dict[str, Forward]) -> None:
        super().__init__()
        self.forwards = forwards


class Choices(Forwards):
    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x, x) for function in self.forwards.values())


class Masked(Forwards):
    def forward(self, x: Tensor, kept: Tensor) -> tuple[Tensor, ...]:
        return tuple(function(x, kept) for function in self.forwards.values())


@dataclass(frozen=True)
class Made:
    """A model, its inputs and its workload."""

    model: nn.Module
    inputs: tuple[Tensor, ...]
    workload: Workload

    def integer(self, *inputs: Tensor) -> dict[str, np.ndarray]:
        """The real values that the integer network returns."""
        names = self.workload.inputs
        floats = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        made = reference.run(self.workload, reference.quantise_inputs(self.workload, floats))
        return reference.dequantise_outputs(self.workload, made)


@cache
def made_of(masked: bool) -> Made:
    x = images(1, 2, 6, 6)
    model = (Masked(MASKS) if masked else Choices(CHOICES)).eval()
    inputs = (x, KEPT) if masked else (x,)
    names = ("x", "kept")[: len(inputs)]
    data = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
    return Made(model, inputs, to_workload(model, inputs, calibration=data))


@pytest.mark.parametrize("masked", [False, True])
def test_the_passes_change_no_value(masked: bool) -> None:
    made = made_of(masked)
    captured = capture(made.model, made.inputs)
    assert fuse(captured).refusals == ()
    with torch.no_grad():
        run = Interpreter(captured.module).run
        results = run(*made.inputs, *lifted(captured.module).values())
        for result, wanted in zip(results, made.model(*made.inputs), strict=True):
            torch.testing.assert_close(result, wanted)


CASES = [(masked, name) for masked in (False, True) for name in (MASKS if masked else CHOICES)]


@pytest.mark.parametrize(("masked", "name"), CASES)
def test_the_integers_stay_close_to_the_float_model(masked: bool, name: str) -> None:
    made = made_of(masked)
    index = list(MASKS if masked else CHOICES).index(name)
    with torch.no_grad():
        wanted = made.model(*made.inputs)[index].numpy()
    found = made.integer(*made.inputs)[made.workload.outputs[index]].reshape(wanted.shape)
    assert np.square(found - wanted).sum() < 10**-3 * np.square(wanted).sum()


def test_every_mask_hides_what_is_masked() -> None:
    made = made_of(True)
    softmaxes = [op for op in made.workload if isinstance(op, Softmax)]
    assert [op.mask is not None for op in softmaxes] == [True] * len(MASKS)
    x, other = made.inputs[0], made.inputs[0].clone()
    other[:, :, KEPT[0] == 0] = 0.75
    hidden = (KEPT[0] == 0).numpy()
    for first, second in zip(
        made.integer(x, KEPT).values(), made.integer(other, KEPT).values(), strict=True
    ):
        assert np.array_equal(first[:, :, ~hidden], second[:, :, ~hidden])
    others = torch.tensor([[1, 0, 1, 1, 1, 1]])
    with torch.no_grad():
        for wanted, found in zip(
            made.model(x, others), made.integer(x, others).values(), strict=True
        ):
            assert (
                np.square(found - wanted.numpy()).sum() < 10**-2.8 * np.square(wanted.numpy()).sum()
            )


@pytest.mark.parametrize("masked", [False, True])
def test_kernels_compute_the_same_integers(masked: bool, tmp_path: Path) -> None:
    check(made_of(masked).workload, tmp_path)


def test_a_mask_that_calibration_never_sees_still_counts() -> None:
    x = images(1, 2, 6, 6)
    model = Choices({"late": lambda x, k: torch.where(x.flip(-1) > 100, x.flip(-1), x)}).eval()
    workload = to_workload(model, (x,), calibration={"x": x.numpy()})
    scales = [workload.tensor(op.output).scale for op in workload if isinstance(op, Rescale)]
    assert scales == [1 / 255] * 2, "the mask and its opposite"


def test_integers_without_a_table_are_compared_to_0_and_1_alone() -> None:
    model = Masked({"id": lambda x, k: attend(x, x, x, attn_mask=(padding(k) != 3))}).eval()
    refusals = plan_of(model, images(1, 2, 6, 6), KEPT).refusals
    [sentence] = [f"{r.reason}; {r.way_out}" for r in refusals if "ne" in r.nodes]
    assert sentence == (
        "ne has no integer form; replace it by supported layers, or run this part outside the model"
    )


def test_integers_that_no_table_holds_are_refused() -> None:
    model = Masked({"id": lambda x, k: x * (padding(k) == 1)}).eval()
    x, ids = images(2, 2, 6, 6), torch.tensor([[1, 1, 0, 0, 1, 0], [1, 3, 0, 2, 1, 0]])
    with pytest.raises(CalibrationError) as caught:
        to_workload(model, (x[:1], KEPT), calibration={"x": x.numpy(), "kept": ids.numpy()})
    assert str(caught.value) == (
        "calibration input 'kept' holds 3, the model tells its integers apart from 0 to 1; give "
        "integers in that range, or compare the rows of an embedding in place of the integers"
    )
