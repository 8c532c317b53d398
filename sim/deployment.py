"""A deployment in time: the traces of its segments, one after another, and the host between them.

A segment runs for all images of a run before the next one does.
The cycles are the accelerator's alone; how long the host takes is not simulated.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import astuple, replace
from hashlib import sha256

import numpy as np

from intaglio.compiler.partition import HostSegment
from intaglio.compiler.workload import Op, Workload, outputs
from intaglio.hw.store import Progress
from intaglio.sim import npu
from intaglio.sim.compiled import is_made
from intaglio.sim.timeline import Timeline
from intaglio.sim.trace import HostTrace, LayerTrace, Trace, UnitTrace
from intaglio.templates.deployment import Deployment
from intaglio.templates.npu.program import Program


def simulate(deployment: Deployment, progress: Progress | None = None) -> Trace:
    """Cycles of one run: a Trace of all segments.

    `progress` is called with a step in words, the programs that are done and how many there are.
    Raises VerificationError when the units wait for each other for ever.
    """
    return join(deployment, list(_each(deployment.programs, progress)))


def _each(programs: Sequence[Program], progress: Progress | None) -> Iterator[Trace]:
    """The trace of every program; those that differ in names alone are simulated once."""
    step = "simulate" if is_made() else "compile the simulator, once, and simulate"
    known: dict[Hashable, Trace] = {}
    for done, program in enumerate(programs):
        if progress is not None:
            progress(step, done, len(programs))
        layers = tuple((layer.op, layer.macs) for layer in program.layers)
        key = program.design, layers, sha256(program.instructions.tobytes()).digest()
        if key not in known:
            known[key] = npu.simulate(program)
        rows = zip(known[key].layers, program.layers, strict=True)
        yield replace(
            known[key],
            name=program.workload_name,
            rows=tuple(replace(row, name=layer.name) for row, layer in rows),
        )


def join(deployment: Deployment, traces: Sequence[Trace]) -> Trace:
    """One trace of `deployment` from those of its programs, which run one after another."""
    return replace(
        traces[0],
        name=deployment.workload.name,
        cycles=sum(trace.cycles for trace in traces),
        rows=tuple(_rows(deployment, traces)),
        units=tuple(map(_sum, zip(*(trace.units for trace in traces), strict=True))),
        timeline=_timeline(traces),
        cycles_by_image=tuple(
            map(sum, zip(*(trace.cycles_by_image for trace in traces), strict=True))
        ),
        first_cycles=sum(trace.cycles for trace in traces[:-1]) + traces[-1].first_cycles,
    )


def host_row(workload: Workload, op: Op) -> HostTrace:
    """What `op` of `workload` costs on the host."""
    elements = sum(workload.tensor(name).elements for name in outputs(op))
    return HostTrace(op.name, type(op).__name__, workload.macs(op), elements)


def _rows(deployment: Deployment, traces: Sequence[Trace]) -> Iterator[LayerTrace | HostTrace]:
    """The layers, numbered through, and the operators on the host, in execution order."""
    remaining, index = iter(traces), 0
    for segment in deployment.segments():
        if isinstance(segment, HostSegment):
            yield from (host_row(deployment.workload, op) for op in segment.ops)
            continue
        for layer in next(remaining).layers:
            yield replace(layer, index=index)
            index += 1


def _sum(same: tuple[UnitTrace, ...]) -> UnitTrace:
    """The counters of one unit over all segments."""
    _, *counters = zip(*map(astuple, same), strict=True)
    return UnitTrace(same[0].unit, *map(sum, counters))


def _timeline(traces: Sequence[Trace]) -> Timeline:
    """The instructions of all segments, each after the end of the segment before."""
    cycles = np.cumsum([0, *(trace.cycles for trace in traces)])
    layers = np.cumsum([0, *(len(trace.layers) for trace in traces)])
    lines = [trace.timeline for trace in traces]
    moved = list(zip(lines, cycles.tolist(), layers.tolist(), strict=False))
    return Timeline(
        unit=np.concatenate([line.unit for line in lines]),
        layer=np.concatenate([line.layer + first for line, _, first in moved]),
        image=np.concatenate([line.image for line in lines]),
        issued=np.concatenate([line.issued + start for line, start, _ in moved]),
        retired=np.concatenate([line.retired + start for line, start, _ in moved]),
    )
