"""Pareto fronts and the hypervolume below them.  Costs: less is better in every component."""

from __future__ import annotations

from collections.abc import Sequence

Costs = tuple[float, ...]


def dominates(one: Costs, other: Costs) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    pairs = tuple(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def front(costs: Sequence[Costs]) -> tuple[int, ...]:
    """Indices of the costs that no other dominates, in order; of equal ones the first alone."""
    return tuple(
        i
        for i, one in enumerate(costs)
        if one not in costs[:i] and not any(dominates(other, one) for other in costs)
    )


def hypervolume(costs: Sequence[Costs], reference: Costs) -> float:
    """The volume that `costs` dominate below `reference`, exactly.

    Slices along the last component, recursively (Zitzler and Thiele, 1998): points that do not
    lie strictly below the reference add nothing.
    """
    inside = [one for one in costs if all(a < r for a, r in zip(one, reference, strict=True))]
    if not inside:
        return 0.0
    if len(reference) == 1:
        return reference[0] - min(one[0] for one in inside)
    levels = sorted({one[-1] for one in inside})
    volume = 0.0
    for low, high in zip(levels, [*levels[1:], reference[-1]], strict=True):
        below = [one[:-1] for one in inside if one[-1] <= low]
        slab = [below[i] for i in front(below)]
        volume += (high - low) * hypervolume(slab, reference[:-1])
    return volume


def box(costs: Sequence[Costs], margin: float = 0.1) -> tuple[Costs, Costs]:
    """The best and the worst of each component, the worst moved out by `margin` of the range."""
    best = tuple(min(column) for column in zip(*costs, strict=True))
    worst = tuple(max(column) for column in zip(*costs, strict=True))
    moved = tuple(w + margin * ((w - b) or 1.0) for b, w in zip(best, worst, strict=True))
    return best, moved


def covered(costs: Sequence[Costs], best: Costs, worst: Costs) -> float:
    """The share of the box from `best` to `worst` that `costs` dominate, 0 to 1."""
    scaled = [
        tuple((c - b) / (w - b) for c, b, w in zip(one, best, worst, strict=True)) for one in costs
    ]
    return hypervolume(scaled, (1.0,) * len(best))
