"""ResNet-18 at 224 x 224, larger than every scratchpad, is proven whole; its table is complete."""

from __future__ import annotations

import pytest

from benchmarks import resnet18


@pytest.mark.slow
@pytest.mark.rtl
def test_resnet18_is_proven_and_its_cycles_are_predicted() -> None:
    figures = resnet18.measure()
    proof = figures.proof
    assert (proof.images, proof.mismatches) == (1, 0)
    assert len(proof.layers) == 21
    for layer in proof.layers:
        assert abs(layer.error) <= resnet18.WORST_LAYER_ERROR, layer
    page = resnet18.page(figures)
    assert f"| words that differ | 0 | 0 of {proof.words_compared} words |" in page
    assert all(f"| {layer.name} | " in page for layer in proof.layers)
