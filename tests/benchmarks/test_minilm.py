"""MiniLM with its weights on a few sentences: what its page says is measured and in order."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import minilm as benchmark
from benchmarks.layer_noise import Noise
from benchmarks.networks import sentences
from intaglio.examples.attention import minilm
from intaglio.progress import silent


@pytest.mark.slow
def test_embeddings_stay_close_and_every_value_is_beside_its_float_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(benchmark, "CALIBRATION_SENTENCES", 4)
    module, example = minilm()
    inputs = [value[:2] for value in sentences(2, 2)]
    wanted = benchmark.float_vectors(module, inputs)
    np.testing.assert_allclose(np.linalg.norm(wanted, axis=1), 1)
    workload = benchmark.quantised(module, example, benchmark.ROWS["range"], silent)
    assert benchmark.cosines(workload, inputs, wanted).min() > 0.97
    monkeypatch.setattr(
        benchmark, "layer_noise", lambda *args: [Noise(name, None, 1.0) for name in args[4]]
    )
    found = benchmark.values(module, workload, sentences(2, 3, joined=3), silent)
    assert len(found) > 100
    assert found[-1].name == workload.outputs[0]
    assert min(value.decibels for value in found) > 5


def test_the_page_shows_what_was_measured() -> None:
    noises = Noise("query", 30.25, 41.5), Noise("softmax", None, 50.0)
    values = tuple(
        benchmark.Value(noise.name, element, 20.0, noise)
        for noise, element in zip(noises, ("i8", "u8"), strict=True)
    )
    figures = benchmark.Figures({"range": np.array([0.98, 0.96])}, values, 3.0)
    text = benchmark.page(figures)
    assert "| range | 0.9700 | 0.9600 |" in text
    assert "| query | i8 | 20.0 dB | 30.2 dB | 41.5 dB |" in text
    assert "| softmax | u8 | 20.0 dB |  | 50.0 dB |" in text
