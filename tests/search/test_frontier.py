"""Fronts hold what no other dominates; hypervolumes agree with counting cells."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.search.frontier import box, covered, dominates, front, hypervolume

CELLS = 5
costs = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.tuples(*[st.integers(0, CELLS).map(float)] * n), min_size=1, max_size=12)
)


@given(costs)
def test_the_front_is_what_no_other_dominates(given_costs: list[tuple[float, ...]]) -> None:
    kept = [given_costs[i] for i in front(given_costs)]
    assert not any(dominates(one, other) for one, other in product(kept, kept))
    assert len(set(kept)) == len(kept)
    for one in given_costs:
        assert one in kept or any(dominates(other, one) for other in kept)


@given(costs)
def test_hypervolume_counts_the_dominated_cells(given_costs: list[tuple[float, ...]]) -> None:
    reference = (float(CELLS),) * len(given_costs[0])
    cells = product(range(CELLS), repeat=len(reference))
    dominated = sum(
        any(all(c <= x for c, x in zip(one, cell, strict=True)) for one in given_costs)
        for cell in cells
    )
    assert hypervolume(given_costs, reference) == pytest.approx(dominated)


@given(costs)
def test_the_front_has_the_hypervolume_of_all(given_costs: list[tuple[float, ...]]) -> None:
    best, worst = box(given_costs)
    share = covered(given_costs, best, worst)
    kept = [given_costs[i] for i in front(given_costs)]
    assert covered(kept, best, worst) == pytest.approx(share)
    assert 0 < share <= 1 + 1e-9


def test_domination_needs_one_better_component() -> None:
    assert dominates((1.0, 2.0), (1.0, 3.0))
    assert not dominates((1.0, 2.0), (1.0, 2.0))
    assert not dominates((1.0, 2.0), (2.0, 1.0))


def test_points_at_the_reference_add_nothing() -> None:
    assert hypervolume([(1.0, 4.0)], (4.0, 4.0)) == 0
