"""`Specification`: a search as a TOML file says it.  docs/search.md explains every key."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from intaglio.compiler.precision import Precision
from intaglio.compiler.user_code import call_user_code, import_user_code
from intaglio.errors import UsageError
from intaglio.search.codesign import MEASURES, Repair, Task
from intaglio.search.objectives import Goal, Limit, Objective, Problem, check_known
from intaglio.search.space import Choice, Dimension, Integer, Scalar, Space
from intaglio.search.study import Budget
from intaglio.templates.npu.design import NpuDesign

_KEYS = (
    "task",
    "strategy",
    "trials",
    "population",
    "seed",
    "verify_images",
    "space",
    "design",
    "objectives",
    "limits",
    "choose",
)
_BITS = ("weights", "activations")
_RANGE = ("low", "high", "log")
_BOUNDS = ("at_most", "at_least")
Table = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Specification:
    """A search.

    task            the family of networks and its images
    problem         space, objectives and limits
    fixed           fields of the npu that are not searched
    budget          strategy, trials, population and seed
    tolerance       how much of the first objective the chosen candidate may give away
    verify_images   images on which the chosen candidate's RTL is verified; 0 for none
    """

    task: Task
    problem: Problem
    fixed: Mapping[str, Scalar]
    budget: Budget
    tolerance: float
    verify_images: int


def read_specification(path: Path) -> Specification:
    """The search in the TOML file `path`; the module of its task is imported.

    Raises UsageError when the file is missing or no TOML, for an unknown key (with the nearest
    known one), and for a value of the wrong form; DesignError for an illegal fixed parameter.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read specification '{path}': {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"specification '{path}' is not TOML: {error}") from error
    return specification(values, str(path))


def specification(values: Table, where: str) -> Specification:
    """The search that plain values describe; `where` begins its error sentences."""
    _check_keys(values, _KEYS, where)
    for key in ("task", "space", "objectives"):
        if key not in values:
            raise UsageError(f"{where}: key '{key}' is missing; docs/search.md has an example")
    choose = _table(values, "choose", where)
    _check_keys(choose, ("tolerance",), f"{where}: choose")
    task = load_task(_text(values["task"], f"{where}: task"))
    searched = _table(_table(values, "space", where), "design", f"{where}: space")
    fixed = _fixed(_table(values, "design", where), searched, f"{where}: design")
    return Specification(
        task,
        _problem(values, task, fixed, where),
        fixed,
        _budget(values, where),
        _number(choose.get("tolerance", 0.0), f"{where}: choose.tolerance"),
        _whole(values.get("verify_images", 0), f"{where}: verify_images"),
    )


def load_task(name: str) -> Task:
    """The task that `file.py:callable` or `package.module:callable` makes.

    Raises UsageError when there is none or it lacks what a task has.
    """
    place, colon, member = name.rpartition(":")
    if not colon or not place or not member.isidentifier():
        raise UsageError(
            f"task '{name}' has no known form; give file.py:callable or package.module:callable"
        )
    module = import_user_code(place)
    make: Any = getattr(module, member, None)
    if not callable(make):
        callables = [key for key, value in vars(module).items() if callable(value)]
        check_known(f"{place}: has no callable '{member}'", member, callables)
    task = cast(Task, call_user_code(name, make, "a task"))
    for wanted in ("name", "choices", "train", "workload", "searched", "held_back"):
        if not hasattr(task, wanted):
            raise UsageError(
                f"{name}() returned {type(task).__name__}, which has no '{wanted}'; return what "
                "intaglio.search.codesign.Task describes"
            )
    return task


def _problem(values: Table, task: Task, fixed: Mapping[str, Scalar], where: str) -> Problem:
    identity = {"task": task.name, "design": dict(fixed), "intaglio": version("intaglio")}
    return Problem(
        Space(_dimensions(_table(values, "space", where), task, f"{where}: space")),
        MEASURES,
        _objectives(_table(values, "objectives", where), f"{where}: objectives"),
        _limits(_table(values, "limits", where), f"{where}: limits"),
        hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
        Repair(tuple(sorted(fixed.items()))),
    )


def _dimensions(space: Table, task: Task, where: str) -> tuple[Dimension, ...]:
    _check_keys(space, ("network", "bits", "design"), where)
    network, bits, design = (_table(space, key, where) for key in ("network", "bits", "design"))
    _check_keys(network, task.choices, f"{where}.network")
    for name in task.choices:
        if name not in network:
            raise UsageError(f"{where}.network: key '{name}' is missing; task '{task.name}' has it")
    _check_keys(bits, _BITS, f"{where}.bits")
    legal = NpuDesign.space()
    _check_keys(design, tuple(legal), f"{where}.design")
    groups = {"network": network, "bits": bits, "design": design}
    dimensions = tuple(
        _dimension(f"{group}.{name}", value, f"{where}.{group}")
        for group, table in groups.items()
        for name, value in table.items()
    )
    for dimension in dimensions:
        _check_legal(dimension, legal, where)
    return dimensions


def _check_legal(dimension: Dimension, legal: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Refuse values that no npu and no precision has, before anything is trained."""
    values = dimension.values if isinstance(dimension, Choice) else (dimension.low, dimension.high)
    group, _, name = dimension.name.partition(".")
    if group == "bits":
        for value in values:
            Precision(_whole(value, f"{where}.{dimension.name}"))
    if group == "design":
        for value in values:
            if value not in legal[name]:
                listed = ", ".join(map(str, legal[name]))
                raise UsageError(f"{where}.{dimension.name}: {value} is not one of {listed}")
        if not isinstance(dimension, Choice):
            raise UsageError(
                f"{where}.{dimension.name}: is a range, and not every number in it is legal; list "
                "values"
            )


def _dimension(name: str, value: object, where: str) -> Dimension:
    """`[1, 2, 4]` is a choice, `{ low = 2, high = 8 }` a range of whole numbers."""
    if isinstance(value, list) and all(type(v) in (int, float, str) for v in value):
        return Choice(name, tuple(value))
    if isinstance(value, dict):
        _check_keys(value, _RANGE, f"{where}: {name}")
        low, high = (_whole(value.get(key), f"{where}: {name}.{key}") for key in ("low", "high"))
        log = value.get("log", False)
        if isinstance(log, bool):
            return Integer(name, low, high, log)
    raise UsageError(
        f"{where}: {name} is {value!r}; give a list of values, or low and high of whole numbers"
    )


def _objectives(table: Table, where: str) -> tuple[Objective, ...]:
    goals = [goal.value for goal in Goal]
    for metric, goal in table.items():
        text = _text(goal, f"{where}: {metric}")
        check_known(f"{where}: {metric} is '{text}', which is no goal", text, goals)
    return tuple(Objective(metric, Goal(goal)) for metric, goal in table.items())


def _limits(table: Table, where: str) -> tuple[Limit, ...]:
    limits = []
    for metric in table:
        bounds = _table(table, metric, where)
        _check_keys(bounds, _BOUNDS, f"{where}: {metric}")
        limits += [
            Limit(metric, _number(bound, f"{where}: {metric}.{key}"), at_most=key == "at_most")
            for key, bound in bounds.items()
        ]
    return tuple(limits)


def _fixed(table: Table, searched: Table, where: str) -> dict[str, Scalar]:
    """Fields of the npu that are given; none of them may be searched too."""
    _check_keys(table, tuple(field.name for field in fields(NpuDesign)), where)
    for key in table:
        if key in searched:
            raise UsageError(f"{where}: '{key}' is fixed here and searched too; keep one of them")
        if key in NpuDesign.space():
            _whole(table[key], f"{where}: {key}")
    NpuDesign.repaired(table)
    return dict(table)


def _budget(values: Table, where: str) -> Budget:
    known = {field.name: field.default for field in fields(Budget)}
    strategy = _text(values.get("strategy", known["strategy"]), f"{where}: strategy")
    trials, population, seed = (
        _whole(values.get(key, known[key]), f"{where}: {key}")
        for key in ("trials", "population", "seed")
    )
    return Budget(strategy, trials, population, seed)


def _check_keys(table: Table, known: tuple[str, ...], where: str) -> None:
    for key in table:
        check_known(f"{where}: unknown key '{key}'", key, known)


def _table(values: Table, key: str, where: str) -> Table:
    table = values.get(key, {})
    if not isinstance(table, dict):
        raise UsageError(f"{where}: {key} is {table!r}, expected a table")
    return table


def _text(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{where} is {value!r}, expected a text")
    return value


def _whole(value: object, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise UsageError(f"{where} is {value!r}, expected a whole number")
    return value


def _number(value: object, where: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise UsageError(f"{where} is {value!r}, expected a number")
    return float(value)
