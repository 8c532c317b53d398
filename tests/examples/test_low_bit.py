"""Networks whose quantisers are written out: their bits, their shapes, and TFC on real digits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from intaglio.compiler import reference
from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Conv2d, MatMul, Workload
from intaglio.examples import low_bit
from intaglio.examples.low_bit import TRAINED, MobileNet, seeded
from intaglio.examples.low_bit_layers import save_trained
from intaglio.examples.mnist import load_digits
from intaglio.examples.networks import Model


def kinds(workload: Workload) -> list[tuple[str, str, str]]:
    """What every layer reads, multiplies by and makes."""
    layers = [op for op in workload.ops if isinstance(op, Conv2d | MatMul)]
    names = [(op.input, op.weight, op.output) for op in layers]
    return [tuple(str(workload.tensor(name).element) for name in row) for row in names]  # type: ignore[misc]


@pytest.mark.parametrize(
    ("make", "weight", "between", "least"),
    [(low_bit.tfc_w1a1, "b1", "b1", 0.905), (low_bit.tfc_w2a2, "i2", "i2", 0.925)],
)
def test_tfc_names_real_digits(
    make: Callable[[], Model], weight: str, between: str, least: float, tmp_path: Path
) -> None:
    module, inputs = make()
    workload = to_workload(module, inputs)
    assert kinds(workload) == [
        ("i8", weight, between),
        *[(between, weight, between)] * 2,
        (between, weight, "i8"),
    ]
    assert sum(map(workload.macs, workload.ops)) == 784 * 64 + 2 * 64 * 64 + 640
    digits = load_digits()
    entered = reference.quantise_inputs(workload, {"input": digits.test_images.numpy()})
    named = reference.run(workload, entered)[workload.outputs[0]].argmax(1)
    assert (named == digits.test_labels.numpy()).mean() >= least
    with torch.no_grad():
        wanted = module(digits.test_images).argmax(1).numpy()
    # PyTorch's quantisers round ties to even.
    assert (named == wanted).mean() >= 0.99
    again = tmp_path / "again.safetensors"
    save_trained(module, again)
    assert again.read_bytes() == (TRAINED / f"{make.__name__}.safetensors").read_bytes()


SEEDED = [
    (low_bit.keywords_w3a3, "u3", "i3", 490 * 256 + 2 * 256 * 256 + 256 * 12),
    (low_bit.intrusion_w2a2, "u2", "i2", 593 * 64 + 2 * 64 * 64 + 64),
    pytest.param(low_bit.cnv_w1a1, "b1", "b1", 59_461_376, marks=pytest.mark.slow),
    pytest.param(low_bit.cnv_w2a2, "i2", "i2", 59_461_376, marks=pytest.mark.slow),
    pytest.param(low_bit.resnet8_w4a4, "u4", "i4", 12_501_632, marks=pytest.mark.slow),
    pytest.param(
        lambda: seeded(lambda: MobileNet(4, 0.25, 64, 100), 3, 64, 64),
        "u4", "i4", 3_354_112, marks=pytest.mark.slow,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("make", "between", "weight", "macs"), SEEDED)
def test_seeded_networks_have_the_bits_that_they_are_named_for(
    make: Callable[[], Model], between: str, weight: str, macs: int
) -> None:
    workload = to_workload(*make())
    found = kinds(workload)
    assert {made for _, _, made in found[:-1]} <= {between, "i8"}
    assert all(weights == weight for _, weights, _ in found[1:-1])
    assert sum(map(workload.macs, workload.ops)) == macs
    used = [np.unique(array) for name, array in workload.constants.items() if "weight" in name]
    assert all(len(values) > 1 for values in used)
