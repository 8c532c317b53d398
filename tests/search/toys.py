"""A problem that costs nothing to evaluate, for tests of strategies and studies."""

from __future__ import annotations

from intaglio.search.objectives import (
    Goal,
    Infeasible,
    Kind,
    Limit,
    Measure,
    Metrics,
    Objective,
    Outcome,
    Problem,
)
from intaglio.search.space import Choice, Integer, Point, Real, Space

SPACE = Space(
    (Integer("size", 1, 64, log=True), Choice("shape", ("round", "square")), Real("tilt", 0.0, 1.0))
)
MEASURES = (Measure("worth", "points", Kind.MEASURED), Measure("price", "coins", Kind.ESTIMATED))


def toy(limit: float = 40.0, identity: str = "toy") -> Problem:
    """Much worth for little price, at most `limit`."""
    objectives = (Objective("worth", Goal.MAXIMISE), Objective("price", Goal.MINIMISE))
    return Problem(SPACE, MEASURES, objectives, (Limit("price", limit),), identity)


def evaluate(point: Point) -> Outcome:
    """Worth grows with size and tilt, price with size; big round ones cannot be built."""
    size, tilt = float(point["size"]), float(point["tilt"])
    if point["shape"] == "round" and size > 50:
        return Infeasible(f"size {size:g} does not roll")
    squareness = 1.5 if point["shape"] == "square" else 1.0
    return Metrics.of({"worth": size**0.5 + tilt, "price": size * squareness + tilt})
