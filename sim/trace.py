"""`Trace`: what a simulation saw, as text, as JSON and as a timeline for Chrome or Perfetto.

Every number here is simulated; nothing was measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from intaglio.errors import write_whole
from intaglio.hw.npu_model import UnitCounters
from intaglio.sim.limits import Limits
from intaglio.sim.timeline import Timeline, free_path
from intaglio.templates.npu.isa import Unit

_HOST_TRACK = len(Unit)
"""The timeline's track of the host, after those of the units."""


@dataclass(frozen=True, slots=True)
class LayerTrace:
    """One layer: from the previous layer's last retired instruction to its own, over all images.

    cycles          length of that span; 0 for a layer without instructions
    macs            multiply-accumulates of the network, without padding
    utilisation     macs / (cycles * multipliers of the array)
    window_macs     those macs that the window unit does
    window_utilisation      window_macs / (cycles * multipliers of the window unit)
    busy            cycles of the span in which load, compute, vector, store held an instruction
    limits          its bounds, and what made it longer
    """

    index: int
    name: str
    op: str
    cycles: int
    macs: int
    utilisation: float
    bytes_read: int
    bytes_written: int
    busy: tuple[int, ...]
    limits: Limits
    window_macs: int = 0
    window_utilisation: float = 0.0


@dataclass(frozen=True, slots=True)
class HostTrace:
    """One operator on the host: what it costs there.  Its time is not simulated.

    macs        its multiply-accumulates
    elements    how many elements it makes
    """

    name: str
    op: str
    macs: int
    elements: int


@dataclass(frozen=True, slots=True)
class UnitTrace:
    """Where the cycles of one unit went.

    busy            an instruction was inside
    token_wait      none inside, and the next one lacked a token
    queue_wait      none inside, and none had been fetched
    memory_stall    part of busy: waiting for memory (latency, or others' share of its bandwidth)
    port_stall      part of busy: waiting for a buffer's port
    fill_stall      part of busy: the array waits for weights
    """

    unit: Unit
    instructions: int
    busy: int
    token_wait: int
    queue_wait: int
    memory_stall: int
    port_stall: int
    fill_stall: int

    @property
    def stall(self) -> int:
        """Part of busy: all that stalls."""
        return self.memory_stall + self.port_stall + self.fill_stall

    @property
    def counters(self) -> UnitCounters:
        """What the hardware counts of the same run."""
        return UnitCounters(self.busy, self.token_wait, self.stall, self.instructions)


@dataclass(frozen=True, slots=True)
class Trace:
    """One run of the accelerator: cycles, rows, units and the timeline.

    `rows` are the layers in order, with the operators on the host between them; all else is of the
    accelerator alone.  A run takes one image, or several one after the other: `cycles_by_image` has
    for each the cycles from the last retirement of the image before to its own, and `first_cycles`
    those until the first one is done.
    """

    name: str
    clock_mhz: float
    multipliers: int
    cycles: int
    rows: tuple[LayerTrace | HostTrace, ...]
    units: tuple[UnitTrace, ...]
    timeline: Timeline
    window_multipliers: int = 0
    cycles_by_image: tuple[int, ...] = ()
    first_cycles: int = 0

    @property
    def images(self) -> int:
        """How many images the run takes."""
        return len(self.cycles_by_image)

    @property
    def cycles_per_image(self) -> float:
        """Cycles of the run for each of its images."""
        return self.cycles / self.images

    @property
    def images_per_second(self) -> float:
        """Images of runs without a pause, at the design's clock."""
        return self.clock_mhz * 1e6 / self.cycles_per_image if self.cycles else 0.0

    @property
    def layers(self) -> tuple[LayerTrace, ...]:
        """The layers on the accelerator."""
        return tuple(row for row in self.rows if isinstance(row, LayerTrace))

    @property
    def hosted(self) -> tuple[HostTrace, ...]:
        """The operators on the host."""
        return tuple(row for row in self.rows if isinstance(row, HostTrace))

    @property
    def macs(self) -> int:
        """Multiply-accumulates on the accelerator."""
        return sum(layer.macs for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """Multiply-accumulates / (cycles * multipliers) on the accelerator."""
        return self.macs / (self.cycles * self.multipliers) if self.cycles else 0.0

    @property
    def window_utilisation(self) -> float:
        """Multiply-accumulates of windows / (cycles * multipliers of the window unit)."""
        macs = sum(layer.window_macs for layer in self.layers)
        available = self.cycles * self.window_multipliers
        return macs / available if available else 0.0

    @property
    def bytes_read(self) -> int:
        """Bytes read from memory, instructions included."""
        return sum(layer.bytes_read for layer in self.layers)

    @property
    def bytes_written(self) -> int:
        """Bytes written to memory."""
        return sum(layer.bytes_written for layer in self.layers)

    @property
    def milliseconds(self) -> float:
        """The run at the design's clock."""
        return self.cycles / (self.clock_mhz * 1000)

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON; the timeline is exported apart, by `write_timeline`."""
        return {
            "name": self.name,
            "kind": "simulated",
            "cycles": self.cycles,
            "milliseconds": round(self.milliseconds, 6),
            "images": self.images,
            "cycles_per_image": round(self.cycles_per_image, 3),
            "cycles_by_image": list(self.cycles_by_image),
            "first_image_cycles": self.first_cycles,
            "images_per_second": round(self.images_per_second, 3),
            "macs": self.macs,
            "utilisation": round(self.utilisation, 6),
            "window_utilisation": round(self.window_utilisation, 6),
            "bytes_read": self.bytes_read,
            "bytes_written": self.bytes_written,
            "layers": [_row_dict(row) for row in self.rows],
            "units": [_unit_dict(unit) for unit in self.units],
        }

    def __str__(self) -> str:
        return "\n".join([self._heading(), "", *self._layer_lines(), "", *self._unit_lines()])

    def _heading(self) -> str:
        return (
            f"{self.name}: {self.cycles} cycles simulated, {self.milliseconds:.3f} ms at "
            f"{self.clock_mhz:g} MHz, utilisation {self.utilisation:.1%}, of the window unit "
            f"{self.window_utilisation:.1%}, "
            f"{self.bytes_read} bytes read, {self.bytes_written} written"
            f"{self._by_image()}{self._beside()}"
        )

    def _by_image(self) -> str:
        """What a run of several images brings."""
        if self.images == 1:
            return ""
        return (
            f"\n{self.images} images a run, {self.cycles_per_image:.1f} cycles an image, the first "
            f"after {self.first_cycles}; {self.images_per_second:.1f} images a second"
        )

    def _beside(self) -> str:
        """What the cycles leave out."""
        if not self.hosted:
            return ""
        macs = sum(row.macs for row in self.hosted)
        return (
            f"\noperators on the host, whose time is not simulated: {len(self.hosted)}, {macs} macs"
        )

    def _layer_lines(self) -> list[str]:
        width = max((len(row.name) for row in self.rows), default=0)
        width = max(width, len("layer"))
        kinds = max((len(row.op) for row in self.rows), default=0)
        kinds = max(kinds, 8)
        lines = [
            f"{'layer':{width}s} {'op':{kinds}s} {'cycles':>9s} {'macs':>11s} {'use':>6s} "
            f"{'windows':>7s} {'read':>9s} {'written':>9s} {'array':>9s} {'memory':>9s}  rest"
        ]
        return lines + [f"{row.name:{width}s} {row.op:{kinds}s} {_cells(row)}" for row in self.rows]

    def _unit_lines(self) -> list[str]:
        lines = [
            f"{'unit':8s} {'instructions':>12s} {'busy':>9s} {'token':>9s} {'queue':>9s} "
            f"{'memory':>9s} {'port':>9s} {'fill':>9s}"
        ]
        for unit in self.units:
            lines.append(
                f"{unit.unit.name.lower():8s} {unit.instructions:12d} {unit.busy:9d} "
                f"{unit.token_wait:9d} {unit.queue_wait:9d} {unit.memory_stall:9d} "
                f"{unit.port_stall:9d} {unit.fill_stall:9d}"
            )
        return lines

    def write_timeline(self, path: Path) -> None:
        """Write the timeline as Chrome's trace events (Perfetto reads them), in microseconds.

        Of instructions that overlap in one unit, each is drawn from the retirement of the one
        before; `args` hold the cycles of issue and retirement.  An earlier timeline is replaced.
        Raises UsageError when `path` is another file or lies in an artifact, and OutputError when
        it cannot be written.
        """
        target = free_path(path)
        text = json.dumps({"traceEvents": self._events(), "displayTimeUnit": "ns"})
        write_whole(target, text)

    def _events(self) -> list[dict[str, object]]:
        tracks = [*((int(unit), unit.name.lower()) for unit in Unit)]
        if self.hosted:
            tracks.append((_HOST_TRACK, "host"))
        events: list[dict[str, object]] = [
            {"name": "thread_name", "ph": "M", "pid": 0, "tid": track, "args": {"name": name}}
            for track, name in tracks
        ]
        return [*events, *self._spans(), *self._cuts()]

    def _spans(self) -> Iterator[dict[str, object]]:
        """One event an instruction."""
        names = {layer.index: layer.name for layer in self.layers}
        line = self.timeline
        columns = (line.unit, line.layer, line.image, line.issued, line.retired)
        free = dict.fromkeys(range(len(Unit)), 0)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for index, (unit, layer, image, issued, retired) in enumerate(rows):
            start = max(issued, free[unit])
            free[unit] = retired
            yield {
                "name": names[layer],
                "ph": "X",
                "pid": 0,
                "tid": unit,
                "ts": start / self.clock_mhz,
                "dur": (retired - start) / self.clock_mhz,
                "args": {
                    "instruction": index,
                    "image": image,
                    "issued": issued,
                    "retired": retired,
                },
            }

    def _cuts(self) -> Iterator[dict[str, object]]:
        """A mark without duration for every operator on the host, where the accelerator waits."""
        cycle = 0
        for row in self.rows:
            if isinstance(row, LayerTrace):
                cycle += row.cycles
                continue
            yield {
                "name": row.name,
                "ph": "i",
                "s": "p",
                "pid": 0,
                "tid": _HOST_TRACK,
                "ts": cycle / self.clock_mhz,
                "args": {"op": row.op, "macs": row.macs, "time": "not simulated"},
            }


def _cells(row: LayerTrace | HostTrace) -> str:
    """The numbers of one row of the table; those of the host are not simulated."""
    if isinstance(row, HostTrace):
        none = " ".join(["-".rjust(9)] * 4)
        return f"{'-':>9s} {row.macs:11d} {'-':>6s} {'-':>7s} {none}  host"
    cause, lost = row.limits.cause
    return (
        f"{row.cycles:9d} {row.macs:11d} {row.utilisation:6.1%} {row.window_utilisation:7.1%} "
        f"{row.bytes_read:9d} {row.bytes_written:9d} {row.limits.array:9d} "
        f"{row.limits.memory:9d}  {cause} {lost}"
    )


def _row_dict(row: LayerTrace | HostTrace) -> dict[str, object]:
    return _host_dict(row) if isinstance(row, HostTrace) else _layer_dict(row)


def _host_dict(row: HostTrace) -> dict[str, object]:
    return {
        "name": row.name,
        "op": row.op,
        "on": "host",
        "cycles": None,
        "macs": row.macs,
        "utilisation": None,
        "elements": row.elements,
    }


def _layer_dict(layer: LayerTrace) -> dict[str, object]:
    return {
        "index": layer.index,
        "name": layer.name,
        "op": layer.op,
        "on": "accelerator",
        "cycles": layer.cycles,
        "macs": layer.macs,
        "utilisation": round(layer.utilisation, 6),
        "window_macs": layer.window_macs,
        "window_utilisation": round(layer.window_utilisation, 6),
        "bytes_read": layer.bytes_read,
        "bytes_written": layer.bytes_written,
        "busy": {unit.name.lower(): layer.busy[unit] for unit in Unit},
        "limits": layer.limits.to_dict(),
    }


def _unit_dict(unit: UnitTrace) -> dict[str, object]:
    return {
        "unit": unit.unit.name.lower(),
        "instructions": unit.instructions,
        "busy": unit.busy,
        "token_wait": unit.token_wait,
        "queue_wait": unit.queue_wait,
        "stall": unit.stall,
        "memory_stall": unit.memory_stall,
        "port_stall": unit.port_stall,
        "fill_stall": unit.fill_stall,
    }
