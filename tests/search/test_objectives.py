"""Costs, limits and scores, and what a problem refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest

from intaglio.errors import UsageError
from intaglio.search.objectives import Goal, Infeasible, Limit, Metrics, Objective, Score
from tests.search.toys import toy

METRICS = Metrics.of({"worth": 5.0, "price": 50.0})


def test_a_score_holds_costs_and_excess() -> None:
    score = toy(limit=40.0).score(METRICS)
    assert score == Score((-5.0, 50.0), 0.25)
    assert not score.feasible
    assert toy(limit=50.0).score(METRICS).feasible


def test_what_cannot_be_built_is_never_feasible() -> None:
    score = toy().score(Infeasible("too large"))
    assert score.costs == ()
    assert not score.feasible


def test_a_lower_bound_is_passed_from_below() -> None:
    limit = Limit("worth", 10.0, at_most=False)
    assert limit.excess(METRICS) == 0.5
    assert limit.excess(Metrics.of({"worth": 11.0})) == 0
    assert str(limit) == "worth >= 10"


def test_the_fingerprint_follows_the_content() -> None:
    assert toy().fingerprint == toy().fingerprint
    others = (toy(limit=41.0), toy(identity="other"), replace(toy(), limits=()))
    assert len({toy().fingerprint, *(other.fingerprint for other in others)}) == 4


def test_an_unknown_metric_gets_the_nearest_one() -> None:
    with pytest.raises(UsageError) as caught:
        replace(toy(), objectives=(Objective("prize", Goal.MINIMISE),))
    assert str(caught.value) == "objective 'prize' is no metric; did you mean 'price'?"
    with pytest.raises(UsageError) as caught:
        replace(toy(), limits=(Limit("zzz", 1.0),))
    assert str(caught.value) == "limit 'zzz' is no metric; known are worth, price"


def test_a_search_without_objectives_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        replace(toy(), objectives=())
    assert str(caught.value) == (
        "the search has no objectives; name at least one metric to optimise"
    )


def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        Limit("price", 0.0)
    assert str(caught.value) == "the limit of 'price' is 0; give a bound that is not 0"
