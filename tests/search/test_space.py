"""Spaces draw what they contain, and refuse what is no space."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import UsageError
from intaglio.search.space import Choice, Integer, Point, Real, Space
from tests.search.toys import SPACE


@given(st.integers(0, 2**32))
def test_a_drawn_point_is_in_the_space(seed: int) -> None:
    assert SPACE.contains(SPACE.draw(np.random.default_rng(seed)))


def test_a_log_scale_draws_each_octave_alike() -> None:
    space = Space((Integer("size", 1, 1023, log=True),))
    random = np.random.default_rng(0)
    sizes = [int(space.draw(random)["size"]) for _ in range(3000)]
    octaves = np.bincount([size.bit_length() - 1 for size in sizes])
    assert octaves.size == 10
    assert octaves.min() > 3000 / 10 / 2
    assert octaves.max() < 3000 / 10 * 2


@pytest.mark.parametrize(
    "values",
    [
        {"size": 0, "shape": "round", "tilt": 0.5},
        {"size": 1, "shape": "flat", "tilt": 0.5},
        {"size": 1, "shape": "round", "tilt": 1.5},
        {"size": 1, "shape": "round"},
    ],
)
def test_other_points_are_not_in_the_space(values: dict[str, int | float | str]) -> None:
    assert not SPACE.contains(Point.of(values))


def test_size_counts_points() -> None:
    assert Space((Choice("a", (1, 2)), Integer("b", 3, 5), Real("c", 1.0, 1.0))).size == 6
    assert SPACE.size == math.inf


def test_points_are_values() -> None:
    one, other = Point.of({"b.x": 1, "a": 2.5}), Point.of({"a": 2.5, "b.x": 1})
    assert one == other
    assert one.to_text() == '{"a":2.5,"b.x":1}'
    assert one.part("b") == {"x": 1}
    assert str(one) == "a 2.5, b.x 1"


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Space(()), "the search space is empty; name at least one dimension"),
        (lambda: Choice("a", ()), "dimension 'a' has no values; list at least one"),
        (lambda: Choice("a", (1, 1)), "dimension 'a' lists a value twice; list each once"),
        (
            lambda: Integer("a", 3, 2),
            "dimension 'a' runs from 3 to 2, which is no range; make low <= high",
        ),
        (
            lambda: Real("a", 0.0, 2.0, log=True),
            "dimension 'a' is log-scaled from 0.0; start it above 0 or drop log",
        ),
        (
            lambda: Space((Integer("a", 1, 2), Choice("a", (1,)))),
            "dimension 'a' is there twice; name it once",
        ),
    ],
)
def test_what_is_no_space_is_refused(make: Callable[[], object], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == sentence
