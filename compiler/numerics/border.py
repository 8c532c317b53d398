"""Floats to integers and back at the border of the integer network; rounding is half up.

Of a bipolar type, -1 and +1, the nearest value is the sign, and half up makes +1 of 0.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from intaglio.compiler.workload import ElementType

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def round_half_up(values: ArrayLike) -> Floats:
    """floor(values + 1/2) in float64, for values of magnitude below 2^52."""
    return np.asarray(np.floor(np.asarray(values, np.float64) + 0.5), np.float64)


def quantise(values: ArrayLike, scale: float, element: ElementType) -> Ints:
    """Floats to integers at the border: clamp(floor(values / scale + 1/2)) to `element`."""
    if element.encoding == "bipolar":
        return np.where(np.asarray(values) >= 0, 1, -1).astype(np.int64)
    scaled = round_half_up(np.asarray(values, np.float64) / scale)
    return np.clip(scaled, element.lo, element.hi).astype(np.int64)


def values_of(element: ElementType) -> Ints:
    """Every value that `element` holds, from the least on."""
    return np.arange(element.lo, element.hi + 1, element.step, dtype=np.int64)


def dequantise(values: Ints, scale: float) -> Floats:
    """Integers to floats at the border: scale * values."""
    return np.asarray(values, np.float64) * scale
