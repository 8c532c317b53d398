"""A study: a strategy asks, an evaluator answers, a store remembers; and what came out of it.

A study resumes by replaying its trials: the strategy starts again from its seed and is told the
stored outcomes, which takes it to where it was.  So a study that was killed ends with the result
of one that was not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intaglio.errors import DesignError, UsageError
from intaglio.search import frontier
from intaglio.search.objectives import Evaluate, Infeasible, Metrics, Outcome, Problem, Score
from intaglio.search.space import Point
from intaglio.search.store import Store
from intaglio.search.strategies import STRATEGIES

Progress = Callable[[str, int, int], None]
"""Called with (step in words, done, total)."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How a strategy is run: its name, how many trials, in batches of `population`, from `seed`.

    Raises UsageError for an unknown strategy or a number below 1.
    """

    strategy: str = "nsga2"
    trials: int = 64
    population: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            known = " and ".join(STRATEGIES)
            raise UsageError(f"unknown strategy '{self.strategy}'; known are {known}")
        for name in ("trials", "population"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, at least 1 is needed")


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate that was tried."""

    number: int
    point: Point
    outcome: Outcome
    score: Score

    @property
    def metrics(self) -> Metrics:
        """The metrics of a candidate that could be built."""
        assert isinstance(self.outcome, Metrics)
        return self.outcome


def run(
    problem: Problem,
    evaluate: Evaluate,
    store: Store,
    budget: Budget,
    progress: Progress | None = None,
) -> tuple[Trial, ...]:
    """Every trial of one strategy, in order.

    Points that the store knows are not evaluated again.  Raises UsageError when the store holds
    other trials for this budget than the strategy asks for now.
    """
    make = STRATEGIES[budget.strategy]
    strategy = make(problem, seed=budget.seed, population=budget.population)
    name = f"{budget.strategy} of {budget.population} from seed {budget.seed}"
    trials: list[Trial] = []
    while len(trials) < budget.trials:
        batch: list[Trial] = []
        for asked in strategy.ask(min(budget.population, budget.trials - len(trials))):
            if progress is not None:
                progress(f"search, {budget.strategy}", len(trials) + len(batch), budget.trials)
            point = problem.repair(asked)
            number = len(trials) + len(batch)
            store.keep_trial(name, number, asked, point)
            outcome = _outcome(point, evaluate, store)
            batch.append(Trial(number, point, outcome, problem.score(outcome)))
        strategy.tell([trial.score for trial in batch])
        trials += batch
    if progress is not None:
        progress(f"search, {budget.strategy}", budget.trials, budget.trials)
    return tuple(trials)


def _outcome(point: Point, evaluate: Evaluate, store: Store) -> Outcome:
    known = store.outcome(point)
    if known is None:
        known = evaluate(point)
        store.keep_outcome(point, known)
    return known


def feasible(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials that keep every limit."""
    return tuple(trial for trial in trials if trial.score.feasible)


def front(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """The trials that keep every limit and that no other such trial dominates, by cost."""
    kept = feasible(trials)
    best = [kept[i] for i in frontier.front([trial.score.costs for trial in kept])]
    return tuple(sorted(best, key=lambda trial: trial.score.costs))


def check_feasible(problem: Problem, trials: Sequence[Trial]) -> None:
    """Raise DesignError, naming the closest candidate, when no trial keeps every limit."""
    if feasible(trials):
        return
    built = [trial for trial in trials if isinstance(trial.outcome, Metrics)]
    if not built:
        first = trials[0].outcome
        assert isinstance(first, Infeasible)
        raise DesignError(
            f"none of {len(trials)} candidates can be built; the first, {trials[0].point}: "
            f"{first.reason}"
        )
    closest = min(built, key=lambda trial: trial.score.excess)
    passed = [limit for limit in problem.limits if limit.excess(closest.metrics)]
    misses = " and ".join(f"{closest.metrics[limit.metric]:g} for {limit}" for limit in passed)
    raise DesignError(
        f"none of {len(trials)} candidates keeps the limits; the closest has {misses} "
        f"({closest.point}); loosen the limit, widen the space or allow more trials"
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two searches of equal length: the share of one box that each front dominates, 0 to 1.

    The box spans every candidate of either that keeps the limits, and a tenth more at its worst
    corner, so that the two shares can be compared with each other and with nothing else.
    """

    searched: float
    random: float
    trials: int


def compare(searched: Sequence[Trial], drawn: Sequence[Trial]) -> Comparison:
    """The hypervolumes of a search and of as many random candidates."""
    best, worst = frontier.box([t.score.costs for t in feasible([*searched, *drawn])])
    shares = [
        frontier.covered([trial.score.costs for trial in front(trials)], best, worst)
        for trials in (searched, drawn)
    ]
    return Comparison(shares[0], shares[1], len(searched))


def choose(candidates: Sequence[Trial], tolerance: float) -> Trial:
    """The candidate to build: near the best of the first objective, then cheapest in the next.

    Candidates whose first cost is within `tolerance` (in the unit of that metric) of the least
    are compared by their other costs, in the order of the objectives.
    """
    least = min(trial.score.costs[0] for trial in candidates)
    near = [trial for trial in candidates if trial.score.costs[0] <= least + tolerance]
    return min(near, key=lambda trial: (*trial.score.costs[1:], trial.score.costs[0]))
