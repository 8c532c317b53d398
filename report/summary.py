"""`Summary`: an artifact in one table, simulated beside measured and never in one column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from intaglio.errors import ArtifactError
from intaglio.sim.trace import LayerTrace, Trace
from intaglio.templates.npu.isa import decode
from intaglio.templates.npu.program import Program


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` stored: words compared and different, and measured cycles by layer."""

    images: int
    words_compared: int
    mismatches: int
    cycles: int
    layers: Mapping[str, int]

    def __str__(self) -> str:
        verdict = "all equal" if not self.mismatches else f"{self.mismatches} differ"
        images = "1 image" if self.images == 1 else f"{self.images} images"
        return f"verified: {self.words_compared} words compared over {images}, {verdict}"


def load_verified(path: Path) -> Verified:
    """Read what `verify` stored in `path`.  Raises ArtifactError when it is something else."""
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Verified(
            images=int(stored["images"]),
            words_compared=int(stored["words_compared"]),
            mismatches=int(stored["mismatches"]),
            cycles=int(stored["cycles_rtl"]),
            layers={row["name"]: int(row["cycles_rtl"]) for row in stored["layers"]},
        )
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ArtifactError(
            f"{path}: is corrupt ({type(error).__name__}: {error}); run intaglio verify again"
        ) from error


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer: its instructions, simulated cycles, and measured ones when it was verified."""

    name: str
    op: str
    macs: int
    instructions: int
    cycles_simulated: int
    utilisation: float
    cycles_rtl: int | None


@dataclass(frozen=True, slots=True)
class Summary:
    """An artifact: design, layers, totals, and the verification when there was one."""

    name: str
    design: Mapping[str, int | float | str]
    memory_bytes: int
    layers: tuple[LayerRow, ...]
    cycles_simulated: int
    utilisation: float
    verified: Verified | None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "design": dict(self.design),
            "memory_bytes": self.memory_bytes,
            "cycles_simulated": self.cycles_simulated,
            "utilisation": round(self.utilisation, 6),
            "layers": [_row_dict(row) for row in self.layers],
            "verified": None if self.verified is None else _verified_dict(self.verified),
        }

    def __str__(self) -> str:
        parameters = ", ".join(f"{key} {value}" for key, value in self.design.items())
        proof = str(self.verified) if self.verified else "not verified; run intaglio verify"
        heading = (f"{self.name}: {self.memory_bytes} bytes of memory", f"design: {parameters}")
        return "\n".join([*heading, "", *self._table(), "", proof])

    def _table(self) -> list[str]:
        width = max(len(row.name) for row in (*self.layers, self._total()))
        lines = [
            f"{'layer':{width}s} {'op':8s} {'macs':>11s} {'instructions':>12s} {'simulated':>10s} "
            f"{'RTL':>10s} {'use':>6s}"
        ]
        for row in (*self.layers, self._total()):
            measured = "-" if row.cycles_rtl is None else str(row.cycles_rtl)
            lines.append(
                f"{row.name:{width}s} {row.op:8s} {row.macs:11d} {row.instructions:12d} "
                f"{row.cycles_simulated:10d} {measured:>10s} {row.utilisation:6.1%}"
            )
        return lines

    def _total(self) -> LayerRow:
        return LayerRow(
            "whole network",
            "",
            sum(row.macs for row in self.layers),
            sum(row.instructions for row in self.layers),
            self.cycles_simulated,
            self.utilisation,
            self.verified.cycles if self.verified else None,
        )


def summarise(program: Program, trace: Trace, verified: Verified | None) -> Summary:
    """One row a layer of `program`, from its simulation and what `verify` found, if it ran."""
    owners = np.array([instruction.layer for instruction in decode(program.instructions)])
    counts = np.bincount(owners, minlength=len(program.layers))
    rows = tuple(_row(layer, int(counts[layer.index]), verified) for layer in trace.layers)
    return Summary(
        program.workload_name,
        program.design.to_dict(),
        program.memory_bytes,
        rows,
        trace.cycles,
        trace.utilisation,
        verified,
    )


def _row(layer: LayerTrace, instructions: int, verified: Verified | None) -> LayerRow:
    measured = verified.layers.get(layer.name) if verified else None
    return LayerRow(
        layer.name,
        layer.op,
        layer.macs,
        instructions,
        layer.cycles,
        layer.utilisation,
        measured,
    )


def _row_dict(row: LayerRow) -> dict[str, object]:
    return {
        "name": row.name,
        "op": row.op,
        "macs": row.macs,
        "instructions": row.instructions,
        "cycles_simulated": row.cycles_simulated,
        "utilisation": round(row.utilisation, 6),
        "cycles_rtl": row.cycles_rtl,
    }


def _verified_dict(verified: Verified) -> dict[str, object]:
    return {
        "images": verified.images,
        "words_compared": verified.words_compared,
        "mismatches": verified.mismatches,
        "cycles_rtl": verified.cycles,
    }
