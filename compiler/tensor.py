"""What an activation, a weight or a constant is: shape, element type, scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import IntaglioError

Encoding = Literal["signed", "unsigned", "bipolar", "ternary", "float"]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ElementType:
    """What one element can hold: `bits` wide in `encoding`; the zero point is always 0.

    A `bipolar` one holds -1 and +1, and no 0, in one bit that is set for +1.  A `float` of 32 bits
    is IEEE's: what operators on the host hand to each other, or return.
    """

    bits: int
    encoding: Encoding = "signed"

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 48:
            raise IntaglioError(f"element type of {self.bits} bits is outside 1 to 48 bits")
        if self.is_float and self.bits != 32:
            raise IntaglioError(f"floats of {self.bits} bits do not exist here, only of 32")

    @property
    def is_float(self) -> bool:
        """Whether it holds real numbers, without a scale."""
        return self.encoding == "float"

    @property
    def lo(self) -> int:
        """The smallest value."""
        match self.encoding:
            case "signed":
                return -(1 << (self.bits - 1))
            case "unsigned":
                return 0
            case "bipolar" | "ternary":
                return -1
            case "float":
                raise IntaglioError(f"{self} is no type of integers")

    @property
    def hi(self) -> int:
        """The largest value."""
        match self.encoding:
            case "signed":
                return (1 << (self.bits - 1)) - 1
            case "unsigned":
                return (1 << self.bits) - 1
            case "bipolar" | "ternary":
                return 1
            case "float":
                raise IntaglioError(f"{self} is no type of integers")

    @property
    def step(self) -> int:
        """How far apart neighbouring values lie: 2 where 0 is left out."""
        return 2 if self.encoding == "bipolar" else 1

    def holds(self, values: NDArray[np.integer]) -> bool:
        """Whether every one of `values`, of any shape, is a value of this type of integers."""
        if not values.size:
            return True
        inside = bool(self.lo <= values.min() and values.max() <= self.hi)
        return inside and (self.step == 1 or bool(values.all()))

    def __str__(self) -> str:
        short = {"signed": "i", "unsigned": "u", "bipolar": "b", "ternary": "t", "float": "f"}
        return f"{short[self.encoding]}{self.bits}"


BIPOLAR = ElementType(1, "bipolar")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A named array of integers, real value = `scale` * integer; or of floats, with scale 1.

    `scale` is per tensor for activations; for weights `channel_scales` holds one per output
    channel (and `scale` is their maximum).  Multipliers, shifts, biases and tables have scale 1.
    """

    name: str
    shape: Shape
    element: ElementType
    scale: float = 1.0
    channel_scales: tuple[float, ...] = ()

    @property
    def elements(self) -> int:
        """How many elements it holds."""
        return int(np.prod(self.shape, dtype=np.int64))


def channel_axis(rank: int) -> int:
    """The axis of a tensor along which requantisation constants run: C of a map, else the last."""
    return 1 if rank == 4 else rank - 1
