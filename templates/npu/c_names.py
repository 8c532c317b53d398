"""Names and types of a network as C has them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from intaglio.compiler.tensor import ElementType


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
    sign = "u" if element.lo >= 0 else ""
    bits = next(bits for bits in (8, 16, 32, 64) if element.bits <= bits)
    return f"{sign}int{bits}_t"
