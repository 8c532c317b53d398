"""`Summary`: an artifact in one table, simulated beside measured and never in one column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from intaglio.compiler.packing import weight_bits
from intaglio.errors import ArtifactError
from intaglio.report.origin import Origin
from intaglio.sim.trace import HostTrace, LayerTrace, Trace
from intaglio.templates.deployment import Deployment
from intaglio.templates.npu.isa import decode
from intaglio.templates.npu.program import Program


@dataclass(frozen=True, slots=True)
class Verified:
    """What `verify` stored: words compared and different, and measured cycles by layer.

    `host` has the microseconds of operators on the host, measured on `machine`, where `verify` ran
    their kernels.
    """

    images: int
    words_compared: int
    mismatches: int
    cycles: int
    layers: Mapping[str, int]
    host: Mapping[str, float] = field(default_factory=dict)
    machine: str = ""

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
            host={run["name"]: float(run["microseconds"]) for run in stored["host_kernels"]},
            machine=str(stored["host_machine"]),
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
    window_utilisation: float = 0.0


@dataclass(frozen=True, slots=True)
class HostRow:
    """One operator on the host, and why it is there; its time is not simulated.

    `microseconds` were measured on the machine that ran its kernel, when one did.
    """

    name: str
    op: str
    macs: int
    elements: int
    reason: str
    microseconds: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """An artifact: design, rows, totals, and the verification when there was one.

    `rows` are the layers in order, with the operators on the host between them; the totals are of
    the accelerator, for a run of `images` images.  `weight_bits` are those of all weights at their
    own widths.
    """

    name: str
    design: Mapping[str, int | float | str]
    memory_bytes: int
    rows: tuple[LayerRow | HostRow, ...]
    cycles_simulated: int
    utilisation: float
    verified: Verified | None
    origin: Origin | None = None
    weight_bits: int | None = None
    window_utilisation: float = 0.0
    images: int = 1

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "images": self.images,
            "design": dict(self.design),
            **({} if self.origin is None else self.origin.to_dict()),
            "memory_bytes": self.memory_bytes,
            "weight_bits": self.weight_bits,
            "cycles_simulated": self.cycles_simulated,
            "utilisation": round(self.utilisation, 6),
            "window_utilisation": round(self.window_utilisation, 6),
            "layers": [_row_dict(row) for row in self.rows],
            "verified": None if self.verified is None else _verified_dict(self.verified),
        }

    @property
    def layers(self) -> tuple[LayerRow, ...]:
        """The layers on the accelerator."""
        return tuple(row for row in self.rows if isinstance(row, LayerRow))

    @property
    def hosted(self) -> tuple[HostRow, ...]:
        """The operators on the host."""
        return tuple(row for row in self.rows if isinstance(row, HostRow))

    def __str__(self) -> str:
        parameters = ", ".join(f"{key} {value}" for key, value in self.design.items())
        proof = str(self.verified) if self.verified else "not verified; run intaglio verify"
        heading = [f"{self.name}: {self.memory_bytes} bytes of memory", f"design: {parameters}"]
        if self.weight_bits is not None:
            packed = -(-self.weight_bits // 8)
            heading[0] += f"; all weights packed at their own bits are {packed} bytes"
        if self.origin is not None:
            heading.append(str(self.origin))
        if self.images > 1:
            each = self.cycles_simulated / self.images
            heading.append(f"{self.images} images a run: {each:.1f} cycles an image simulated")
        return "\n".join([*heading, "", *self._table(), "", *self._host_lines(), proof])

    def _table(self) -> list[str]:
        total = self._total()
        width = max(len(row.name) for row in (*self.rows, total))
        kinds = max(8, *(len(row.op) for row in (*self.rows, total)))
        lines = [
            f"{'layer':{width}s} {'op':{kinds}s} {'macs':>11s} {'instructions':>12s} "
            f"{'simulated':>10s} {'RTL':>10s} {'use':>6s} {'windows':>7s}"
        ]
        return lines + [
            f"{row.name:{width}s} {row.op:{kinds}s} {row.macs:11d} {_cells(row)}"
            for row in (*self.rows, total)
        ]

    def _host_lines(self) -> list[str]:
        if not self.hosted:
            return []
        machine = self.verified.machine if self.verified else ""
        measured = f"measured on {machine}" if machine else "measured by intaglio verify --host"
        lines = [f"on the host (time {measured}):"]
        for row in self.hosted:
            spent = "-" if row.microseconds is None else f"{row.microseconds:.1f}"
            lines.append(f"{spent:>10s} us for {row.elements} elements of {row.reason}")
        return [*lines, ""]

    def _total(self) -> LayerRow:
        return LayerRow(
            "accelerator" if self.hosted else "whole network",
            "",
            sum(row.macs for row in self.layers),
            sum(row.instructions for row in self.layers),
            self.cycles_simulated,
            self.utilisation,
            self.verified.cycles if self.verified else None,
            self.window_utilisation,
        )


def summarise(
    deployment: Deployment,
    trace: Trace,
    verified: Verified | None,
    origin: Origin | None = None,
) -> Summary:
    """One row a layer or host operator, from its simulation and what `verify` found, if it ran."""
    counts = [count for program in deployment.programs for count in _instructions(program)]
    reasons = {op.name: deployment.partition.reason(op) for op in deployment.partition.hosted}
    rows = tuple(
        _host_row(row, reasons[row.name], verified)
        if isinstance(row, HostTrace)
        else _row(row, counts[row.index], verified)
        for row in trace.rows
    )
    return Summary(
        deployment.workload.name,
        deployment.design.to_dict(),
        deployment.memory_bytes,
        rows,
        trace.cycles,
        trace.utilisation,
        verified,
        origin,
        weight_bits(deployment.workload),
        trace.window_utilisation,
        deployment.images,
    )


def _instructions(program: Program) -> list[int]:
    """How many instructions each layer has."""
    found = decode(program.instructions)
    owners = np.array([program.owner(instruction.layer)[1].index for instruction in found])
    counts: list[int] = np.bincount(owners, minlength=len(program.layers)).tolist()
    return counts


def _cells(row: LayerRow | HostRow) -> str:
    """The numbers of one row of the table; there are none for the host."""
    if isinstance(row, HostRow):
        return f"{'host':>12s} {'-':>10s} {'-':>10s} {'-':>6s} {'-':>7s}"
    measured = "-" if row.cycles_rtl is None else str(row.cycles_rtl)
    return (
        f"{row.instructions:12d} {row.cycles_simulated:10d} {measured:>10s} {row.utilisation:6.1%} "
        f"{row.window_utilisation:7.1%}"
    )


def _host_row(row: HostTrace, reason: str, verified: Verified | None) -> HostRow:
    microseconds = verified.host.get(row.name) if verified else None
    return HostRow(row.name, row.op, row.macs, row.elements, reason, microseconds)


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
        layer.window_utilisation,
    )


def _row_dict(row: LayerRow | HostRow) -> dict[str, object]:
    if isinstance(row, HostRow):
        return {**asdict(row), "on": "host", "cycles_simulated": None, "cycles_rtl": None}
    uses = ("utilisation", "window_utilisation")
    rounded = {name: round(getattr(row, name), 6) for name in uses}
    return {**asdict(row), "on": "accelerator", **rounded}


def _verified_dict(verified: Verified) -> dict[str, object]:
    return {
        "images": verified.images,
        "words_compared": verified.words_compared,
        "mismatches": verified.mismatches,
        "cycles_rtl": verified.cycles,
        "host_machine": verified.machine,
    }
