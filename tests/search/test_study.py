"""Studies: killed ones end like others, limits are kept, and refusals say what is closest."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from intaglio.errors import ArtifactError, DesignError, UsageError
from intaglio.search import frontier, study
from intaglio.search.objectives import Infeasible, Outcome
from intaglio.search.space import Point
from intaglio.search.store import Store
from intaglio.search.study import Budget, Trial
from tests.search.toys import evaluate, toy

ROOT = Path(__file__).parents[2]
BUDGET = Budget(trials=30, population=8, seed=3)


def run(path: Path, budget: Budget = BUDGET, limit: float = 40.0) -> tuple[Trial, ...]:
    problem = toy(limit)
    with Store(path, problem.fingerprint) as store:
        return study.run(problem, evaluate, store, budget)


def test_a_killed_study_ends_like_one_that_was_not(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole.sqlite")
    for kill_at in (3, 13):
        command = (sys.executable, "-m", "tests.search.killed_study")
        places = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "PYTHONHASHSEED": str(kill_at)}
        killed = subprocess.run(
            [*command, tmp_path / "cut.sqlite", str(kill_at)],
            cwd=ROOT, env=places, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert run(tmp_path / "cut.sqlite") == whole


def test_known_points_are_not_evaluated_again(tmp_path: Path) -> None:
    whole = run(tmp_path / "study.sqlite")

    def never(point: Point) -> Outcome:
        raise AssertionError(f"{point} is known")

    problem = toy()
    with Store(tmp_path / "study.sqlite", problem.fingerprint) as store:
        assert study.run(problem, never, store, BUDGET) == whole
        longer = Budget(trials=31, population=8, seed=3)
        with pytest.raises(AssertionError, match="is known"):
            study.run(problem, never, store, longer)


@pytest.mark.parametrize("strategy", ["nsga2", "random"])
def test_the_front_keeps_the_limits_and_is_not_dominated(tmp_path: Path, strategy: str) -> None:
    trials = run(tmp_path / "study.sqlite", Budget(strategy, 60, 10, 1))
    front = study.front(trials)
    assert front
    for trial in front:
        assert trial.metrics["price"] <= 40
        assert not any(
            frontier.dominates(other.score.costs, trial.score.costs)
            for other in study.feasible(trials)
        )


def test_comparison_is_a_share_of_one_box(tmp_path: Path) -> None:
    searched = run(tmp_path / "study.sqlite", Budget("nsga2", 60, 10, 1))
    drawn = run(tmp_path / "study.sqlite", Budget("random", 60, 10, 1))
    found = study.compare(searched, drawn)
    assert 0 < found.random < found.searched < 1
    assert found.trials == 60
    itself = study.compare(drawn, drawn)
    assert itself.searched == itself.random


def test_choose_takes_the_cheapest_near_the_best(tmp_path: Path) -> None:
    front = study.front(run(tmp_path / "study.sqlite", Budget("random", 60, 10, 1)))
    dearest = study.choose(front, 0.0)
    assert dearest.metrics["worth"] == max(trial.metrics["worth"] for trial in front)
    cheaper = study.choose(front, 2.0)
    assert cheaper.metrics["price"] < dearest.metrics["price"]
    assert cheaper.metrics["worth"] >= dearest.metrics["worth"] - 2


def test_when_no_candidate_keeps_the_limits_the_closest_is_named(tmp_path: Path) -> None:
    trials = run(tmp_path / "study.sqlite", Budget("random", 20, 10, 1), limit=0.5)
    least = min(trials, key=lambda trial: trial.score.excess)
    with pytest.raises(DesignError) as caught:
        study.check_feasible(toy(0.5), trials)
    assert str(caught.value) == (
        f"none of 20 candidates keeps the limits; the closest has {least.metrics['price']:g} for "
        f"price <= 0.5 ({least.point}); loosen the limit, widen the space or allow more trials"
    )


def test_when_nothing_can_be_built_the_first_reason_is_told() -> None:
    point, outcome = Point.of({"size": 60}), Infeasible("size 60 does not roll")
    with pytest.raises(DesignError) as caught:
        study.check_feasible(toy(), [Trial(0, point, outcome, toy().score(outcome))])
    assert str(caught.value) == (
        "none of 1 candidates can be built; the first, size 60: size 60 does not roll"
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"strategy": "nsga3"}, "unknown strategy 'nsga3'; known are nsga2 and random"),
        ({"trials": 0}, "trials is 0, at least 1 is needed"),
        ({"population": 0}, "population is 0, at least 1 is needed"),
    ],
)
def test_a_wrong_budget_is_refused(values: dict[str, int], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        Budget(**values)  # type: ignore[arg-type]
    assert str(caught.value) == sentence


def test_a_study_of_another_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    run(path)
    with pytest.raises(UsageError) as caught:
        run(path, limit=41.0)
    assert str(caught.value) == (
        f"study '{path}' was made for another search (fingerprint {toy().fingerprint[:12]}, not "
        f"{toy(41.0).fingerprint[:12]}); name another folder, or go back to its specification"
    )


def test_a_study_in_use_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    with Store(path, "one"), pytest.raises(UsageError) as caught:
        Store(path, "one")
    assert str(caught.value) == (
        f"study '{path}' is in use by another search; wait for it to end or name another folder"
    )


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    path.write_bytes(b"years of work" * 100)
    with pytest.raises(ArtifactError) as caught:
        Store(path, "one")
    assert str(caught.value) == (
        f"study '{path}' is corrupt (file is not a database); start a new study"
    )
    assert path.read_bytes() == b"years of work" * 100


def test_a_strategy_that_asks_otherwise_than_before_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.sqlite"
    run(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE trials SET asked = '{}' WHERE number = 5")
    connection.close()
    with pytest.raises(UsageError) as caught:
        run(path)
    assert str(caught.value) == (
        f"study '{path}': trial 5 of nsga2 of 8 from seed 3 is not the one it recorded; the tools "
        "have changed since, so start a new study"
    )


def test_progress_counts_trials(tmp_path: Path) -> None:
    told = []
    with Store(tmp_path / "study.sqlite", "one") as store:
        study.run(
            toy(), evaluate, store, Budget("random", 5, 2, 0), lambda *step: told.append(step)
        )
    assert told == [("search, random", done, 5) for done in range(6)]


def test_blobs_are_made_once(tmp_path: Path) -> None:
    with Store(tmp_path / "study.sqlite", "one") as store:
        assert store.remember("weights", lambda: b"made") == b"made"
        assert store.remember("weights", lambda: b"made again") == b"made"


def test_a_study_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none" / "study.sqlite"
    with pytest.raises(ArtifactError) as caught:
        Store(path, "one")
    assert str(caught.value) == (
        f"study '{path}' cannot be opened or written (unable to open database file); check the "
        "folder and the space left on its disk"
    )
