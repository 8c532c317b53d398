"""One option a layer under budgets: the best of all, by trying all."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from intaglio.compiler.precision import Bits
from intaglio.errors import UsageError
from intaglio.search.knapsack import Budget, Option, choose

START = Option("", Bits(8, 8), 1000, 0.25, 500)


def drawn(random: np.random.Generator) -> list[list[Option]]:
    """Five layers of three options; each costs fewer bits than the start, and other cycles."""
    return [
        [
            Option(
                str(layer),
                Bits(bits),
                1000 - int(random.integers(200)),
                value,
                500 + int(random.integers(-9, 9)),
            )
            for bits, value in zip((2, 4, 8), random.random(3).tolist(), strict=True)
        ]
        for layer in range(5)
    ]


def whole(taken: tuple[Option, ...]) -> tuple[float, int, int]:
    """Divergence, size and cycles of a choice."""
    size = sum(option.size_bits - 1000 for option in taken) + 1000
    cycles = sum(option.cycles - 500 for option in taken) + 500
    return sum(option.divergence for option in taken), size, cycles


@pytest.mark.parametrize("limits", ["size", "cycles", "both"])
def test_the_choice_is_the_best_of_all(limits: str) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        layers = drawn(random)
        every = [whole(taken) for taken in product(*layers)]
        size, cycles = (int(np.quantile([entry[i] for entry in every], 0.4)) for i in (1, 2))
        budget = Budget(None if limits == "cycles" else size, None if limits == "size" else cycles)
        kept = [
            cost
            for cost, bits, time in every
            if (budget.size_bits is None or bits <= budget.size_bits)
            and (budget.cycles is None or time <= budget.cycles)
        ]
        made = choose(START, layers, budget)
        assert [option.layer for option in made] == list("01234")
        cost, bits, time = whole(made)
        assert cost == pytest.approx(min(kept))
        assert budget.size_bits is None or bits <= budget.size_bits
        assert budget.cycles is None or time <= budget.cycles


def refusal(budget: Budget, *options: Option) -> str:
    with pytest.raises(UsageError) as caught:
        choose(START, [options], budget)
    return str(caught.value)


def test_a_budget_that_nothing_fits_is_refused() -> None:
    small, fast = Option("fc", Bits(2), 700, 1.0, 490), Option("fc", Bits(4), 800, 0.5, 480)
    assert refusal(Budget(699), small, fast) == (
        "a budget of 699 bits is below 700, the least that these bits take; raise it, or allow "
        "fewer bits"
    )
    assert refusal(Budget(cycles=479), small, fast) == (
        "a budget of 479 cycles is below 480, the least that these bits take; raise it, or allow "
        "fewer bits"
    )
    assert refusal(Budget(700, 480), small, fast) == (
        "a budget of 700 bits and 480 cycles is kept in either by some choice, in both by none; "
        "raise one, or allow fewer bits"
    )
    with pytest.raises(UsageError) as caught:
        Budget()
    assert str(caught.value) == "a budget limits nothing; give it size_bits, cycles or both"
