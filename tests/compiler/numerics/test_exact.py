"""Constants that round every reachable accumulator exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.compiler import numerics
from intaglio.errors import UnsupportedError


def ints(*values: int) -> numerics.Ints:
    return np.array(values, np.int64)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 9, 25, 49, 64, 144, 196, 256, 387, 388, 389])
@pytest.mark.parametrize("span", [(-128, 127), (0, 255), (0, 15)])
def test_every_average_is_exact(count: int, span: tuple[int, int]) -> None:
    m, s, b = numerics.exact_reciprocal("pool", count, *span)
    sums = np.arange(span[0] * count, span[1] * count + 1)
    assert 0 <= m < 2**16
    np.testing.assert_array_equal((sums * m + b) >> s, (2 * sums + count) // (2 * count))


def test_an_average_without_exact_reciprocal_is_refused() -> None:
    with pytest.raises(UnsupportedError) as caught:
        numerics.exact_reciprocal("pool", 3001, -128, 127)
    assert str(caught.value) == (
        "pool: an average over 3001 values has no exact 16-bit reciprocal; pool in two steps of "
        "smaller windows"
    )


@given(st.floats(2.0**-8, 2.0), st.floats(-20, 20), st.integers(1, 400))
def test_few_accumulators_are_rounded_exactly(scale: float, bias: float, reach: int) -> None:
    scale = float(numerics.snap_scale(scale))
    scale_k, bias_k, reach_k = np.array([scale]), np.array([bias]), ints(reach)
    first = numerics.choose_requantiser("op", scale_k, bias_k, reach_k)
    made = numerics.exact_for_few(first, scale_k, bias_k, reach_k, -128, 127)
    acc = np.arange(-reach, reach + 1).reshape(-1, 1)
    got = numerics.requantise(acc, made.multiplier, made.shift, made.bias, -128, 127)
    ideal = np.clip(np.floor(acc * scale + bias + 0.5), -128, 127)
    np.testing.assert_array_equal(got, ideal)


def test_exact_constants_repair_a_rounded_bias() -> None:
    acc = np.arange(-2, 3)
    targets = ints(-2, -1, 0, 1, 3)
    found = numerics.exact_constants(acc, targets, 1.2, -128, 127)
    assert found is not None
    m, s, b = found
    assert ((acc * m + b) >> s).tolist() == targets.tolist()
    assert numerics.exact_constants(acc, ints(0, 9, 0, 9, 0), 1.2, -128, 127) is None


def test_many_accumulators_keep_their_constants() -> None:
    chosen = numerics.Requantiser(ints(40000), ints(16), ints(7))
    made = numerics.exact_for_few(chosen, np.array([0.6]), np.array([0.0]), ints(501), -128, 127)
    assert made.bias.tolist() == [7]
