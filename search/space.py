"""`Space`: the named dimensions of a search, and `Point`, one value for each of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import assert_never

import numpy as np

from intaglio.errors import UsageError

Scalar = int | float | str


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `values`, which have no order.  Raises UsageError when there are none, or twins."""

    name: str
    values: tuple[Scalar, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise UsageError(f"dimension '{self.name}' has no values; list at least one")
        if len(set(self.values)) < len(self.values):
            raise UsageError(f"dimension '{self.name}' lists a value twice; list each once")


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from `low` to `high`, both included.

    With `log`, equal ratios are equally likely.  Raises UsageError on an empty range, or on
    `log` with a range that does not start above zero.
    """

    name: str
    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log)


@dataclass(frozen=True, slots=True)
class Real:
    """A real number from `low` to `high`; `log` and errors as of `Integer`."""

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_range(self.name, self.low, self.high, self.log)


Dimension = Choice | Integer | Real


def _check_range(name: str, low: float, high: float, log: bool) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise UsageError(
            f"dimension '{name}' runs from {low} to {high}, which is no range; make low <= high"
        )
    if log and low <= 0:
        raise UsageError(
            f"dimension '{name}' is log-scaled from {low}; start it above 0 or drop log"
        )


@dataclass(frozen=True, slots=True)
class Point:
    """One value for each dimension, sorted by name: equal points are equal values."""

    values: tuple[tuple[str, Scalar], ...]

    @classmethod
    def of(cls, values: Mapping[str, Scalar]) -> Point:
        """From plain values."""
        return cls(tuple(sorted(values.items())))

    def __getitem__(self, name: str) -> Scalar:
        return dict(self.values)[name]

    def part(self, prefix: str) -> dict[str, Scalar]:
        """The values whose names are `prefix.rest`, by `rest`."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): value for name, value in self.values if name.startswith(start)
        }

    def to_dict(self) -> dict[str, Scalar]:
        """Plain values for JSON."""
        return dict(self.values)

    def to_text(self) -> str:
        """JSON, the same for equal points: what a study files it under."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.values)


@dataclass(frozen=True, slots=True)
class Space:
    """The dimensions of a search.  Raises UsageError when there are none or two share a name."""

    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        if not self.dimensions:
            raise UsageError("the search space is empty; name at least one dimension")
        seen: set[str] = set()
        for dimension in self.dimensions:
            if dimension.name in seen:
                raise UsageError(f"dimension '{dimension.name}' is there twice; name it once")
            seen.add(dimension.name)

    @property
    def size(self) -> float:
        """How many points there are; infinite when a dimension is real."""
        return math.prod(_extent(dimension) for dimension in self.dimensions)

    def draw(self, random: np.random.Generator) -> Point:
        """A point drawn evenly (by logarithm where a dimension says so)."""
        return Point.of({d.name: _draw(d, random) for d in self.dimensions})

    def contains(self, point: Point) -> bool:
        """Whether `point` has exactly one value in range for each dimension."""
        values = point.to_dict()
        return values.keys() == {d.name for d in self.dimensions} and all(
            _in_range(d, values[d.name]) for d in self.dimensions
        )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON, by dimension."""
        return {d.name: {"type": type(d).__name__.lower(), **asdict(d)} for d in self.dimensions}


def _extent(dimension: Dimension) -> float:
    match dimension:
        case Choice(values=values):
            return len(values)
        case Integer(low=low, high=high):
            return high - low + 1
        case Real(low=low, high=high):
            return 1 if low == high else math.inf
        case _:
            assert_never(dimension)


def _draw(dimension: Dimension, random: np.random.Generator) -> Scalar:
    match dimension:
        case Choice(values=values):
            return values[int(random.integers(len(values)))]
        case Integer(low=low, high=high, log=False):
            return int(random.integers(low, high, endpoint=True))
        case Integer(low=low, high=high):
            drawn = math.exp(random.uniform(math.log(low - 0.5), math.log(high + 0.5)))
            return min(max(round(drawn), low), high)
        case Real(low=low, high=high, log=False):
            return float(random.uniform(low, high))
        case Real(low=low, high=high):
            drawn = math.exp(random.uniform(math.log(low), math.log(high)))
            return min(max(drawn, low), high)
        case _:
            assert_never(dimension)


def _in_range(dimension: Dimension, value: Scalar) -> bool:
    match dimension:
        case Choice(values=values):
            return value in values
        case Integer(low=low, high=high):
            return isinstance(value, int) and low <= value <= high
        case Real(low=low, high=high):
            return isinstance(value, (int, float)) and low <= value <= high
        case _:
            assert_never(dimension)
