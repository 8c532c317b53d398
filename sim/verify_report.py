"""What a verification found: words compared, differences, and cycles of the hardware by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from intaglio.hw.npu_model import UnitCounters
from intaglio.sim.location import Location
from intaglio.templates.npu.isa import Unit


@dataclass(frozen=True, slots=True)
class Difference:
    """The first element that differs: of which image, layer and tensor, and where.

    `channel` and `position` are those of the tensor; a position is (y, x), or empty for a vector.
    In a lane beyond the last channel, where the layout pads, `padding` is set and 0 is expected.
    `segment` is given when operators of the network are on the host.
    """

    image: int
    layer: str
    tensor: str
    channel: int
    position: tuple[int, ...]
    expected: int
    got: int
    padding: bool = False
    segment: int | None = None

    def __str__(self) -> str:
        part = "" if self.segment is None else f"segment {self.segment}, "
        where = f", position {self.position}" if self.position else ""
        kind = "padding of channel" if self.padding else "channel"
        return (
            f"image {self.image}, {part}layer '{self.layer}': tensor '{self.tensor}' {kind} "
            f"{self.channel}{where}: expected {self.expected}, got {self.got}"
        )


@dataclass(frozen=True, slots=True)
class LayerCycles:
    """Cycles of one layer: measured in RTL, and simulated."""

    name: str
    rtl: int
    simulated: int

    @property
    def error(self) -> float:
        """How far the simulation is off, as a part of the measured cycles."""
        return (self.simulated - self.rtl) / self.rtl if self.rtl else 0.0


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """One segment of the accelerator, `index` its place among all; `cycles_rtl` is the largest."""

    index: int
    words_compared: int
    mismatches: int
    cycles_rtl: int
    cycles_simulated: int

    def __str__(self) -> str:
        verdict = "equal" if not self.mismatches else f"{self.mismatches} differ"
        return f"segment {self.index}: {self.words_compared} words, {verdict}"


@dataclass(frozen=True, slots=True)
class HostRun:
    """One operator on the host as a compiled kernel, beside the reference.

    `microseconds` are measured on this machine, for one image.
    """

    name: str
    elements: int
    mismatches: int
    microseconds: float


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """The result of `verify`; cycles are those of one run, by the hardware's own counter.

    `cycles_by_image` splits them by image, for all runs, and `simulated_by_image` those simulated,
    for one run, of several images; `cycles_rtl` are those of the longest run.  `location` says
    where the first difference comes from, when that was asked for and found.  `hosted` names the
    operators on the host, which the reference computes, and `kernels` has their runs as compiled
    kernels on `machine`, when those were asked for.
    """

    name: str
    seed: int
    images: int
    words_compared: int
    mismatches: int
    first: Difference | None
    cycles_by_image: tuple[int, ...]
    cycles_simulated: int
    layers: tuple[LayerCycles, ...]
    units: tuple[UnitCounters, ...]
    read_beats: int
    write_beats: int
    location: Location | None = None
    segments: tuple[SegmentReport, ...] = ()
    hosted: tuple[str, ...] = ()
    kernels: tuple[HostRun, ...] = ()
    machine: str = ""
    simulated_by_image: tuple[int, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether every word, and every element of the host's kernels, was equal."""
        return self.mismatches == 0 and not any(run.mismatches for run in self.kernels)

    @property
    def cycles_rtl(self) -> int:
        """Measured cycles of one run."""
        step = self.images_at_once
        starts = range(0, len(self.cycles_by_image), step)
        return max(sum(self.cycles_by_image[start : start + step]) for start in starts)

    @property
    def images_at_once(self) -> int:
        """How many images one run takes."""
        return max(len(self.simulated_by_image), 1)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "seed": self.seed,
            "images": self.images,
            "passed": self.passed,
            "words_compared": self.words_compared,
            "mismatches": self.mismatches,
            "first_difference": None if self.first is None else asdict(self.first),
            "location": None if self.location is None else self.location.to_dict(),
            "cycles_rtl": self.cycles_rtl,
            "cycles_rtl_by_image": list(self.cycles_by_image),
            "cycles_simulated": self.cycles_simulated,
            "cycles_simulated_by_image": list(self.simulated_by_image),
            "images_at_once": self.images_at_once,
            "layers": [self._layer_dict(layer) for layer in self.layers],
            "segments": [asdict(segment) for segment in self.segments],
            "host_operators": list(self.hosted),
            "host_kernels": [asdict(run) for run in self.kernels],
            "host_machine": self.machine,
            "units": {
                unit.name.lower(): asdict(counters)
                for unit, counters in zip(Unit, self.units, strict=True)
            },
            "read_beats": self.read_beats,
            "write_beats": self.write_beats,
        }

    @staticmethod
    def _layer_dict(layer: LayerCycles) -> dict[str, object]:
        return {
            "name": layer.name,
            "cycles_rtl": layer.rtl,
            "cycles_simulated": layer.simulated,
            "error": round(layer.error, 6),
        }

    def __str__(self) -> str:
        verdict = "equal" if self.passed else f"{self.mismatches} differ"
        lines = [
            f"{self.name}: {self.words_compared} words of {self.images} image"
            f"{'s' if self.images > 1 else ''} compared, {verdict}"
        ]
        if self.hosted:
            lines += [*map(str, self.segments), self._beside()]
        if self.first is not None:
            lines.append(f"first difference: {self.first}")
        if self.location is not None:
            lines.append(str(self.location))
        lines += ["", *self._table()]
        return "\n".join(lines)

    def _beside(self) -> str:
        """What is said of the operators on the host."""
        if not self.kernels:
            return (
                f"operators on the host, computed by the reference and not in RTL: "
                f"{len(self.hosted)}"
            )
        elements = sum(run.elements for run in self.kernels)
        wrong = sum(run.mismatches for run in self.kernels)
        microseconds = sum(run.microseconds for run in self.kernels)
        verdict = f"{wrong} differ" if wrong else "equal"
        return (
            f"operators on the host, as compiled kernels: {len(self.kernels)}, {elements} elements "
            f"of 1 image compared, {verdict}; {microseconds:.1f} us measured on "
            f"this machine ({self.machine})"
        )

    def _table(self) -> list[str]:
        parts = [
            LayerCycles(f"segment {part.index}", part.cycles_rtl, part.cycles_simulated)
            for part in self.segments
            if self.hosted
        ]
        name = "all segments" if self.hosted else "whole network"
        total = LayerCycles(name, self.cycles_rtl, self.cycles_simulated)
        images = [
            LayerCycles(f"image {index} of a run", *cycles)
            for index, cycles in enumerate(
                zip(self.cycles_by_image, self.simulated_by_image, strict=False)
            )
            if self.images_at_once > 1
        ]
        rows = (*self.layers, *parts, *images, total)
        width = max(len(row.name) for row in rows)
        heading = f"{'layer':{width}s} {'RTL measured':>13s} {'simulated':>13s} {'error':>7s}"
        return [heading] + [
            f"{row.name:{width}s} {row.rtl:13d} {row.simulated:13d} {row.error:+7.1%}"
            for row in rows
        ]
