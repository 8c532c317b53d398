"""Strategies ask for points of the space, and depend on their seed and scores alone."""

from __future__ import annotations

import sys

import pytest

from intaglio.errors import ToolError, UsageError
from intaglio.search.space import Point
from intaglio.search.strategies import STRATEGIES
from tests.search.toys import SPACE, evaluate, toy


def asked(name: str, seed: int, rounds: int = 5, population: int = 8) -> list[Point]:
    problem = toy()
    strategy = STRATEGIES[name](problem, seed=seed, population=population)
    points: list[Point] = []
    for _ in range(rounds):
        batch = strategy.ask(population)
        strategy.tell([problem.score(evaluate(point)) for point in batch])
        points += batch
    return points


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_seed_decides_the_points(name: str) -> None:
    points = asked(name, 1)
    assert points == asked(name, 1)
    assert points != asked(name, 2)
    assert all(SPACE.contains(point) for point in points)


def test_nsga2_learns_to_keep_the_limits() -> None:
    scores = [toy().score(evaluate(point)) for point in asked("nsga2", 0, rounds=10)]
    first, last = scores[:16], scores[-16:]
    assert sum(score.feasible for score in last) > sum(score.feasible for score in first)


def test_without_optuna_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ToolError) as caught:
        STRATEGIES["nsga2"](toy(), seed=0, population=8)
    assert str(caught.value) == (
        "the strategy 'nsga2' needs the package 'optuna', which is not installed; run "
        "python -m pip install 'intaglio[search]'"
    )


def test_a_population_of_one_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        STRATEGIES["nsga2"](toy(), seed=0, population=1)
    assert str(caught.value) == "population is 1, NSGA-II needs at least 2"
