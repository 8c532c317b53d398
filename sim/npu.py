"""The npu in time: a Program on fetch, queues, tokens, units, buffers and memory, without data.

`simulate` makes a Trace of a run.  Of the run, `state` and `registers` are what there is, `plan`
and `patterns` what is known beforehand; `issue` does queues and tokens, `units` the array and the
vector unit, by their closed forms, and `transfers` fetch, memory, load and store, cycle by cycle.
With the memory of hw/driver/axi_memory.h, every cycle and every counter is that of the RTL.
Cycle 0 is the first cycle of a run, as the hardware's own counter has it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intaglio.errors import VerificationError
from intaglio.sim.compiled import column, first, one
from intaglio.sim.issue import PAUSE
from intaglio.sim.limits import Limits, busy_cycles, limits
from intaglio.sim.plan import Plan
from intaglio.sim.registers import INF
from intaglio.sim.run import deadlock, go, tables
from intaglio.sim.state import Run, Tables
from intaglio.sim.timeline import Timeline
from intaglio.sim.trace import LayerTrace, Trace, UnitTrace
from intaglio.templates.npu.isa import INSTRUCTION_BYTES, Opcode, Unit
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.timing import QUEUE

DONE = 2
"""Cycles from the retirement of the last instruction to the end of the run."""


def simulate(program: Program) -> Trace:
    """Cycles of `program` on its design: a Trace of layers, units and the timeline.

    Raises VerificationError when the units wait for each other for ever.
    """
    plan = Plan(program.instructions, program.design)
    asked, runs = tables(plan, program.program_address), one(Run)
    go(runs, asked)
    run, retired = first(runs), column(asked.tasks, "retired")
    if (retired >= INF).any():
        raise VerificationError(deadlock(run, asked, plan))
    image, layer = np.divmod(plan.layer, max(len(program.layers), 1))
    timeline = Timeline(
        unit=plan.unit,
        layer=layer,
        image=image,
        issued=column(asked.tasks, "issued").astype(np.int64),
        retired=retired.astype(np.int64),
    )
    edges = _edges(program, plan, timeline)
    ends = edges[np.arange(program.images + 1) * len(program.layers)]
    by_image = tuple(np.diff(ends).tolist())
    return Trace(
        name=program.workload_name,
        clock_mhz=program.design.clock_mhz,
        multipliers=program.design.multipliers,
        cycles=_cycles(timeline),
        rows=_layers(program, asked, plan, timeline, edges),
        units=_units(run, asked, plan, timeline),
        timeline=timeline,
        window_multipliers=program.design.window_multipliers,
        cycles_by_image=by_image,
        first_cycles=by_image[0],
    )


def _cycles(timeline: Timeline) -> int:
    return int(timeline.retired.max(initial=-DONE)) + DONE


def _edges(program: Program, plan: Plan, timeline: Timeline) -> NDArray[np.int64]:
    """The ends of the layers of every image, after 0: int64 (images * layers + 1,)."""
    edges = np.zeros(program.images * len(program.layers) + 1, dtype=np.int64)
    for index in np.flatnonzero(plan.mark):
        edges[plan.layer[index] + 1] = timeline.retired[index] + DONE
    edges = np.maximum.accumulate(edges)
    edges[-1] = _cycles(timeline)
    return edges


def _layers(
    program: Program, asked: Tables, plan: Plan, timeline: Timeline, edges: NDArray[np.int64]
) -> tuple[LayerTrace, ...]:
    """Every layer over all images."""
    design, layers = program.design, program.images * program.layers
    busy = [
        busy_cycles(timeline.issued[chosen], timeline.retired[chosen], edges)
        for chosen in (timeline.unit == unit for unit in Unit)
    ]
    read, written = _bytes(asked, plan, len(layers))
    beats = (read + written) // design.memory_bytes_per_cycle
    bounds = [
        (-(-layer.macs // design.multipliers), int(count))
        for layer, count in zip(layers, beats, strict=True)
    ]
    found = limits(bounds, timeline.unit, timeline.issued, timeline.retired, edges)
    spans, read, written, *busy = (
        each.reshape(program.images, len(program.layers)).sum(axis=0)
        for each in (np.diff(edges), read, written, *busy)
    )
    return tuple(
        LayerTrace(
            index=k,
            name=layer.name,
            op=layer.op,
            cycles=int(spans[k]),
            macs=program.images * layer.macs,
            utilisation=program.images * layer.macs / max(int(spans[k]) * design.multipliers, 1),
            window_macs=program.images * layer.window_macs,
            window_utilisation=program.images
            * layer.window_macs
            / max(int(spans[k]) * design.window_multipliers, 1),
            bytes_read=int(read[k]),
            bytes_written=int(written[k]),
            busy=tuple(int(cycles[k]) for cycles in busy),
            limits=Limits.total(found[k :: len(program.layers)]),
        )
        for k, layer in enumerate(program.layers)
    )


def _bytes(asked: Tables, plan: Plan, layers: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes read (instructions included) and written by layer, int64 of shape (layers,)."""
    moves, _ = plan.work(Opcode.LOAD, Opcode.STORE)
    beats = np.prod(
        [column(asked.boxes, name)[:-1] for name in ("planes", "runs", "beats")], axis=0
    )
    moved = beats * plan.design.memory_bytes_per_cycle
    read, written = np.zeros(layers, np.int64), np.zeros(layers, np.int64)
    np.add.at(read, plan.layer, INSTRUCTION_BYTES)
    for unit, total in ((Unit.LOAD, read), (Unit.STORE, written)):
        chosen = plan.unit[moves] == unit
        np.add.at(total, plan.layer[moves[chosen]], moved[chosen])
    return read, written


def _after(cycles: np.ndarray, step: int = 1) -> np.ndarray:
    """For each instruction, the cycle `step` after that of the one before it."""
    return np.concatenate(([0], cycles[:-1] + step))


def _units(run: Run, asked: Tables, plan: Plan, timeline: Timeline) -> tuple[UnitTrace, ...]:
    starved = {Unit.LOAD: int(run.load.starved), Unit.STORE: int(run.store.starved)}
    blocked = {
        Unit.LOAD: int(run.load.blocked),
        Unit.VECTOR: int(run.vector.stall),
        Unit.STORE: int(run.store.blocked),
        Unit.WINDOW: int(run.window.stall),
    }
    queued = column(asked.tasks, "queued").astype(np.int64)
    cycles = _cycles(timeline)
    result = []
    for unit in Unit:
        chosen = np.flatnonzero(timeline.unit == unit)
        issued, retired = timeline.issued[chosen], timeline.retired[chosen]
        works = ~plan.sync[chosen]
        busy = int(busy_cycles(issued[works], retired[works], np.array([0, cycles]))[0])
        inside = np.maximum.accumulate(np.where(works, retired, -1))
        at_head = np.maximum(queued[chosen] + QUEUE, _after(issued, PAUSE))
        token = int(np.maximum(issued - np.maximum(at_head, _after(inside)), 0).sum())
        result.append(
            UnitTrace(
                unit=unit,
                instructions=len(chosen),
                busy=busy,
                token_wait=token,
                queue_wait=max(cycles - busy - token, 0),
                memory_stall=starved.get(unit, 0),
                port_stall=blocked.get(unit, 0),
                fill_stall=int(run.array.fill_stall) if unit == Unit.COMPUTE else 0,
            )
        )
    return tuple(result)
