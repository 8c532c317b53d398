"""What bounds the layers of a run, and what made each of them longer than its bounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from intaglio.templates.npu.isa import Unit

Cycles = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one layer, in cycles; `array` and what follows `memory` add up to its span.

    array     its multiply-accumulates, those of windows too, over the multipliers of the array
    memory    the bytes it moves over those that memory moves in a cycle
    tiles     the array held an instruction, beyond `array`: tiles that do not fill it, weights
              brought in, rows made twice; negative when it began before the span
    vector    the array held none, and the vector or window unit did
    moves     neither did, and load or store did
    idle      no unit did
    """

    array: int
    memory: int
    tiles: int = 0
    vector: int = 0
    moves: int = 0
    idle: int = 0

    @classmethod
    def total(cls, parts: Iterable[Limits]) -> Limits:
        """Those of a layer over several images, from those of each."""
        return cls(*map(sum, zip(*map(astuple, parts), strict=True)))

    @property
    def cause(self) -> tuple[str, int]:
        """What keeps the layer longest from the array's bound, and for how many cycles."""
        causes = {name: getattr(self, name) for name in ("tiles", "vector", "moves", "idle")}
        return max(causes.items(), key=lambda cause: cause[1])

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)


def limits(
    bounds: Sequence[tuple[int, int]],
    unit: Cycles,
    issued: Cycles,
    retired: Cycles,
    edges: Cycles,
) -> list[Limits]:
    """The limits of the layers between consecutive `edges`, int64 (layers + 1,).

    `bounds` are the array's and the memory's; `unit`, `issued` and `retired`, int64
    (instructions,), are where and when instructions were inside.
    """
    order = (
        (Unit.COMPUTE,),
        (Unit.COMPUTE, Unit.VECTOR, Unit.WINDOW),
        tuple(Unit),
    )
    covered = [_busy(np.isin(unit, units), issued, retired, edges) for units in order]
    spans = np.diff(edges)
    return [
        Limits(
            array,
            memory,
            tiles=int(covered[0][k]) - array,
            vector=int(covered[1][k] - covered[0][k]),
            moves=int(covered[2][k] - covered[1][k]),
            idle=int(spans[k] - covered[2][k]),
        )
        for k, (array, memory) in enumerate(bounds)
    ]


def _busy(chosen: NDArray[np.bool_], issued: Cycles, retired: Cycles, edges: Cycles) -> Cycles:
    """Cycles between `edges` in which one of the `chosen` instructions was inside."""
    starts, ends = issued[chosen], retired[chosen]
    order = np.argsort(starts, kind="stable")
    return busy_cycles(starts[order], ends[order], edges)


def busy_cycles(issued: Cycles, retired: Cycles, edges: Cycles) -> Cycles:
    """Cycles covered by the union of `[issued, retired)`, between consecutive `edges`.

    All arrays are int64; `issued` is sorted; `edges` of shape (n + 1,) gives a result of (n,).
    """
    if not issued.size:
        return np.zeros(edges.size - 1, dtype=np.int64)
    reach = np.maximum.accumulate(retired)
    start = np.maximum(issued, np.concatenate(([issued[0]], reach[:-1])))
    length = np.maximum(reach - start, 0)
    before = np.concatenate(([0], np.cumsum(length)))
    at = np.searchsorted(start, edges, side="right")
    last = np.maximum(at - 1, 0)
    partial = np.clip(edges - start[last], 0, length[last])
    covered = np.where(at > 0, before[last] + partial, 0)
    return np.diff(covered)
