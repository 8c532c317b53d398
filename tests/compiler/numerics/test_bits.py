"""Counting bits."""

from __future__ import annotations

import numpy as np

from intaglio.compiler import numerics


def test_bit_length_is_exact_at_every_power_of_two() -> None:
    values = [v for k in range(63) for v in (2**k - 1, 2**k, 2**k + 1)]
    got = numerics.bit_length(np.array(values))
    assert got.tolist() == [v.bit_length() for v in values]
