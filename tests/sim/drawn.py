"""Programs drawn at random: every unit, tokens, bursts of all shapes, fill, shared ports.

`python -m tests.sim.drawn COUNT` prints whether the simulator runs as machine code, and a digest of
what it says of the first COUNT programs.
"""

from __future__ import annotations

import hashlib
import random
import sys

from intaglio.errors import VerificationError
from intaglio.sim.compiled import MACHINE_CODE
from intaglio.sim.npu import simulate
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.isa import Instruction, Opcode, Unit
from intaglio.templates.npu.program import Program
from tests.sim.programs import make

Fields = dict[str, int]


def program(seed: int) -> Program:
    """A program of up to 150 instructions; a few of them end in a deadlock."""
    draw = random.Random(seed)
    tokens = {(a, b): 0 for a in Unit for b in Unit}
    items = []
    for k in range(draw.choice((3, 20, 60, 150))):
        opcode = draw.choice(list(Opcode))
        unit = opcode.unit
        pop = tuple(u for u in Unit if tokens[u, unit] and draw.random() < 0.5)
        push = tuple(u for u in Unit if draw.random() < 0.25)
        for source in pop:
            tokens[source, unit] -= 1
        for target in push:
            tokens[unit, target] += 1
        if draw.random() < 0.003:
            pop = (draw.choice(list(Unit)),)
        fields = _fields(draw, opcode)
        items.append(Instruction(opcode, fields, pop, push, layer=k // 10, mark=k % 10 == 9))
    return make(items, _design(draw))


def digest(count: int) -> str:
    """Of the traces, and of the sentences about deadlocks, of the first `count` programs."""
    made = hashlib.sha256()
    for seed in range(count):
        try:
            trace = simulate(program(seed))
        except VerificationError as error:
            made.update(str(error).encode())
            continue
        made.update(trace.timeline.issued.tobytes() + trace.timeline.retired.tobytes())
        made.update(repr((trace.units, trace.rows)).encode())
    return made.hexdigest()


def _design(draw: random.Random) -> NpuDesign:
    lanes = draw.choice((4, 8, 16))
    return NpuDesign(
        rows=lanes,
        cols=lanes * draw.choice((1, 2)),
        lanes=lanes,
        vector_lanes=lanes,
        row_lanes=draw.choice((1, 2, 4)),
        activation_buffer_kib=16,
        weight_buffer_kib=16,
        accumulator_buffer_kib=16,
        memory_bytes_per_cycle=draw.choice([width for width in (4, 8, 16) if width <= lanes]),
        memory_latency_cycles=draw.choice((1, 10, 40, 200)),
    )


def _fields(draw: random.Random, opcode: Opcode) -> Fields:
    if opcode in (Opcode.LOAD, Opcode.STORE):
        return _box(draw, opcode)
    if opcode == Opcode.COMPUTE:
        return {name: draw.randint(1, 4) for name in ("blocks", "fy", "fx", "y", "x")}
    if opcode in (Opcode.SOFTMAX, Opcode.NORM):
        return _rows(draw, opcode)
    if opcode < Opcode.LOAD:
        return {}
    names = [
        *("source_address", "residual_address", "output_address", "source_y_stride"),
        *("window_y_stride", "residual_row_stride", "output_row_stride"),
    ]
    fields = {name: draw.randint(0, 9) for name in names}
    for name, most in (("y", 6), ("x", 12), ("window_y", 3), ("window_x", 4)):
        fields[name] = draw.randint(1, most)
    fields |= {"source_x_stride": draw.randint(1, 3), "window_x_stride": draw.randint(1, 2)}
    fields |= {"table": draw.randint(0, 1), "residual": draw.randint(0, 1)}
    if opcode == Opcode.DRAIN:
        fields |= {"residual_wide": draw.randint(0, 1), "residual_high_offset": draw.randint(0, 9)}
    return fields


def _rows(draw: random.Random, opcode: Opcode) -> Fields:
    fields = {"blocks": draw.randint(1, 9), "rows": draw.randint(1, 6)}
    fields["input_wide"] = draw.randint(0, 1)
    kinds = ["source", "output"]
    if opcode == Opcode.SOFTMAX:
        fields["mask"] = draw.randint(0, 1)
        kinds.append("mask")
    else:
        fields |= {name: draw.randint(0, 1) for name in ("output_wide", "again")}
        fields["output_high_offset"] = draw.randint(0, 9)
    for kind in kinds:
        for part in ("address", "block_stride", "row_stride"):
            fields[f"{kind}_{part}"] = draw.randint(0, 9)
    return fields


def _box(draw: random.Random, opcode: Opcode) -> Fields:
    fields = {
        "words": draw.randint(0, 30) if draw.random() < 0.8 else draw.randint(1, 400),
        "rows": draw.randint(1, 5),
        "planes": draw.randint(1, 4) if draw.random() < 0.95 else 0,
        "contiguous": draw.randint(0, 1),
        "memory_address": draw.randint(0, 9999) * 16,
        "memory_row_stride": draw.randint(0, 500) * 16,
        "memory_plane_stride": draw.randint(0, 900) * 16,
    }
    if opcode == Opcode.LOAD:
        fields["buffer"] = draw.randint(0, 1)
        for side, most in (("top", 9), ("bottom", 9), ("left", 3), ("right", 3)):
            fields[f"pad_{side}"] = draw.choice((0, draw.randint(0, most)))
    return fields


if __name__ == "__main__":
    sys.stdout.write(f"{MACHINE_CODE} {digest(int(sys.argv[1]))}\n")
