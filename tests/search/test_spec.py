"""Specifications: what a file says, and one sentence for each way to say it wrongly."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from intaglio.errors import DesignError, UsageError
from intaglio.search.objectives import Goal, Limit, Objective
from intaglio.search.space import Choice, Integer
from intaglio.search.spec import load_task, read_specification, specification
from intaglio.search.study import Budget
from tests.search.tasks import SmallTask

SMALL = Path(__file__).with_name("small.toml")


def values(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """The small specification; `a__b=1` sets b of table a, None removes."""
    made = tomllib.loads(SMALL.read_text())
    for path, value in changes.items():
        *tables, key = path.split("__")
        table = made
        for name in tables:
            table = table.setdefault(name, {})
        table[key] = value
        if value is None:
            del table[key]
    return made


def test_a_file_becomes_a_problem_and_a_budget() -> None:
    spec = read_specification(SMALL)
    assert spec.task == SmallTask()
    assert spec.budget == Budget("nsga2", 8, 4, 1)
    assert spec.verify_images == 2
    assert spec.fixed["weight_buffer_kib"] == 4
    assert spec.problem.objectives == (
        Objective("accuracy", Goal.MAXIMISE),
        Objective("area_kge", Goal.MINIMISE),
    )
    assert spec.problem.limits == (Limit("latency_us", 20.0),)
    assert Choice("network.width", (4, 8)) in spec.problem.space.dimensions


def test_ranges_and_lower_bounds_are_read() -> None:
    spec = specification(
        values(space__bits__weights={"low": 2, "high": 8}, limits__accuracy={"at_least": 0.5}), "x"
    )
    assert Integer("bits.weights", 2, 8) in spec.problem.space.dimensions
    assert Limit("accuracy", 0.5, at_most=False) in spec.problem.limits


def test_what_decides_outcomes_decides_the_fingerprint() -> None:
    first = specification(values(), "x").problem.fingerprint
    assert specification(values(trials=9, verify_images=0), "y").problem.fingerprint == first
    for change in ({"design__weight_buffer_kib": 8}, {"space__network__width": [4]}):
        assert specification(values(**change), "x").problem.fingerprint != first


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"trails": 5}, "x: unknown key 'trails'; did you mean 'trials'?"),
        ({"task": None}, "x: key 'task' is missing; docs/search.md has an example"),
        ({"task": 5}, "x: task is 5, expected a text"),
        ({"trials": 0}, "trials is 0, at least 1 is needed"),
        ({"trials": "many"}, "x: trials is 'many', expected a whole number"),
        ({"space": {}, "task": "tests.search.tasks:small"},
         "x: space.network: key 'width' is missing; task 'small' has it"),
        ({"space__network__widht": [1]},
         "x: space.network: unknown key 'widht'; did you mean 'width'?"),
        ({"space__network__width": 4},
         "x: space.network: network.width is 4; give a list of values, or low and high of whole "
         "numbers"),
        ({"space__network__width": []},
         "dimension 'network.width' has no values; list at least one"),
        ({"space__bits__weights": [9]},
         "weight precision of 9 bits is outside 1 to 8; choose 1 to 8"),
        ({"space__bits__weights": {"low": 2, "hihg": 8}},
         "x: space.bits: bits.weights: unknown key 'hihg'; did you mean 'high'?"),
        ({"space__design__rows": [4, 7]},
         "x: space.design.rows: 7 is not one of 4, 8, 16, 32, 64"),
        ({"space__design__rows": {"low": 4, "high": 8}},
         "x: space.design.rows: is a range, and not every number in it is legal; list values"),
        ({"space__design__row": [4]},
         "x: space.design: unknown key 'row'; did you mean 'rows'?"),
        ({"design__rows": 4}, "x: design: 'rows' is fixed here and searched too; keep one of them"),
        ({"design__clock": 4}, "x: design: unknown key 'clock'; did you mean 'clock_mhz'?"),
        ({"objectives": {}},
         "the search has no objectives; name at least one metric to optimise"),
        ({"objectives__area_kge": "less"},
         "x: objectives: area_kge is 'less', which is no goal; known are maximise, minimise"),
        ({"objectives__area": "minimise"},
         "objective 'area' is no metric; did you mean 'area_kge'?"),
        ({"limits__latency_us": 5}, "x: limits: latency_us is 5, expected a table"),
        ({"limits__latency_us": {"at_msot": 5}},
         "x: limits: latency_us: unknown key 'at_msot'; did you mean 'at_most'?"),
        ({"task": "tests.search.tasks"},
         "task 'tests.search.tasks' has no known form; give file.py:callable or "
         "package.module:callable"),
        ({"task": "tests.search.tasks:smal"},
         "tests.search.tasks: has no callable 'smal'; did you mean 'small'?"),
        ({"task": "tests.search.tasks:no_task"},
         "tests.search.tasks:no_task() returned int, which has no 'name'; return what "
         "intaglio.search.codesign.Task describes"),
        (
            {"task": "tests.search.tasks:labelled"},
            "tests.search.tasks:labelled() failed (TypeError: labelled() missing 2 required "
            "positional arguments: 'seed' and 'count'); it must run without arguments and return "
            "a task",
        ),
        ({"task": "none.py:small"},
         "none.py: there is no such file; give the path of a Python file"),
        ({"task": "tests.none:small"},
         "tests.none: cannot be imported (ModuleNotFoundError: No module named 'tests.none'); run "
         "it with python to see more"),
    ],
)  # fmt: skip
def test_a_wrong_specification_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        specification(values(**changes), "x")
    assert str(caught.value) == sentence


def test_an_illegal_fixed_parameter_is_refused() -> None:
    with pytest.raises(DesignError) as caught:
        specification(values(design__memory_latency_cycles=0), "x")
    assert str(caught.value) == ("design 'npu': memory_latency_cycles is 0, legal is 1 to 4096")


def test_a_missing_and_a_broken_file(tmp_path: Path) -> None:
    path = tmp_path / "spec.toml"
    with pytest.raises(UsageError) as caught:
        read_specification(path)
    assert str(caught.value) == f"cannot read specification '{path}': No such file or directory"
    path.write_text("task = = 4")
    with pytest.raises(UsageError) as caught:
        read_specification(path)
    assert str(caught.value) == (
        f"specification '{path}' is not TOML: Invalid value (at line 1, column 8)"
    )


def test_a_task_is_read_from_a_file() -> None:
    path = Path(__file__).with_name("tasks.py")
    assert load_task(f"{path}:small").name == "small"


def test_what_a_task_prints_stays_off_stdout_and_its_exit_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "leaving.py"
    path.write_text("def task():\n    print('a word')\n    raise SystemExit(3)\n")
    with pytest.raises(UsageError) as caught:
        load_task(f"{path}:task")
    assert str(caught.value) == (
        f"{path}:task() failed (SystemExit: 3) at leaving.py:3: raise SystemExit(3); it must run "
        "without arguments and return a task"
    )
    assert capsys.readouterr() == ("", "a word\n")
