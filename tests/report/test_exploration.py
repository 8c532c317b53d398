"""What a search prints: the front with the kind of each number, the comparison, the choice."""

from __future__ import annotations

from pathlib import Path

from intaglio.report.exploration import Searched
from intaglio.search.exploration import Exploration
from intaglio.search.objectives import Goal, Kind, Limit, Measure, Metrics, Objective, Problem
from intaglio.search.space import Choice, Integer, Point, Space
from intaglio.search.study import Comparison, Trial

PROBLEM = Problem(
    Space((Choice("design.rows", (4, 8)), Integer("bits.weights", 2, 8))),
    (Measure("accuracy", "share", Kind.MEASURED), Measure("area_kge", "kGE", Kind.ESTIMATED)),
    (Objective("accuracy", Goal.MAXIMISE), Objective("area_kge", Goal.MINIMISE)),
    (Limit("area_kge", 2000.0),),
    "text",
)


def trial(number: int, rows: int, bits: int, accuracy: float, area: float) -> Trial:
    outcome = Metrics.of({"accuracy": accuracy, "area_kge": area})
    point = Point.of({"design.rows": rows, "bits.weights": bits})
    return Trial(number, point, outcome, PROBLEM.score(outcome))


FRONT = (trial(5, 8, 8, 0.975, 1341.2), trial(2, 4, 6, 0.96, 712.4))


def searched(comparison: Comparison | None) -> Searched:
    found = Exploration(PROBLEM, "nsga2", 16, 9, FRONT, comparison, FRONT[1], 0.955, "reference")
    return Searched(found, Path("out/chosen"), None)


def test_the_text_names_the_kind_of_every_number() -> None:
    assert str(searched(Comparison(0.8125, 0.75, 16))) == (
        "nsga2: 16 candidates, 9 of them within area_kge <= 2000; maximise accuracy, minimise "
        "area_kge\n"
        "front: 2 candidates that no other dominates, the chosen one marked\n"
        "\n"
        "   measured  estimated\n"
        "   accuracy   area_kge  weights  rows\n"
        "      0.975       1341        8     8\n"
        "*     0.960        712        6     4\n"
        "\n"
        "hypervolume: nsga2 0.812, 16 random candidates 0.750 (shares of one box)\n"
        "chosen: bits.weights 6, design.rows 4\n"
        "accuracy of the chosen one, measured: 96.0% on the images of the search, 95.5% on images "
        "kept back (computed by: the reference)"
    )


def test_the_json_holds_the_same() -> None:
    answer = searched(None).to_dict()
    assert answer["metrics"] == {
        "accuracy": {"unit": "share", "kind": "measured"},
        "area_kge": {"unit": "kGE", "kind": "estimated"},
    }
    assert answer["chosen"] == {
        "trial": 2,
        "point": {"bits.weights": 6, "design.rows": 4},
        "metrics": {"accuracy": 0.96, "area_kge": 712.4},
    }
    assert answer["limits"] == ["area_kge <= 2000"]
    assert (answer["held_back_accuracy"], answer["computed_by"]) == (0.955, "the reference")
    assert (answer["hypervolume"], answer["verification"]) == (None, None)
    assert searched(None).passed
