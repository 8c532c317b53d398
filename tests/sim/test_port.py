"""Port B of the activation buffer under a vector instruction."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.sim.port import PortUse, Source, row_port, use_port


def stalls_of_addresses(reads: list[list[int]], writes: list[int]) -> int:
    """The port, cycle by cycle: a write twelve cycles after its last read goes before a read."""
    pending: list[tuple[int, int]] = []
    cycle = issued = 0
    for group, write in zip(reads, writes, strict=True):
        for address in group:
            while any(when == cycle and (word - address) % 2 == 0 for when, word in pending):
                cycle += 1
            cycle += 1
            issued += 1
        pending.append((cycle - 1 + 12, write))
    return cycle - issued


@given(
    st.tuples(st.integers(1, 4), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.lists(st.integers(0, 1), min_size=8, max_size=8),
    st.lists(st.integers(0, 1), max_size=2),
    st.booleans(),
    st.integers(1, 3),
)
def test_stalls_equal_a_port_stepped_by_addresses(
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
        reads.append(group + [aside + y * aside_row + x for aside in asides])
        writes.append(out + y * out_row + x)
    got = use_port(
        shape,
        Source(window, address, ys, xs, wys, wxs, by_columns, new),
        tuple((aside, aside_row) for aside in asides),
        (out, out_row),
    )
    assert got.stalls == stalls_of_addresses(reads, writes)
    assert 0 <= got.share <= 1


def test_a_drain_without_residual_leaves_a_bank_a_cycle() -> None:
    assert use_port((3, 5), None, (), (1, 1)) == PortUse(0, 1.0)


def test_a_residual_drain_takes_both_banks() -> None:
    pixels = 600
    use = use_port((1, pixels), None, ((1, 0),), (0, 0))
    assert use.stalls == 0
    assert use.share == pytest.approx(24 / (pixels + 12), abs=2 / pixels)


def test_reads_of_one_bank_stop_a_walk_at_its_first_word_there() -> None:
    same_bank = Source((1, 3), 0, 0, 0, 0, 0, by_columns=False, new=3)
    use = use_port((1, 40), same_bank, (), (0, 0))
    assert use.share < 0.25


def test_reads_of_alternating_banks_leave_the_other_one() -> None:
    alternating = Source((1, 4), 0, 0, 0, 0, 1, by_columns=False, new=4)
    assert use_port((1, 40), alternating, (), (0, 0)).share > 0.5


@pytest.mark.parametrize(
    ("reads", "period", "share"),
    [
        # A walk through both banks waits once, and then is always where the reads are not.
        (((0, 0),), 4, 31 / 32),
        # It waits for both words of every block: they are in one bank.
        (((0, 0), (0, 0)), 4, 1 / 2),
        # It is one word behind the reads, which go through both banks as well.
        (((0, 0), (1, 0)), 2, 15 / 16),
        # Every word is read in one bank, which the walk never gets.
        (((0, 0),), 1, 0),
    ],
)
def test_walks_over_rows_leave_what_they_do_not_read(
    reads: tuple[tuple[int, int], ...], period: int, share: float
) -> None:
    assert row_port(8, reads, (0, 0), period, None) == PortUse(0, share)


@pytest.mark.parametrize(("output", "stalls"), [((0, 0), 4), ((1, 0), 0)])
def test_a_read_of_rows_waits_for_a_write_of_its_bank(output: tuple[int, int], stalls: int) -> None:
    """The writes of the first four words, four cycles after their reads, hold up the fifth."""
    assert row_port(8, ((0, 0),), output, 1, 4).stalls == stalls
