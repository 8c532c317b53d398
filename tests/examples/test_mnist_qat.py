"""Few bits on real digits: accuracy after training with the rounding of the integers, and words."""

from __future__ import annotations

import pytest

from intaglio.examples import mnist, mnist_qat
from intaglio.progress import silent


@pytest.mark.slow
@pytest.mark.rtl
@pytest.mark.parametrize("tuning", mnist_qat.TUNINGS, ids=lambda tuning: tuning.name)
def test_lenet_keeps_its_accuracy_at_few_bits(tuning: mnist_qat.Tuning) -> None:
    digits = mnist.load_digits()
    module = mnist.train(mnist.RECIPES["lenet5"], digits, silent)
    row = mnist_qat.run("lenet5", module, tuning, digits, images=1, progress=silent)
    assert row.real > 0.96
    assert row.lost <= tuning.allowed
    assert row.trained > row.rounded - 0.005
    assert row.agreed == 1.0
    assert row.words_compared > 1000
    assert row.mismatches == 0


def test_the_table_has_a_row_for_every_result() -> None:
    row = mnist_qat.Row("lenet5", mnist_qat.TUNINGS[0], 0.98, 0.9, 0.9801, 1.0, 4480, 0)
    assert mnist_qat.table([row]).splitlines()[2] == (
        "| lenet5 | weights and activations of 4 bits | 0.980 | 0.900 | 0.980 | 0.0 | 1.000 | "
        "4480, 0 |"
    )
