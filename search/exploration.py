"""A whole exploration: search, as many random candidates, the front, and the one to build."""

from __future__ import annotations

from dataclasses import dataclass, replace

from intaglio.compiler.execution import Engine
from intaglio.search import study
from intaglio.search.codesign import CoDesign, integer_accuracy
from intaglio.search.objectives import Problem
from intaglio.search.spec import Specification
from intaglio.search.store import Store
from intaglio.search.study import Comparison, Progress, Trial


@dataclass(frozen=True, slots=True)
class Exploration:
    """What a search found.

    trials               how many candidates the strategy tried
    feasible             how many of them keep every limit
    front                those that no other dominates, by cost
    comparison           with as many random candidates; None when random was the strategy
    chosen               the candidate to build
    held_back_accuracy   the accuracy of the chosen one on images that the search never saw
    engine               what computed the accuracy of the chosen one
    """

    problem: Problem
    strategy: str
    trials: int
    feasible: int
    front: tuple[Trial, ...]
    comparison: Comparison | None
    chosen: Trial
    held_back_accuracy: float
    engine: Engine


def explore(
    specification: Specification, store: Store, progress: Progress | None = None
) -> Exploration:
    """Run the search of `specification` on what `store` knows, and compare it with chance.

    Raises DesignError, naming the closest candidate, when none keeps the limits.
    """
    problem, budget = specification.problem, specification.budget
    evaluate = CoDesign(specification.task, specification.fixed, store)
    trials = study.run(problem, evaluate, store, budget, progress)
    study.check_feasible(problem, trials)
    comparison = None
    if budget.strategy != "random":
        chance = replace(budget, strategy="random")
        comparison = study.compare(trials, study.run(problem, evaluate, store, chance, progress))
    front = study.front(trials)
    chosen = study.choose(front, specification.tolerance)
    workload = evaluate.workload(chosen.point)
    engine = evaluate.engine(workload)
    return Exploration(
        problem,
        budget.strategy,
        len(trials),
        len(study.feasible(trials)),
        front,
        comparison,
        chosen,
        integer_accuracy(workload, specification.task.held_back(), engine),
        engine,
    )
