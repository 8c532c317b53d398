"""Products of activations, reductions, constants and moves: from torch to exact integers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.serialise import load_workload, save_workload
from intaglio.compiler.workload import Gather, Op, Workload
from tests.compiler.models import Calls

Forward = Callable[[Any, Tensor], Tensor]
TOKENS = 6
FEATURES = 8


def made_of(forward: Forward, *sizes: tuple[int, ...]) -> tuple[nn.Module, Workload, Tensor]:
    """A model that calls `forward`, its workload, and the input it was calibrated on."""
    torch.manual_seed(0)
    layers = {"fc": nn.Linear(FEATURES, 5), "norm": nn.Linear(FEATURES, FEATURES)}
    x = torch.randn(*(sizes or ((1, TOKENS, FEATURES),))[0])
    model = Calls(forward, **layers).eval()
    return model, to_workload(model, (x,), calibration={"x": x.numpy()}), x


def outputs(workload: Workload, *images: Tensor) -> np.ndarray:
    """The real output of the integer network."""
    entry = workload.tensor(workload.inputs[0])
    batch = reference.quantise_inputs(workload, {entry.name: torch.cat(images).numpy()})
    made = reference.dequantise_outputs(workload, reference.run(workload, batch))
    return made[workload.outputs[0]]


FORWARDS: dict[str, Forward] = {
    "linear over tokens": lambda m, x: m.fc(x),
    "linear over four axes": lambda m, x: m.fc(x.view(1, 2, 3, 8)),
    "product of activations": lambda m, x: x @ m.norm(x).transpose(1, 2),
    "product, not transposed": lambda m, x: torch.bmm(x, x.reshape(1, 8, 6)),
    "scaled product": lambda m, x: (x @ x.transpose(-1, -2)) / 3.0,
    "broadcast product": lambda m, x: x.view(1, 2, 3, 8) @ x.view(1, 1, 6, 8)[:, :, :4].mT,
    "matrix of the model": lambda m, x: x @ m.fc.weight.T + m.fc.bias,
    "element by element": lambda m, x: x * m.norm(x),
    "gate of channels": lambda m, x: x.mean(1, keepdim=True).sigmoid() * x,
    "square": lambda m, x: x**2,
    "factor": lambda m, x: x * 0.37,
    "negative factor": lambda m, x: x / -3,
    "negation": lambda m, x: -x,
    "number added": lambda m, x: x + 1.5,
    "number subtracted": lambda m, x: x - 0.25,
    "number minus": lambda m, x: 1 - torch.sigmoid(x),
    "other number minus": lambda m, x: 2.5 - x,
    "zero": lambda m, x: x * 0 + x,
    "padded rows": lambda m, x: m.fc(torch.nn.functional.pad(x, (0, 0, 1, 2))),
    "padded features": lambda m, x: m.fc(torch.nn.functional.pad(x[..., :5], (1, 2))),
    "padded channels": lambda m, x: torch.nn.functional.conv2d(
        torch.nn.functional.pad(x.view(1, 2, 3, 8), (0, 1, 1, 0, 0, 1)),
        torch.eye(3)[:, :, None, None],
    ),
    "one number": lambda m, x: torch.sigmoid(x.sum() * 0.1) + x.amax(),
    "one axis": lambda m, x: x[0, 0] + x[0, 1],
    "a layer twice in one sum": lambda m, x: m.fc(torch.relu(x)) + m.fc(x),
    "broadcast sum": lambda m, x: x + x[:, :1],
    "constant of the model": lambda m, x: x + torch.arange(8.0) / 8,
    "mean": lambda m, x: x.mean(-1),
    "mean of all": lambda m, x: x.mean((0, 1, 2), keepdim=True),
    "sum": lambda m, x: x.sum((1, 2)),
    "maximum": lambda m, x: x.amax(1),
    "permute": lambda m, x: x.view(1, 6, 2, 4).permute(0, 2, 3, 1).relu(),
    "slice": lambda m, x: x[:, 1:5:2, -3:],
    "select": lambda m, x: x[:, 0],
    "chunks": lambda m, x: torch.cat([c.relu() for c in x.chunk(3, 1)][::-1], 1),
    "split": lambda m, x: x.split([1, 4, 1], 1)[1],
    "unbind": lambda m, x: torch.stack(x.unbind(1)[:2], 2),
    "pad": lambda m, x: torch.nn.functional.pad(x, (1, 2, 3, 0)),
    "expand": lambda m, x: x[:, :1].expand(1, 4, 8).relu(),
    "chosen rows": lambda m, x: x.index_select(1, torch.tensor([5, 0, 0])),
    "joined tokens": lambda m, x: torch.cat([x, m.norm(x)], 1),
}


@pytest.mark.parametrize("name", FORWARDS)
def test_the_integers_stay_close_to_the_float_model(name: str) -> None:
    model, workload, x = made_of(FORWARDS[name])
    with torch.no_grad():
        wanted = model(x).numpy()
    made = outputs(workload, x)
    assert made.shape == (wanted.shape or (1,)), "a number is a tensor of its image"
    error = made.reshape(wanted.shape) - wanted
    assert np.square(error).sum() < 10**-2.8 * np.square(wanted).sum()


@pytest.mark.parametrize("name", FORWARDS)
def test_images_do_not_touch_each_other(name: str) -> None:
    _, workload, x = made_of(FORWARDS[name])
    torch.manual_seed(1)
    other = torch.randn(x.shape)
    both, alone = outputs(workload, x, other), (outputs(workload, x), outputs(workload, other))
    assert np.array_equal(both, np.concatenate(alone))


@pytest.mark.parametrize("name", FORWARDS)
def test_a_workload_is_read_as_it_was_written(name: str, tmp_path: Path) -> None:
    _, workload, x = made_of(FORWARDS[name])
    save_workload(workload, tmp_path)
    again = load_workload(tmp_path)
    assert again.ops == workload.ops
    assert np.array_equal(outputs(again, x), outputs(workload, x))


class Embedded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(20, FEATURES)
        self.places = nn.Embedding(TOKENS, FEATURES)

    def forward(self, ids: Tensor) -> Tensor:
        made: Tensor = self.tokens(ids) + self.places(torch.arange(TOKENS))
        return made


def gathers(workload: Workload) -> list[Op]:
    return [op for op in workload if isinstance(op, Gather)]


def test_token_ids_pick_rows_of_an_integer_table() -> None:
    torch.manual_seed(0)
    model, ids = Embedded().eval(), torch.tensor([[19, 0, 7, 7, 3, 11]])
    workload = to_workload(model, (ids,))
    entry = workload.tensor("ids")
    assert (str(entry.element), entry.scale) == ("u5", 1.0)
    assert len(gathers(workload)) == 1, "positions are known, so only tokens are looked up"
    made = reference.run(workload, {"ids": ids.numpy()})[workload.outputs[0]]
    scale = workload.tensor(workload.outputs[0]).scale
    with torch.no_grad():
        assert np.abs(made * scale - model(ids).numpy()).max() < 2 * scale


def test_ids_beyond_the_table_read_its_last_row() -> None:
    torch.manual_seed(0)
    workload = to_workload(Embedded().eval(), (torch.zeros(1, TOKENS, dtype=torch.int64),))
    last, beyond = (
        reference.run(workload, {"ids": np.full((1, TOKENS), token)})[workload.outputs[0]]
        for token in (19, 31)
    )
    assert np.array_equal(last, beyond)
