"""How many bits a network is quantised to."""

from __future__ import annotations

from dataclasses import dataclass

from intaglio.errors import UsageError


@dataclass(frozen=True, slots=True)
class Precision:
    """Bits of weights (signed, one scale per output channel) and of activations (one per tensor).

    Activations are unsigned after ReLU and its kin, signed elsewhere.  `wide_bits` is for values
    that lose too much at 8 bits and that no multiplier reads: scores of a softmax, and sums that
    norms and additions alone read.  Raises UsageError outside 2 to 8 bits, wide ones outside 2 to
    16.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    wide_bits: int = 16

    def __post_init__(self) -> None:
        for what, bits in (("weight", self.weight_bits), ("activation", self.activation_bits)):
            if not 2 <= bits <= 8:
                raise UsageError(
                    f"{what} precision of {bits} bits is outside 2 to 8; choose 2 to 8"
                )
        if not 2 <= self.wide_bits <= 16:
            raise UsageError(
                f"wide precision of {self.wide_bits} bits is outside 2 to 16; choose 2 to 16"
            )
