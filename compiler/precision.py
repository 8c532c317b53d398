"""How many bits a network is quantised to."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from intaglio.errors import UsageError

Wide = Literal["sums", "outputs", "bottlenecks", "norms", "stem"]
"""Values that lose most at 8 bits, by what makes and what reads them.

sums         what no multiplier reads: scores of a softmax, sums that norms and additions alone read
outputs      what a layer makes and the network returns
bottlenecks  what a layer makes without an activation and other layers read
norms        what a norm makes and layers read: the residual stream of a transformer
stem         what layers make of the network's inputs and depthwise convolutions read
"""
WIDEST = 16
"""Of a signed activation; an unsigned one has 15, since clamps are signed numbers of 16 bits."""

BORDER_BITS = 8
"""Of what no layer makes, or none multiplies, in a network of activations of one bit."""


@dataclass(frozen=True, slots=True)
class Bits:
    """What one layer has of its own: bits of its weights, of its output, or of both."""

    weights: int | None = None
    activations: int | None = None


@dataclass(frozen=True, slots=True)
class Precision:
    """Bits of weights (signed, one scale per output channel) and of activations (one per tensor).

    Activations are unsigned after ReLU and its kin, signed elsewhere.  Symmetric weights leave out
    the lowest value, so 2 bits are -1, 0 and 1; one bit is -1 and +1.

    Activations of one bit are -1 and +1 as well, or 0 and 1 where they have no sign.  That is for
    values that a layer makes and another multiplies: others, the network's inputs and what it
    returns among them, have `BORDER_BITS` then.

    `wide_values` names the values that have up to `wide_bits` in place of `activation_bits`.  What
    layers multiply has as many of them as leave every accumulator within 32 bits, whatever the
    weights; what a table reads is never wide.  With at most `activation_bits`, only sums follow
    `wide_bits`.

    `layers` holds what layers, or inputs, have of their own, by the name that reports give them.
    Raises UsageError outside 1 to 8 bits, the activations of one layer outside 1 to 16, wide ones
    outside 2 to 16, and for values that have no such name.
    """

    weight_bits: int = 8
    activation_bits: int = 8
    wide_bits: int = 16
    wide_values: tuple[Wide, ...] = field(default=("sums",), kw_only=True)
    layers: Mapping[str, Bits] = field(default_factory=dict, hash=False, kw_only=True)

    def __post_init__(self) -> None:
        _check_bits("weight", self.weight_bits)
        _check_bits("activation", self.activation_bits)
        if not isinstance(self.layers, Mapping):
            raise UsageError(
                f"precision takes layers as {type(self.layers).__name__}; give names and their "
                "bits, as in {'fc': Bits(weights=4)}"
            )
        for name, own in self.layers.items():
            if not isinstance(own, Bits):
                raise UsageError(f"{name}: precision is {own!r}; give Bits, as in Bits(weights=4)")
            if own.weights is not None:
                _check_bits(f"{name}: weight", own.weights)
            if own.activations is not None:
                _check_bits(f"{name}: activation", own.activations, WIDEST)
        _check_bits("wide", self.wide_bits, WIDEST, 2)
        _check_wide(self.wide_values)

    def weights_of(self, name: str) -> int:
        """Bits of the weights of one layer."""
        own = self.layers.get(name, Bits()).weights
        return self.weight_bits if own is None else own

    def activations_of(self, name: str, *, between_layers: bool = True) -> int:
        """Bits of the output of one layer, or of one input, that is not wide.

        `between_layers` says whether a layer makes it and another multiplies it.
        """
        own = self.layers.get(name, Bits()).activations
        if own is not None:
            return own
        return self.activation_bits if between_layers or self.activation_bits > 1 else BORDER_BITS


def _check_bits(what: str, bits: object, most: int = 8, least: int = 1) -> None:
    if not isinstance(bits, int) or isinstance(bits, bool):
        raise UsageError(f"{what} precision is {bits!r}, expected a whole number of bits, as in 8")
    if not least <= bits <= most:
        raise UsageError(
            f"{what} precision of {bits} bits is outside {least} to {most}; choose "
            f"{least} to {most}"
        )


def _check_wide(values: object) -> None:
    if not isinstance(values, tuple):
        raise UsageError(
            f"precision takes wide values as {values!r}; list their names, as in ('sums',)"
        )
    known = get_args(Wide)
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(known)}"
            raise UsageError(f"precision has no wide values called {name!r}; {hint}")
