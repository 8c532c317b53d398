"""Floats to integers at the border: half up, then clamped."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler import numerics
from intaglio.compiler.workload import ElementType


@given(st.floats(-300, 300), st.floats(0.01, 10), st.integers(2, 8), st.booleans())
def test_quantise_rounds_half_up_and_clamps(
    value: float, scale: float, bits: int, signed: bool
) -> None:
    element = ElementType(bits, "signed" if signed else "unsigned")
    made = numerics.quantise([value], scale, element).item()
    assert made == max(element.lo, min(element.hi, int(np.floor(value / scale + 0.5))))


def test_ties_go_up() -> None:
    made = numerics.quantise([-1.5, -0.5, 0.5, 1.5, 2.5], 1.0, ElementType(8))
    assert made.tolist() == [-1, 0, 1, 2, 3]
    assert numerics.dequantise(made, 0.5).tolist() == [-0.5, 0.0, 0.5, 1.0, 1.5]
