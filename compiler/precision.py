"""How many bits a network is quantised to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from intaglio.errors import UsageError


@dataclass(frozen=True, slots=True)
class Bits:
    """What one layer has of its own: bits of its weights, of its output, or of both."""

    weights: int | None = None
    activations: int | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """Bits of weights (signed, one scale per output channel) and of activations (one per tensor).

    Activations are unsigned after ReLU and its kin, signed elsewhere.  `wide_bits` is for values
    that lose too much at 8 bits and that no multiplier reads: scores of a softmax, and sums that
    norms and additions alone read.  Symmetric weights leave out the lowest value, so 2 bits are
    -1, 0 and 1.  `layers` holds what layers, or inputs, have of their own, by the name that reports
    give them.  Raises UsageError outside 2 to 8 bits, wide ones outside 2 to 16.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    wide_bits: int = 16
    layers: Mapping[str, Bits] = field(default_factory=dict, hash=False, kw_only=True)

    def __post_init__(self) -> None:
        _check(self.weight_bits, self.activation_bits)
        if not isinstance(self.layers, Mapping):
            raise UsageError(
                f"precision takes layers as {type(self.layers).__name__}; give names and their "
                "bits, as in {'fc': Bits(weights=4)}"
            )
        for name, own in self.layers.items():
            if not isinstance(own, Bits):
                raise UsageError(f"{name}: precision is {own!r}; give Bits, as in Bits(weights=4)")
            _check(own.weights, own.activations, f"{name}: ")
        _check_whole("wide", self.wide_bits)
        if not 2 <= self.wide_bits <= 16:
            raise UsageError(
                f"wide precision of {self.wide_bits} bits is outside 2 to 16; choose 2 to 16"
            )

    def of(self, name: str) -> Precision:
        """The precision of one layer or input."""
        own = self.layers.get(name, Bits())
        weights = self.weight_bits if own.weights is None else own.weights
        activations = self.activation_bits if own.activations is None else own.activations
        return Precision(weights, activations, self.wide_bits)


def _check(weights: int | None, activations: int | None, prefix: str = "") -> None:
    for what, bits in (("weight", weights), ("activation", activations)):
        if bits is None:
            continue
        _check_whole(f"{prefix}{what}", bits)
        if not 2 <= bits <= 8:
            raise UsageError(
                f"{prefix}{what} precision of {bits} bits is outside 2 to 8; choose 2 to 8"
            )


def _check_whole(what: str, bits: object) -> None:
    if not isinstance(bits, int) or isinstance(bits, bool):
        raise UsageError(f"{what} precision is {bits!r}, expected a whole number of bits, as in 8")
