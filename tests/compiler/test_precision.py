"""Precisions outside 2 to 8 bits are refused."""

from __future__ import annotations

import pytest

from intaglio.compiler.precision import Precision
from intaglio.errors import UsageError


@pytest.mark.parametrize(
    ("bits", "sentence"),
    [
        ((1, 8), "weight precision of 1 bits is outside 2 to 8; choose 2 to 8"),
        ((8, 16), "activation precision of 16 bits is outside 2 to 8; choose 2 to 8"),
    ],
)
def test_bits_out_of_range(bits: tuple[int, int], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Precision(*bits)
    assert str(caught.value) == sentence


def test_eight_bits_are_the_default() -> None:
    assert Precision() == Precision(8, 8)
