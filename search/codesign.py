"""Network and hardware together: a candidate is a network's choices, its bits and an npu.

Names of dimensions say what they choose: `network.*` is the task's own, `bits.weights` and
`bits.activations` the precision, `design.*` fields of `NpuDesign`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from intaglio.compiler import execution, reference
from intaglio.compiler.execution import Engine
from intaglio.compiler.packing import weight_bits
from intaglio.compiler.precision import Precision
from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError, UnsupportedError
from intaglio.search.objectives import Infeasible, Kind, Measure, Metrics, Outcome
from intaglio.search.space import Point, Scalar
from intaglio.search.store import Store
from intaglio.sim.npu import simulate
from intaglio.templates.npu.area import estimate_area
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.schedule import schedule

MEASURES = (
    Measure("accuracy", "share", Kind.MEASURED),
    Measure("latency_us", "us", Kind.SIMULATED),
    Measure("cycles", "cycles", Kind.SIMULATED),
    Measure("traffic_kib", "KiB", Kind.SIMULATED),
    Measure("area_kge", "kGE", Kind.ESTIMATED),
    Measure("packed_kib", "KiB", Kind.ESTIMATED),
)
"""What `CoDesign` says of a candidate.

accuracy     integer network, on the task's images for searching
latency_us   one image at the design's clock
cycles       one image
traffic_kib  read from and written to memory for one image
area_kge     of the npu with its buffers (`templates.npu.area`)
packed_kib   weights and activations at their own bits, without padding (`packed_bits`)
"""

BATCH = 250
"""Images that are computed at once."""
WORKLOADS = 32
"""Workloads that are kept in memory."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Real inputs of one network by name, images along axis 0, and the class of each image."""

    inputs: Mapping[str, NDArray[np.floating]]
    labels: NDArray[np.integer]


class Task(Protocol):
    """A family of classifiers, how they are trained, and the images they are judged on.

    Everything is deterministic: the same choices give the same bytes.
    """

    @property
    def name(self) -> str:
        """What it is called; a study is tied to it."""

    @property
    def choices(self) -> tuple[str, ...]:
        """What must be chosen in the network: the names under `network.`; may be empty."""

    def train(self, choices: Mapping[str, Scalar]) -> bytes:
        """The trained weights of the network with these choices, as `workload` reads them."""

    def workload(
        self, choices: Mapping[str, Scalar], weights: bytes, precision: Precision
    ) -> Workload:
        """The exact integer network at these bits."""

    def searched(self) -> Labelled:
        """Held-out images that candidates are compared on."""

    def held_back(self) -> Labelled:
        """Other held-out images, on which only the chosen candidate is measured."""


def network_part(point: Point) -> tuple[dict[str, Scalar], Precision]:
    """The network's choices and bits of a candidate; 8 bits where the space does not say."""
    bits = point.part("bits")
    precision = Precision(int(bits.get("weights", 8)), int(bits.get("activations", 8)))
    return point.part("network"), precision


class CoDesign:
    """Evaluates candidates of one task on npus whose other fields are `fixed`.

    Trained weights are kept in the study, so that each network is trained once.
    """

    def __init__(self, task: Task, fixed: Mapping[str, Scalar], store: Store) -> None:
        self._task = task
        self._fixed = dict(fixed)
        self._store = store
        self._network = lru_cache(WORKLOADS)(self._build)

    def __call__(self, point: Point) -> Outcome:
        """The metrics of one candidate, or why it cannot be built."""
        try:
            workload, accuracy = self._network(json.dumps(_network_values(point), sort_keys=True))
            design = self.design(point)
            trace = simulate(schedule(workload, design))
        except (UnsupportedError, DesignError) as error:
            return Infeasible(str(error))
        return Metrics.of(
            {
                "accuracy": accuracy,
                "latency_us": trace.cycles / design.clock_mhz,
                "cycles": trace.cycles,
                "traffic_kib": (trace.bytes_read + trace.bytes_written) / 1024,
                "area_kge": estimate_area(design).kge,
                "packed_kib": packed_bits(workload) / 8 / 1024,
            }
        )

    def design(self, point: Point) -> NpuDesign:
        """The npu of a candidate."""
        return NpuDesign.repaired({**self._fixed, **point.part("design")})

    def workload(self, point: Point) -> Workload:
        """The integer network of a candidate."""
        choices, precision = network_part(point)
        key = f"{self._task.name} {json.dumps(choices, sort_keys=True)}"
        weights = self._store.remember(key, lambda: self._task.train(choices))
        return self._task.workload(choices, weights, precision)

    def engine(self, workload: Workload) -> Engine:
        """What computes the accuracy of a network of the task."""
        return execution.chosen(workload, len(self._task.searched().labels))

    def _build(self, network: str) -> tuple[Workload, float]:
        """The workload and its accuracy for the part of a candidate that is the network's."""
        workload = self.workload(Point.of(json.loads(network)))
        accuracy = integer_accuracy(workload, self._task.searched(), self.engine(workload))
        return workload, accuracy


def _network_values(point: Point) -> dict[str, Scalar]:
    return {name: value for name, value in point.values if not name.startswith("design.")}


@dataclass(frozen=True, slots=True)
class Repair:
    """Moves a point to the candidate that is meant: its npu legal, on the `fixed` fields."""

    fixed: tuple[tuple[str, Scalar], ...]

    def __call__(self, point: Point) -> Point:
        """The candidate; a legal one is its own."""
        chosen = point.part("design")
        legal = NpuDesign.repaired({**dict(self.fixed), **chosen}).to_dict()
        moved = {f"design.{name}": legal[name] for name in chosen}
        return Point.of({**point.to_dict(), **moved})


def integer_accuracy(workload: Workload, images: Labelled, engine: Engine) -> float:
    """The share of images that the exact integer network classifies as labelled.

    The network has one output, of shape (N, classes).  Raises what `execution.runner` raises.
    """
    run = execution.runner(workload, engine)
    right = 0
    for start in range(0, len(images.labels), BATCH):
        part = slice(start, start + BATCH)
        floats = {name: array[part] for name, array in images.inputs.items()}
        values = run(reference.quantise_inputs(workload, floats))
        named = values[workload.outputs[0]].argmax(1)
        right += int((named == images.labels[part]).sum())
    return right / len(images.labels)


def packed_bits(workload: Workload) -> int:
    """Bits of one image's activations and of all weights, each at its width.

    The npu of today keeps each of them in a container of 8 bits; this is what storage that packs
    them would take.
    """
    activations = (tensor.elements * tensor.element.bits for tensor in workload.activations())
    return weight_bits(workload) + sum(activations)
