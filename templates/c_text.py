"""C as text: names, types, arrays, loops."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler.tensor import ElementType

Lines = list[str]


class Names:
    """A C identifier for each of some names, no two of them equal.

    They are made of letters, digits and `_`, and are only ever used after a prefix.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._made: dict[str, str] = {}
        for name in names:
            plain = re.sub(r"\W", "_", name, flags=re.ASCII)
            taken, made, number = {m.upper() for m in self._made.values()}, plain, 1
            while made.upper() in taken:
                number += 1
                made = f"{plain}_{number}"
            self._made[name] = made

    def __getitem__(self, name: str) -> str:
        return self._made[name]


def comment(text: str) -> str:
    """`text` so that it can neither end the comment or string it stands in nor leave its line."""
    return re.sub(r"[^\w .,:()\[\]+-]", "_", text, flags=re.ASCII)


def element_type(element: ElementType) -> str:
    """The narrowest C type that holds every value of `element`."""
    if element.is_float:
        return "float"
    sign = "u" if element.lo >= 0 else ""
    bits = next(bits for bits in (8, 16, 32, 64) if element.bits <= bits)
    return f"{sign}int{bits}_t"


def nest(extents: Sequence[int], variable: str, body: Lines) -> Lines:
    """`body` in a loop for each extent, counted by variable0, variable1, ..."""
    lines: Lines = []
    for axis, extent in enumerate(extents):
        name = f"{variable}{axis}"
        turns = f"for (size_t {name} = 0; {name} < {extent}u; ++{name})"
        lines.append(f"{'  ' * axis}{turns} {{")
    lines = lines or ["{"]
    depth = len(lines)
    lines += [f"{'  ' * depth}{line}" for line in body]
    return [*lines, *(f"{'  ' * level}}}" for level in reversed(range(depth)))]


def place(strides: Sequence[int], variable: str, first: int = 0) -> str:
    """The index that these steps give the counters of a nest."""
    steps = [f"{variable}{axis} * {step}u" for axis, step in enumerate(strides) if step]
    terms = [f"{first}u"] if first or not steps else []
    return " + ".join([*terms, *steps])


def row_major(shape: Sequence[int]) -> list[int]:
    """The step of each axis, in elements."""
    return [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]


def stretched(shape: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """The step of each axis of `wanted` in an array of `shape`; 0 where it repeats."""
    strides = [
        0 if extent == 1 else step for extent, step in zip(shape, row_major(shape), strict=True)
    ]
    return [0] * (len(wanted) - len(shape)) + strides


def array(name: str, kind: str, values: NDArray[np.integer]) -> Lines:
    """A constant array, sixteen numbers a line."""
    flat = [str(int(value)) for value in values.reshape(-1)]
    rows = [", ".join(flat[at : at + 16]) for at in range(0, len(flat), 16)]
    return [f"static const {kind} {name}[] = {{", *(f"  {row}," for row in rows), "};", ""]
