"""Convolutions of every form, resampling, windows and shuffles: from torch to exact integers."""

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
from intaglio.compiler.numerics import linear_taps, resize_linear
from intaglio.compiler.passes.lift_constants import lifted
from intaglio.compiler.pipeline import fuse, to_workload
from intaglio.compiler.serialise import describe, load_workload, save_workload
from intaglio.compiler.workload import Conv2d, Resize, Workload
from tests.compiler.models import images, plan_of, seeded

Forward = Callable[[Any, Tensor], Any]
MAP, ROW = (1, 4, 6, 8), (1, 4, 12)


class Layers(nn.Module):
    """A model whose forward is a given function, with layers of every form at hand."""

    def __init__(self, function: Forward) -> None:
        super().__init__()
        self.function = function
        self.row = nn.Conv1d(4, 6, 3, stride=2, padding=2, dilation=2, groups=2)
        self.same = nn.Conv1d(4, 6, 4, padding="same")
        self.row_norm = nn.BatchNorm1d(6)
        self.features_norm = nn.BatchNorm1d(4)
        self.twice = nn.ConvTranspose2d(4, 3, 2, stride=2)
        self.overlapping = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1)
        self.grouped = nn.ConvTranspose2d(4, 4, (2, 3), (3, 1), (0, 2), (1, 0), 2, False, (1, 2))
        self.cropping = nn.ConvTranspose2d(4, 3, 1, stride=2, padding=1)
        self.row_twice = nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1, groups=2)
        self.map_norm = nn.BatchNorm2d(6)
        self.slopes = nn.PReLU(4)
        self.slope = nn.PReLU()
        with torch.no_grad():
            self.slopes.weight.copy_(torch.tensor([0.5, -0.25, 0.0, 1.5]))

    def forward(self, x: Tensor) -> Any:
        return self.function(self, x)


def resized(**how: Any) -> Forward:
    return lambda m, x: functional.interpolate(x, **how)


ROWS: dict[str, Forward] = {
    "convolution": lambda m, x: m.row(x),
    "convolution of same size": lambda m, x: m.same(x),
    "convolution, norm and relu": lambda m, x: m.row_norm(m.row(x)).relu(),
    "norm of a row": lambda m, x: m.features_norm(x),
    "two convolutions": lambda m, x: m.row(m.row(x)[:, :4].relu()),
    "transposed": lambda m, x: m.row_twice(x),
    "transposed and norm": lambda m, x: m.row_norm(m.row_twice(x)),
    "max pool": lambda m, x: functional.max_pool1d(x, 3, 2, 1),
    "average pool": lambda m, x: functional.avg_pool1d(x, 2),
    "adaptive pools": lambda m, x: torch.cat(
        [functional.adaptive_avg_pool1d(x, 3), functional.adaptive_max_pool1d(x, 3)], 1
    ),
    "nearest": resized(scale_factor=2),
    "nearest exact": resized(size=17, mode="nearest-exact"),
    "linear": resized(scale_factor=2, mode="linear"),
    "slope of a channel": lambda m, x: m.slopes(x),
}
MAPS: dict[str, Forward] = {
    "transposed": lambda m, x: m.twice(x),
    "transposed, overlapping": lambda m, x: m.map_norm(m.overlapping(x)).relu(),
    "transposed, grouped, dilated": lambda m, x: m.grouped(x),
    "transposed, cropping": lambda m, x: m.cropping(x),
    "transposed to a size": lambda m, x: m.overlapping(x, output_size=(11, 15)),
    "slope of a channel": lambda m, x: m.slopes(x),
    "one slope": lambda m, x: m.slope(x),
    "nearest": resized(scale_factor=2),
    "nearest, odd factor": resized(scale_factor=1.7),
    "nearest to a size": resized(size=(4, 13)),
    "nearest exact": resized(scale_factor=(0.5, 3), mode="nearest-exact"),
    "bilinear": resized(scale_factor=2, mode="bilinear"),
    "bilinear, aligned": resized(size=(9, 5), mode="bilinear", align_corners=True),
    "bilinear, odd factor": resized(scale_factor=1.7, mode="bilinear"),
    "bilinear, factor of the sizes": resized(
        scale_factor=1.7, mode="bilinear", recompute_scale_factor=True
    ),
    "bilinear after relu": lambda m, x: functional.interpolate(
        x.relu(), scale_factor=2, mode="bilinear"
    ),
    "area": resized(size=(3, 2), mode="area"),
    "volume, nearest": lambda m, x: functional.interpolate(x[None], scale_factor=2)[0],
    "volume, linear": lambda m, x: functional.interpolate(
        x[None], scale_factor=2, mode="trilinear"
    )[0],
    "pixel shuffle": lambda m, x: functional.pixel_shuffle(x, 2),
    "pixel unshuffle": lambda m, x: functional.pixel_unshuffle(x, 2),
    "channel shuffle": lambda m, x: functional.channel_shuffle(x, 2),
    "adaptive max pool": lambda m, x: functional.adaptive_max_pool2d(x, (3, 2)),
    "global pools": lambda m, x: torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1),
    "mean over one axis": lambda m, x: x.mean(3),
    "border of mirrored pixels": lambda m, x: functional.pad(x, (1, 2, 3, 0), mode="reflect"),
    "border of edge pixels": lambda m, x: functional.pad(x, (1, 2, 3, 0), mode="replicate"),
    "border of the other side": lambda m, x: functional.pad(x, (1, 2, 3, 0), mode="circular"),
    "flip": lambda m, x: x.flip(1, -1),
    "roll": lambda m, x: x.roll((1, -2), (2, 3)),
    "roll of all": lambda m, x: x.roll(5),
    "repeat": lambda m, x: x[0].repeat(1, 2, 1, 3),
}
FORMS = {"row": ROWS, "map": MAPS}
CASES = [(form, name) for form, cases in FORMS.items() for name in cases]
each_case = pytest.mark.parametrize("case", CASES, ids=" ".join)


@dataclass(frozen=True)
class Made:
    """A model that returns the results of all cases of one form, and what became of it."""

    model: nn.Module
    workload: Workload
    x: Tensor

    def real(self, x: Tensor) -> tuple[np.ndarray, ...]:
        """What the float model returns."""
        with torch.no_grad():
            return tuple(made.numpy() for made in self.model(x))

    def integer(self, *batch: Tensor) -> tuple[np.ndarray, ...]:
        """The real values that the integer network returns."""
        entries = reference.quantise_inputs(self.workload, {"x": torch.cat(batch).numpy()})
        made = reference.dequantise_outputs(self.workload, reference.run(self.workload, entries))
        return tuple(made[name] for name in self.workload.outputs)


@cache
def made_of(form: str) -> Made:
    """Every case of a form, in one model."""
    model = seeded(lambda: Layers(lambda m, x: tuple(f(m, x) for f in FORMS[form].values())))
    x = images(*(ROW if form == "row" else MAP))
    return Made(model, to_workload(model, (x,), calibration={"x": x.numpy()}), x)


def place(case: tuple[str, str]) -> int:
    """Which of the outputs belongs to a case."""
    return list(FORMS[case[0]]).index(case[1])


@pytest.mark.parametrize("form", FORMS)
def test_the_passes_change_no_value(form: str) -> None:
    made = made_of(form)
    captured = capture(made.model, (made.x,))
    assert fuse(captured).refusals == ()
    with torch.no_grad():
        run = Interpreter(captured.module).run
        results = run(made.x, *lifted(captured.module).values())
        for result, wanted in zip(results, made.model(made.x), strict=True):
            torch.testing.assert_close(result, wanted)


@each_case
def test_the_integers_stay_close_to_the_float_model(case: tuple[str, str]) -> None:
    made, index = made_of(case[0]), place(case)
    wanted, found = made.real(made.x)[index], made.integer(made.x)[index]
    assert found.shape == wanted.shape
    assert np.square(found - wanted).sum() < 10**-3.1 * np.square(wanted).sum()


@each_case
def test_images_do_not_touch_each_other(case: tuple[str, str]) -> None:
    made, index = made_of(case[0]), place(case)
    other = images(*made.x.shape, seed=1)
    both = made.integer(made.x, other)[index]
    alone = made.integer(made.x)[index], made.integer(other)[index]
    assert np.array_equal(both, np.concatenate(alone))


@pytest.mark.parametrize("form", FORMS)
def test_a_workload_is_read_as_it_was_written(form: str, tmp_path: Path) -> None:
    made = made_of(form)
    save_workload(made.workload, tmp_path)
    again = load_workload(tmp_path)
    assert again.ops == made.workload.ops
    assert describe(again) == describe(made.workload)


def test_a_resize_is_linear_interpolation_in_integers() -> None:
    made = made_of("map")
    resizes = [op for op in made.workload if isinstance(op, Resize)]
    factors = [op.factors for op in resizes]
    assert factors == [(2, 2), (None, None), (1.7, 1.7), (None, None), (2, 2), (2, 2, 2)]
    assert [op.aligned for op in resizes] == [False, True, False, False, False, False]
    op = resizes[2]
    x = np.random.default_rng(0).integers(-128, 128, made.workload.tensor(op.input).shape)
    taps = [linear_taps(6, 10, 1.7), linear_taps(8, 13, 1.7)]
    found = reference.compute(made.workload, op, {op.input: x})
    assert np.array_equal(found, resize_linear(x, taps))
    assert made.workload.tensor(op.input).scale == made.workload.tensor(op.output).scale


def test_transposed_windows_that_do_not_overlap_multiply_no_zeros() -> None:
    workload = to_workload(seeded(lambda: Layers(lambda m, x: m.twice(x))), (images(*MAP),))
    (conv,) = [op for op in workload if isinstance(op, Conv2d)]
    assert workload.tensor(conv.weight).shape == (3 * 4, 4, 1, 1)
    assert workload.tensor(conv.output).shape == (1, 3 * 4, *MAP[2:])


def test_a_transposed_weight_is_quantised_by_output_channel() -> None:
    model = seeded(lambda: Layers(lambda m, x: m.overlapping(x)))
    assert isinstance(model, Layers)
    workload = to_workload(model, (images(*MAP),))
    (conv,) = [op for op in workload if isinstance(op, Conv2d)]
    weight = workload.constants[conv.weight] * np.reshape(
        workload.tensor(conv.weight).channel_scales, (-1, 1, 1, 1)
    )
    wanted = model.overlapping.weight.detach().transpose(0, 1).flip(2, 3).numpy()
    assert np.abs(weight - wanted).max() <= 0.51 * workload.tensor(conv.weight).scale


REFUSED: dict[str, tuple[tuple[int, ...], Forward, str]] = {
    "conv_transpose3d": (
        (1, 1, 4, 4, 4),
        lambda m, x: functional.conv_transpose3d(x, torch.ones(1, 1, 2, 2, 2)),
        "use ConvTranspose2d layers, with the depth as channels",
    ),
    "adaptive_max_pool2d": (
        MAP,
        lambda m, x: functional.adaptive_max_pool2d(x, (4, 3), return_indices=True),
        "leave out return_indices",
    ),
    "argmax": (
        MAP,
        lambda m, x: x.argmax(1),
        "return the scores and take the argmax of the outputs, or add allow_host=True to run it on "
        "the host",
    ),
}


@pytest.mark.parametrize("operator", REFUSED)
def test_what_has_no_integer_form_is_refused_with_a_way_out(operator: str) -> None:
    size, forward, way_out = REFUSED[operator]
    plan = plan_of(Layers(forward), images(*size))
    refusal = plan.refusals[0]
    assert str(refusal) == (
        f"{operator} ({refusal.line}): {operator} has no integer form; {way_out}"
    )
    assert refusal.line.startswith("test_vision_operators.py:")
