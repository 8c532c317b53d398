"""Unary functions as tables."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler import numerics
from intaglio.compiler.workload import ElementType


def ints(*values: int) -> numerics.Ints:
    return np.array(values, np.int64)


@pytest.mark.parametrize("kind", [ElementType(8), ElementType(8, "unsigned"), ElementType(4)])
def test_a_table_holds_the_function_of_every_input(kind: ElementType) -> None:
    table = numerics.unary_table(np.tanh, 0.05, kind, 1 / 127, ElementType(8))
    for value in range(kind.lo, kind.hi + 1):
        ideal = np.floor(np.tanh(value * 0.05) * 127 + 0.5)
        assert table[value & 255] == ideal
    assert numerics.look_up(table, ints(kind.lo)).item() == table[kind.lo & 255]
