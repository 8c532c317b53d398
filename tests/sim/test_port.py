"""Port B of the activation buffer under an instruction of the vector or the window unit."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.sim.port import (
    BANK_BITS,
    Source,
    asked,
    emitted,
    has_slice,
    lay,
    meets,
    use_port,
    walk,
    window_steps,
)


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.lists(st.integers(0, 1), min_size=8, max_size=8),
    st.lists(st.integers(0, 1), max_size=2),
    st.booleans(),
    st.integers(1, 3),
)
def test_steps_of_a_window_are_the_banks_of_its_addresses(
    shape: tuple[int, int],
    window: tuple[int, int],
    bits: list[int],
    asides: list[int],
    by_columns: bool,
    new: int,
) -> None:
    address, ys, xs, wys, wxs, out, out_row, aside_row = bits
    new = min(new, window[1]) if by_columns else window[1]
    reads, writes = [], []
    for y, x in product(range(shape[0]), range(shape[1])):
        places = list(product(range(window[0]), range(window[1])))
        if by_columns:
            places.sort(key=lambda place: place[1])
        group = [
            address + y * ys + x * xs + wy * wys + wx * wxs
            for wy, wx in places
            if x == 0 or wx >= window[1] - new
        ]
        reads.append(group + [aside + y * aside_row + x for aside in asides[:1]])
        writes.append(out + y * out_row + x)
    steps = window_steps(
        shape,
        Source(window, address, ys, xs, wys, wxs, by_columns, new),
        tuple((aside, aside_row) for aside in asides[:1]),
        (out, out_row),
    )
    assert [asked(int(step)) for step in steps] == [1 << a % 2 for group in reads for a in group]
    last = [
        [0] * (len(group) - 1) + [1 << word % 2] for group, word in zip(reads, writes, strict=True)
    ]
    assert [emitted(int(step)) for step in steps] == [bank for group in last for bank in group]


def test_ports_of_a_window_meet_those_of_the_vector_unit() -> None:
    banks = [meets(0b01, 0b01), meets(0b11, 0b10), meets(0b10, 0b01)]
    assert banks == [True, True, False]
    constant = asked(3 << BANK_BITS)
    assert [meets(taken << BANK_BITS, constant) for taken in (0, 2, 3)] == [False, False, True]
    assert [has_slice(constant, number) for number in (0, 2)] == [False, True]
    assert [has_slice(3 << BANK_BITS, number) for number in (0, 2)] == [False, True]


def test_a_drain_with_residual_reads_and_writes_other_banks() -> None:
    use = use_port((1, 40), ((1, 0),), (0, 0))
    assert use.stalls == 0
    assert use.banks.tolist() == [2, 1] * 6 + [3] * 28 + [1, 2] * 6


def test_a_walk_reads_the_words_of_a_block_and_then_waits_for_its_elements() -> None:
    use = walk(2, ((0, 1), (1, 1)), (0, 0), 4, None)
    assert use.banks.tolist() == [1, 2, 0, 0, 2, 1, 0, 0]


@pytest.mark.parametrize(("output", "stalls"), [((0, 0), 4), ((1, 0), 0)])
def test_a_read_of_rows_waits_for_a_write_of_its_bank(output: tuple[int, int], stalls: int) -> None:
    """The writes of the first four words, four cycles after their reads, hold up the fifth."""
    assert walk(8, ((0, 0),), output, 1, 4).stalls == stalls


def test_patterns_are_laid_over_each_other() -> None:
    one, other = np.array([1, 2], np.uint8), np.array([2, 2], np.uint8)
    assert lay([(1, one), (2, other)]).tolist() == [0, 1, 2, 2]
