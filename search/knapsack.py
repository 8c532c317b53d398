"""The cheapest choice of one option a layer under budgets, exactly."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from intaglio.compiler.precision import Bits
from intaglio.errors import UsageError


@dataclass(frozen=True, slots=True)
class Option:
    """Bits for one layer, while all others have 8: what is gained and what it costs.

    size_bits   of the whole network, as `packed_bits` counts; estimated
    divergence  of the outputs on the data, measured
    cycles      of one image on the accelerator, simulated
    """

    layer: str
    bits: Bits
    size_bits: int
    divergence: float
    cycles: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a network may take, of `packed_bits` and of simulated cycles; None for no limit."""

    size_bits: int | None = None
    cycles: int | None = None

    def __post_init__(self) -> None:
        if self.size_bits is None and self.cycles is None:
            raise UsageError("a budget limits nothing; give it size_bits, cycles or both")


@dataclass(frozen=True, slots=True)
class _Partial:
    """A choice for the first layers, as differences from the start."""

    size_bits: int
    cycles: int
    divergence: float
    taken: tuple[Option, ...]


def choose(start: Option, layers: Sequence[Sequence[Option]], budget: Budget) -> tuple[Option, ...]:
    """One option for each layer: the least sum of divergences within the budget.

    Sizes, cycles and divergences count as differences from `start`, and add up.  Partial choices
    that another one beats in everything are dropped, layer by layer, and so are those that no
    choice for the other layers brings within the budget.  Raises UsageError when nothing fits.
    """
    room_bits = _room(budget.size_bits, start.size_bits)
    room_cycles = _room(budget.cycles, start.cycles)
    least_bits = _least([[o.size_bits - start.size_bits for o in layer] for layer in layers])
    least_cycles = _least([[o.cycles - start.cycles for o in layer] for layer in layers])
    _check_fits("bits", budget.size_bits, start.size_bits + least_bits[0])
    _check_fits("cycles", budget.cycles, start.cycles + least_cycles[0])
    front = [_Partial(0, 0, 0.0, ())]
    for done, options in enumerate(layers, start=1):
        grown = [_grown(partial, option, start) for partial in front for option in options]
        front = _undominated(
            [
                partial
                for partial in grown
                if partial.size_bits + least_bits[done] <= room_bits
                and partial.cycles + least_cycles[done] <= room_cycles
            ]
        )
    if not front:
        raise UsageError(
            f"a budget of {budget.size_bits} bits and {budget.cycles} cycles is kept in either by "
            "some choice, in both by none; raise one, or allow fewer bits"
        )
    return min(front, key=lambda partial: partial.divergence).taken


def _grown(partial: _Partial, option: Option, start: Option) -> _Partial:
    return _Partial(
        partial.size_bits + option.size_bits - start.size_bits,
        partial.cycles + option.cycles - start.cycles,
        partial.divergence + option.divergence - start.divergence,
        (*partial.taken, option),
    )


def _room(limit: int | None, start: int) -> float:
    """How far above the start the budget goes."""
    return float("inf") if limit is None else limit - start


def _least(layers: Sequence[Sequence[int]]) -> list[int]:
    """The least that the layers from each one on can add; 0 after the last."""
    sums = [0]
    for values in reversed(layers):
        sums.append(sums[-1] + min(values))
    return sums[::-1]


def _check_fits(what: str, limit: int | None, least: int) -> None:
    if limit is not None and least > limit:
        raise UsageError(
            f"a budget of {limit} {what} is below {least}, the least that these bits take; raise "
            "it, or allow fewer bits"
        )


def _undominated(partials: list[_Partial]) -> list[_Partial]:
    """Those that no other is as good as in size, cycles and divergence.

    In the order of size, what is kept so far is a staircase: more cycles, less divergence.
    """
    kept, steps, costs = [], list[int](), list[float]()
    for partial in sorted(partials, key=lambda p: (p.size_bits, p.cycles, p.divergence)):
        place = bisect_right(steps, partial.cycles)
        if place and costs[place - 1] <= partial.divergence:
            continue
        kept.append(partial)
        beaten = place
        while beaten < len(costs) and costs[beaten] >= partial.divergence:
            beaten += 1
        first = place - 1 if place and steps[place - 1] == partial.cycles else place
        steps[first:beaten] = [partial.cycles]
        costs[first:beaten] = [partial.divergence]
    return kept
