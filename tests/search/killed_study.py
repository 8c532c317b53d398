"""A study whose process dies without warning in the evaluation of trial `argv[2]`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from intaglio.search.objectives import Outcome
from intaglio.search.space import Point
from intaglio.search.store import Store
from intaglio.search.study import Budget, run
from tests.search.toys import evaluate, toy

evaluations = 0


def dying(point: Point) -> Outcome:
    """As `evaluate`, until the last one."""
    global evaluations
    evaluations += 1
    if evaluations == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(point)


if __name__ == "__main__":
    with Store(Path(sys.argv[1]), toy().fingerprint) as store:
        run(toy(), dying, store, Budget(trials=30, population=8, seed=3))
