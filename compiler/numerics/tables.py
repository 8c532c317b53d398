"""Unary functions as tables that are made once from the float function."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from intaglio.compiler.numerics.border import Floats, Ints, dequantise, quantise
from intaglio.compiler.workload import ElementType

TABLE_ENTRIES = 256


def look_up(table: Ints, values: Ints) -> Ints:
    """`table[v mod 256]` for each value; `table` is (256,)."""
    entries: Ints = np.asarray(table, np.int64)
    return np.take(entries, values & (TABLE_ENTRIES - 1))


def unary_table(
    function: Callable[[Floats], Floats],
    input_scale: float,
    input_element: ElementType,
    output_scale: float,
    output_element: ElementType,
) -> Ints:
    """The 256 entries of `function` at 8 bits or fewer, indexed by the input modulo 256.

    Entry v mod 256 is quantise(function(v * input_scale)); entries no input reaches are 0.
    """
    values = np.arange(input_element.lo, input_element.hi + 1, dtype=np.int64)
    table = np.zeros(TABLE_ENTRIES, np.int64)
    outputs = function(dequantise(values, input_scale))
    table[values & (TABLE_ENTRIES - 1)] = quantise(outputs, output_scale, output_element)
    return table
