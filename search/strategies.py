"""Who proposes the next points.  A strategy is deterministic: it depends on its seed, and on the
scores it was told, and on nothing else.  That is what lets a study resume by replaying its trials.

No strategy proposes a candidate twice while it finds another: points that mean the same candidate
(`Problem.repair`) cost a trial and teach nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Protocol, assert_never

import numpy as np

from intaglio.errors import ToolError, UsageError
from intaglio.search.objectives import Problem, Score
from intaglio.search.space import Choice, Dimension, Integer, Point, Real, Scalar

if TYPE_CHECKING:
    from optuna import Study
    from optuna import Trial as OptunaTrial
    from optuna.distributions import BaseDistribution
    from optuna.samplers import NSGAIISampler

UNBUILDABLE = 1e9
"""The cost and the excess that Optuna is told for a candidate that cannot be built."""
MUTATION_ETA = 3.0
"""Distribution index of the mutation: moves average a fifth of a range, about one step of six."""
ATTEMPTS = 100
"""Proposals for one trial, of which the last is taken even if its candidate was tried before."""


class Strategy(Protocol):
    """Points are asked for in batches; the scores of a batch are told in its order."""

    def ask(self, count: int) -> tuple[Point, ...]:
        """The next `count` points of the space."""

    def tell(self, scores: Sequence[Score]) -> None:
        """The scores of the points that were asked for last."""


class _Tried:
    """The candidates that a strategy has proposed."""

    def __init__(self, problem: Problem) -> None:
        self._repair = problem.repair
        self._seen: set[Point] = set()

    def is_new(self, point: Point) -> bool:
        """Whether `point` means a candidate that was not proposed before; it now was."""
        candidate = self._repair(point)
        known = candidate in self._seen
        self._seen.add(candidate)
        return not known


class RandomSearch:
    """Points drawn evenly from the space, whatever their scores."""

    def __init__(self, problem: Problem, *, seed: int, population: int) -> None:
        self._space = problem.space
        self._random = np.random.default_rng(seed)
        self._tried = _Tried(problem)

    def ask(self, count: int) -> tuple[Point, ...]:
        """The next `count` points."""
        return tuple(self._propose() for _ in range(count))

    def _propose(self) -> Point:
        for _ in range(ATTEMPTS):
            point = self._space.draw(self._random)
            if self._tried.is_new(point):
                break
        return point

    def tell(self, scores: Sequence[Score]) -> None:
        """Scores change nothing here."""


class NsgaII:
    """Optuna's NSGA-II (Deb et al., 2002) with its constrained domination.

    Numbers, lists of rising ones included, mutate to nearby values by the polynomial mutation of
    that paper; other choices are drawn anew.  Raises ToolError when Optuna is not installed,
    UsageError on a population below 2.
    """

    def __init__(self, problem: Problem, *, seed: int, population: int) -> None:
        if population < 2:
            raise UsageError(f"population is {population}, NSGA-II needs at least 2")
        optuna = _import_optuna()
        self._objectives = len(problem.objectives)
        self._space = problem.space
        self._distributions = {d.name: _distribution(d) for d in problem.space.dimensions}
        self._repeated = optuna.trial.TrialState.FAIL
        self._study: Study = optuna.create_study(
            directions=["minimize"] * self._objectives,
            sampler=_sampler(optuna, seed, population),
        )
        self._tried = _Tried(problem)
        self._asked: list[OptunaTrial] = []

    def ask(self, count: int) -> tuple[Point, ...]:
        """The next `count` points, children of the best so far."""
        self._asked = [self._propose() for _ in range(count)]
        return tuple(self._point(trial) for trial in self._asked)

    def tell(self, scores: Sequence[Score]) -> None:
        """Scores of the last batch; candidates that cannot be built rank behind all others."""
        for trial, score in zip(self._asked, scores, strict=True):
            trial.set_constraint("limits", min(score.excess, UNBUILDABLE))
            self._study.tell(trial, score.costs or (UNBUILDABLE,) * self._objectives)
        self._asked = []

    def _propose(self) -> OptunaTrial:
        """The next child whose candidate is new.  Optuna leaves failed ones out of generations."""
        for left in reversed(range(ATTEMPTS)):
            trial = self._study.ask(self._distributions)
            if self._tried.is_new(self._point(trial)) or not left:
                break
            self._study.tell(trial, state=self._repeated)
        return trial

    def _point(self, trial: OptunaTrial) -> Point:
        return Point.of({d.name: _decoded(d, trial.params[d.name]) for d in self._space.dimensions})


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


def _sampler(optuna: ModuleType, seed: int, population: int) -> NSGAIISampler:
    """The sampler; Optuna warns that its mutations are experimental, which its pin answers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        mutation = optuna.samplers.nsgaii.PolynomialMutation(MUTATION_ETA)
        sampler: NSGAIISampler = optuna.samplers.NSGAIISampler(
            population_size=population, seed=seed, mutation=mutation
        )
    return sampler


def _distribution(dimension: Dimension) -> BaseDistribution:
    """What Optuna is told to choose from: of rising values, the place in their list."""
    from optuna import distributions

    match dimension:
        case Choice(values=values, ordered=True):
            return distributions.IntDistribution(0, len(values) - 1)
        case Choice(values=values):
            return distributions.CategoricalDistribution(values)
        case Integer(low=low, high=high, log=log):
            return distributions.IntDistribution(low, high, log=log)
        case Real(low=low, high=high, log=log):
            return distributions.FloatDistribution(low, high, log=log)
        case _:
            assert_never(dimension)


def _decoded(dimension: Dimension, chosen: Scalar) -> Scalar:
    """The value of `dimension` that Optuna's choice stands for."""
    if isinstance(dimension, Choice) and dimension.ordered:
        return dimension.values[int(chosen)]
    return chosen


STRATEGIES: Mapping[str, Callable[..., Strategy]] = MappingProxyType(
    {"nsga2": NsgaII, "random": RandomSearch}
)
"""By the name that a specification gives; each takes (problem, seed=, population=)."""
