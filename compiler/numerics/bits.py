"""Counting bits: what a leading-zero counter does in hardware, on whole arrays."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.numerics.border import Ints


def bit_length(values: Ints) -> Ints:
    """Bits of each value: the smallest n >= 0 with v < 2^n, for v in 0 .. 2^63 - 1."""
    length = np.zeros_like(values)
    rest = values
    for step in (32, 16, 8, 4, 2, 1):
        long = rest >= np.int64(1) << step
        length = length + np.where(long, step, 0)
        rest = np.where(long, rest >> step, rest)
    return length + rest
