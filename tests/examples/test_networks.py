"""The example networks at reduced size: every node is mapped, the integers follow the floats."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from intaglio.compiler import reference
from intaglio.compiler.capture import capture
from intaglio.compiler.check import check
from intaglio.compiler.pipeline import to_workload
from intaglio.examples import sequences, vision
from intaglio.examples.networks import Model

NETWORKS: dict[str, tuple[partial[Model], float]] = {
    "resnet50": (partial(vision.resnet50, width=0.125, size=64), 0.99),
    "mobilenet_v2": (partial(vision.mobilenet_v2, width=0.25, size=64), 0.99),
    "efficientnet": (partial(vision.efficientnet, width=0.25, size=32), 0.99),
    "unet": (partial(vision.unet, width=8, depth=2, size=16), 0.99),
    "unet_bilinear": (partial(vision.unet_bilinear, width=8, depth=2, size=16), 0.99),
    "keyword_mlp": (partial(sequences.keyword_mlp), 0.99),
    "keyword_dscnn": (partial(sequences.keyword_dscnn, steps=20), 0.97),
    "lstm": (partial(sequences.lstm, steps=6, hidden=16), 0.99),
    "gru": (partial(sequences.gru, steps=6, hidden=16), 0.99),
}


def batch_like(example: Tensor, seed: int) -> Tensor:
    """Eight inputs of the example's shape: noise for images, random walks for series."""
    random = torch.randn(8, *example.shape[1:], generator=torch.Generator().manual_seed(seed))
    return random if example.dim() == 4 else torch.cumsum(random, 1) / 4


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_not_seen_before_stay_close(name: str) -> None:
    build, least = NETWORKS[name]
    model, (example,) = build()
    seen, unseen = batch_like(example, 1), batch_like(example, 2)
    (entry,) = capture(model, (example,)).shapes
    workload = to_workload(model, (example,), calibration={entry: seen.numpy()})
    entries = reference.quantise_inputs(workload, {entry: unseen.numpy()})
    made = reference.dequantise_outputs(workload, reference.run(workload, entries))
    with torch.no_grad():
        wanted = model(unseen).numpy()
    found = made[workload.outputs[0]]
    cosine = (found * wanted).sum() / np.sqrt(np.square(found).sum() * np.square(wanted).sum())
    assert cosine > least


@pytest.mark.parametrize("name", ["efficientnet", "unet_bilinear", "keyword_dscnn"])
def test_every_node_is_mapped(name: str) -> None:
    report = check(*NETWORKS[name][0]())
    assert report.ok
    assert {verdict.status for verdict in report.verdicts} == {"mapped", "folded"}
