"""Who proposes the next points.  A strategy is deterministic: it depends on its seed, and on the
scores it was told, and on nothing else.  That is what lets a study resume by replaying its trials.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Protocol, assert_never

import numpy as np

from intaglio.errors import ToolError, UsageError
from intaglio.search.objectives import Problem, Score
from intaglio.search.space import Choice, Dimension, Integer, Point, Real, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial
    from optuna.distributions import BaseDistribution

UNBUILDABLE = 1e9
"""The cost and the excess that Optuna is told for a candidate that cannot be built."""


class Strategy(Protocol):
    """Points are asked for in batches; the scores of a batch are told in its order."""

    def ask(self, count: int) -> tuple[Point, ...]:
        """The next `count` points of the space."""

    def tell(self, scores: Sequence[Score]) -> None:
        """The scores of the points that were asked for last."""


class RandomSearch:
    """Points drawn evenly from the space, whatever their scores."""

    def __init__(self, problem: Problem, *, seed: int, population: int) -> None:
        self._space = problem.space
        self._random = np.random.default_rng(seed)

    def ask(self, count: int) -> tuple[Point, ...]:
        """The next `count` points."""
        return tuple(self._space.draw(self._random) for _ in range(count))

    def tell(self, scores: Sequence[Score]) -> None:
        """Scores change nothing here."""


class NsgaII:
    """Optuna's NSGA-II (Deb et al., 2002) with its constrained domination.

    Raises ToolError when Optuna is not installed, UsageError on a population below 2.
    """

    def __init__(self, problem: Problem, *, seed: int, population: int) -> None:
        if population < 2:
            raise UsageError(f"population is {population}, NSGA-II needs at least 2")
        optuna = _import_optuna()
        self._objectives = len(problem.objectives)
        self._distributions = _distributions(problem.space)
        self._study: Study = optuna.create_study(
            directions=["minimize"] * self._objectives,
            sampler=optuna.samplers.NSGAIISampler(population_size=population, seed=seed),
        )
        self._asked: list[OptunaTrial] = []

    def ask(self, count: int) -> tuple[Point, ...]:
        """The next `count` points, children of the best so far."""
        self._asked = [self._study.ask(self._distributions) for _ in range(count)]
        return tuple(Point.of(trial.params) for trial in self._asked)

    def tell(self, scores: Sequence[Score]) -> None:
        """Scores of the last batch; candidates that cannot be built rank behind all others."""
        for trial, score in zip(self._asked, scores, strict=True):
            trial.set_constraint("limits", min(score.excess, UNBUILDABLE))
            self._study.tell(trial, score.costs or (UNBUILDABLE,) * self._objectives)
        self._asked = []


def _import_optuna() -> ModuleType:
    """Optuna, silenced: its log would mix with the progress bars."""
    try:
        import optuna
    except ImportError as error:
        raise ToolError(
            "the strategy 'nsga2' needs the package 'optuna', which is not installed; "
            "run python -m pip install 'intaglio[search]'"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    return {dimension.name: _distribution(dimension) for dimension in space.dimensions}


def _distribution(dimension: Dimension) -> BaseDistribution:
    from optuna import distributions

    match dimension:
        case Choice(values=values):
            return distributions.CategoricalDistribution(values)
        case Integer(low=low, high=high, log=log):
            return distributions.IntDistribution(low, high, log=log)
        case Real(low=low, high=high, log=log):
            return distributions.FloatDistribution(low, high, log=log)
        case _:
            assert_never(dimension)


STRATEGIES: Mapping[str, Callable[..., Strategy]] = MappingProxyType(
    {"nsga2": NsgaII, "random": RandomSearch}
)
"""By the name that a specification gives; each takes (problem, seed=, population=)."""
