"""What a candidate is judged by: metrics with their kind, objectives, limits and scores."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from intaglio.errors import UsageError
from intaglio.search.space import Point, Space


class Kind(StrEnum):
    """How a number came about."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    ESTIMATED = "estimated"


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric as it is defined: its unit and its kind."""

    name: str
    unit: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Metrics:
    """The metrics of one candidate by name, in the order of the evaluator."""

    values: tuple[tuple[str, float], ...]

    @classmethod
    def of(cls, values: Mapping[str, float]) -> Metrics:
        """From plain values."""
        return cls(tuple(values.items()))

    def __getitem__(self, name: str) -> float:
        return dict(self.values)[name]

    def to_dict(self) -> dict[str, float]:
        """Plain values for JSON."""
        return dict(self.values)


@dataclass(frozen=True, slots=True)
class Infeasible:
    """A candidate that cannot be built, and the sentence that says why."""

    reason: str


Outcome = Metrics | Infeasible
Evaluate = Callable[[Point], Outcome]
"""A pure function: the same point always gives the same outcome."""


class Goal(StrEnum):
    """Which way is better."""

    MAXIMISE = "maximise"
    MINIMISE = "minimise"


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric to make as large or as small as possible."""

    metric: str
    goal: Goal

    def cost(self, metrics: Metrics) -> float:
        """The metric with the sign that makes less better."""
        value = metrics[self.metric]
        return -value if self.goal is Goal.MAXIMISE else value


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound that a metric must keep: `at_most` or `at_least` that value, which is not zero."""

    metric: str
    bound: float
    at_most: bool = True

    def __post_init__(self) -> None:
        if self.bound == 0:
            raise UsageError(f"the limit of '{self.metric}' is 0; give a bound that is not 0")

    def excess(self, metrics: Metrics) -> float:
        """How far the bound is passed, as a share of it; 0 when it is kept."""
        over = metrics[self.metric] - self.bound
        return max(0.0, over if self.at_most else -over) / abs(self.bound)

    def __str__(self) -> str:
        return f"{self.metric} {'<=' if self.at_most else '>='} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class Score:
    """A candidate as a strategy sees it: costs (less is better) and how far limits are passed.

    A candidate that cannot be built has no costs and infinite excess.
    """

    costs: tuple[float, ...]
    excess: float

    @property
    def feasible(self) -> bool:
        """Whether it can be built and keeps every limit."""
        return self.excess == 0


def unchanged(point: Point) -> Point:
    """The repair of a space in which every point is legal."""
    return point


@dataclass(frozen=True, slots=True)
class Problem:
    """What is searched: a space, what candidates are judged by, and a name for what is judged.

    measures     the metrics that the evaluator gives
    identity     the content that decides the outcome of a point: task, fixed parameters, versions
    repair       moves a point of the space to the legal candidate that is meant; idempotent

    Raises UsageError when there is no objective, or one or a limit names no metric.
    """

    space: Space
    measures: tuple[Measure, ...]
    objectives: tuple[Objective, ...]
    limits: tuple[Limit, ...]
    identity: str
    repair: Callable[[Point], Point] = unchanged

    def __post_init__(self) -> None:
        if not self.objectives:
            raise UsageError("the search has no objectives; name at least one metric to optimise")
        known = [measure.name for measure in self.measures]
        for what, name in (
            *(("objective", objective.metric) for objective in self.objectives),
            *(("limit", limit.metric) for limit in self.limits),
        ):
            check_known(f"{what} '{name}' is no metric", name, known)

    def score(self, outcome: Outcome) -> Score:
        """What a strategy is told about an outcome."""
        if isinstance(outcome, Infeasible):
            return Score((), float("inf"))
        costs = tuple(objective.cost(outcome) for objective in self.objectives)
        return Score(costs, sum(limit.excess(outcome) for limit in self.limits))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides a study's outcome but its strategy and its length."""
        described = {
            "space": self.space.to_dict(),
            "objectives": [asdict(objective) for objective in self.objectives],
            "limits": [asdict(limit) for limit in self.limits],
            "identity": self.identity,
        }
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Raise UsageError, `what` and the nearest known name, when `name` is not known."""
    names = list(known)
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}"
    raise UsageError(f"{what}; {hint}")
