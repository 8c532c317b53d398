"""`Compressed`: the bits that were chosen for every layer, as text and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from intaglio.compiler.precision_file import to_dict
from intaglio.search.knapsack import Budget, Option
from intaglio.search.sensitivity import EIGHT, Divergence, Mixed

KIB = 8 * 1024
"""Bits of one KiB."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """A choice of bits: of which network, within what, on how many images, and where it lies."""

    name: str
    found: Mixed
    budget: Budget
    divergence: Divergence
    images: int
    path: Path

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; sizes in bits."""
        found = self.found
        return {
            "name": self.name,
            "precision": to_dict(found.precision),
            "file": str(self.path),
            "images": self.images,
            "budget": {"size_bits": self.budget.size_bits, "cycles": self.budget.cycles},
            "divergence": self.divergence,
            "predicted": found.predicted,
            "measured": found.measured,
            "measured_at_8_bits": found.start.divergence,
            "size_bits": found.size_bits,
            "size_bits_at_8_bits": found.start.size_bits,
            "cycles": found.cycles,
            "cycles_at_8_bits": found.start.cycles,
            "bits_change_cycles": found.bits_change_cycles,
            "options": [_option_dict(option) for option in found.options],
        }

    def __str__(self) -> str:
        found = self.found
        layers = len(found.precision.layers)
        return "\n".join(
            [
                f"{self.name}: {layers} layers, {len(found.options)} options measured on "
                f"{self.images} images",
                "",
                *self._table(),
                "",
                *self._totals(),
                f"written to {self.path}: compile with --precision {self.path}",
            ]
        )

    def _table(self) -> list[str]:
        """One row a layer: what it has, and what that does alone."""
        width = max(5, *(len(option.layer) for option in self.found.chosen))
        titles = f"{'weights':>7s} {'activations':>11s} {'alone, measured':>16s}"
        lines = [f"{'layer':{width}s} {titles}"]
        for option in self.found.chosen:
            bits = f"{option.bits.weights:>7} {option.bits.activations or EIGHT:>11}"
            added = option.divergence - self.found.start.divergence
            lines.append(f"{option.layer:{width}s} {bits} {added:>+16.2e}")
        return lines

    def _totals(self) -> list[str]:
        found, start = self.found, self.found.start
        return [
            f"divergence ({self.divergence}) from float: {found.measured:.3e} measured, "
            f"{found.predicted:.3e} predicted from the layers alone; {start.divergence:.3e} "
            "measured at 8 bits",
            f"size, packed: {found.size_bits / KIB:.1f} KiB estimated, {start.size_bits / KIB:.1f} "
            f"KiB at 8 bits{_limit(self.budget.size_bits, KIB, ' KiB')}",
            f"cycles: {found.cycles} simulated, {start.cycles} at 8 bits"
            f"{_limit(self.budget.cycles, 1, '')}{self._same()}",
        ]

    def _same(self) -> str:
        """What there is to say when bits buy no time."""
        if self.found.bits_change_cycles:
            return ""
        return "; no option changes them on this design"


def _limit(limit: int | None, unit: int, name: str) -> str:
    return "" if limit is None else f", {limit / unit:g}{name} allowed"


def _option_dict(option: Option) -> dict[str, object]:
    return {
        "layer": option.layer,
        "weights": option.bits.weights,
        "activations": option.bits.activations or EIGHT,
        "divergence": option.divergence,
        "size_bits": option.size_bits,
        "cycles": option.cycles,
    }
