"""`qat` and `compile` together: what was trained is what is compiled."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import intaglio
from intaglio.compiler.training import Trainable
from intaglio.errors import UsageError
from tests.compiler.models import Residual, images, seeded


def network() -> Trainable:
    batch = images(3, 3, 8, 8)
    return intaglio.qat(
        seeded(Residual),
        (batch[:1],),
        calibration={"x": batch.numpy()},
        precision=intaglio.Precision(4, 4),
        name="small",
        seed=7,
    )


def test_a_network_in_training_compiles_to_its_own_workload(tmp_path: Path) -> None:
    trainable = network()
    for value in trainable.parameters():
        value.data.mul_(-1)
    artifact = intaglio.compile(trainable, output=tmp_path / "small")
    wanted = trainable.workload()
    assert artifact.workload.name == "small"
    assert artifact.workload.tensors == wanted.tensors
    for name, array in wanted.constants.items():
        np.testing.assert_array_equal(artifact.workload.constants[name], array)
    info = artifact.info
    assert (info["seed"], info["calibration_images"]) == (7, 3)
    assert info["method"] == asdict(trainable.origin.method)
    assert trainable.origin.method.weights == "mse"


def test_what_qat_settled_cannot_be_given_again() -> None:
    trainable = network()
    sentence = "small was made by `qat`, which settled its {0}; leave {0} out, or give it to `qat`"
    with pytest.raises(UsageError) as caught:
        intaglio.compile(trainable, precision=intaglio.Precision())
    assert str(caught.value) == sentence.format("precision")
    with pytest.raises(UsageError) as caught:
        intaglio.compile(trainable, (images(1, 3, 8, 8),))
    assert str(caught.value) == sentence.format("example_inputs")
