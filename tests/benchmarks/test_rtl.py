"""ResNet-18 at 224 x 224, larger than every scratchpad, is proven whole; its table is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import rtl


@pytest.mark.slow
@pytest.mark.rtl
def test_resnet18_is_proven_and_its_cycles_are_predicted(tmp_path: Path) -> None:
    figures = rtl.measure(rtl.NETWORKS[0], tmp_path)
    proof = figures.proof
    assert (proof.images, proof.mismatches) == (1, 0)
    assert len(proof.layers) == 21
    assert abs(figures.error) <= rtl.WORST_ERROR
    for layer in proof.layers:
        assert abs(layer.error) <= rtl.WORST_LAYER_ERROR, layer
    assert figures.network.reached(figures)
    page = rtl.page([figures])
    assert f"| 0 of {proof.words_compared:,} |" in page
    assert "| ResNet-18 | 7,700,000 cycles: reached | " in page
    assert all(f"| {layer.name} | " in page for layer in proof.layers)
