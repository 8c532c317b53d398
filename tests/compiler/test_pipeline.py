"""The whole front end: integers that track the float model, refusals, progress."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.precision import Precision
from intaglio.errors import CalibrationError, UnsupportedError
from intaglio.examples.networks import lenet5, resnet8, resnet18
from tests.compiler.models import Calls, Residual, images, line_of, seeded


def decibels(model: torch.nn.Module, batch: torch.Tensor, bits: int = 8) -> float:
    """Signal over noise of the integer network's outputs on the images it was calibrated on."""
    array = batch.numpy()
    workload = to_workload(
        model, (batch[:1],), calibration={"images": array}, precision=Precision(bits, bits)
    )
    values = reference.run(workload, reference.quantise_inputs(workload, {"images": array}))
    (made,) = reference.dequantise_outputs(workload, values).values()
    with torch.no_grad():
        wanted = model(batch).double().numpy()
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - made).sum()))


def test_lenet_and_resnet8_track_their_float_models() -> None:
    assert decibels(lenet5()[0], images(4, 1, 28, 28)) > 35
    assert decibels(resnet8()[0], images(4, 1, 28, 28)) > 30
    assert decibels(resnet8()[0], images(4, 1, 28, 28), bits=6) > 15


@pytest.mark.slow
def test_resnet18_tracks_its_float_model() -> None:
    model, inputs = resnet18()
    assert decibels(model, inputs[0]) > 25


def test_the_workload_is_reproducible() -> None:
    first, again = (to_workload(seeded(Residual), (images(1, 3, 8, 8),)) for _ in range(2))
    assert first.ops == again.ops
    assert first.tensors == again.tensors
    for name, array in first.constants.items():
        np.testing.assert_array_equal(array, again.constants[name])


def test_the_seed_chooses_the_calibration_image() -> None:
    first, other = (
        to_workload(seeded(Residual), (images(1, 3, 8, 8),), seed=seed) for seed in (0, 1)
    )
    assert first.tensor("x").scale != other.tensor("x").scale


def test_progress_is_told_step_by_step() -> None:
    told: list[tuple[str, int, int]] = []
    data = {"x": images(2, 3, 8, 8).numpy()}
    to_workload(
        seeded(Residual),
        (images(1, 3, 8, 8),),
        calibration=data,
        progress=lambda *step: told.append(step),
    )
    assert told == [
        ("capture", 0, 1),
        ("capture", 1, 1),
        ("calibrate", 1, 2),
        ("calibrate", 2, 2),
        ("lower", 0, 1),
        ("lower", 1, 1),
    ]


def test_the_name_is_the_models_unless_given() -> None:
    x = (images(1, 3, 8, 8),)
    assert to_workload(seeded(Residual), x).name == "Residual"
    assert to_workload(seeded(Residual), x, name="net").name == "net"


def test_wrong_calibration_data_are_refused() -> None:
    with pytest.raises(CalibrationError) as caught:
        to_workload(
            seeded(Residual), (images(1, 3, 8, 8),), calibration={"y": np.zeros((1, 3, 8, 8))}
        )
    assert str(caught.value) == ("calibration key 'y' is no input of the model; the inputs are x")


def test_the_first_refusal_is_raised_and_the_rest_counted() -> None:
    line = line_of(Calls.forward, "self.function")
    reason = (
        "has no integer form; replace it by supported layers, or run this part outside the model, "
        "or add allow_host=True to run it on the host"
    )
    with pytest.raises(UnsupportedError) as caught:
        to_workload(Calls(lambda m, x: torch.cumprod(x, 1)).eval(), (images(1, 4),))
    assert str(caught.value) == f"cumprod ({line}): cumprod {reason}"
    with pytest.raises(UnsupportedError) as caught:
        to_workload(Calls(lambda m, x: x.cumprod(1).prod(1, True)).eval(), (images(1, 4),))
    assert str(caught.value) == (
        f"cumprod ({line}): cumprod {reason} (1 more: run `intaglio check`)"
    )


def test_an_import_of_the_front_end_says_nothing() -> None:
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import intaglio.compiler.pipeline"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
