"""Programs of repeated parts: those that scheduling would write, and stored once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from intaglio.compiler.workload import Workload
from intaglio.templates.npu.program import check_program, describe
from intaglio.templates.npu.repeats import Repeats
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder
from tests.templates.npu.networks import SMALL


def block(prefix: str) -> Workload:
    """Some layers, a reshape and a residual, each with a name of its own; no constants."""
    b = Builder()
    x = b.tensor(f"{prefix}.x", (1, 6, 5, 5))
    first = b.conv(f"{prefix}.first", x, 6, (1, 1), residual=x)
    second = b.rescale(f"{prefix}.second", first)
    flat = b.reshape(f"{prefix}.flat", second, (1, 150))
    made = b.build((x,), (b.matmul(f"{prefix}.last", flat, 9), first))
    return replace(made, name=prefix, constants={})


def test_a_repeated_part_gets_the_program_that_scheduling_writes() -> None:
    repeats, first, again = Repeats(), block("one"), block("two")
    assert repeats.find(first) is None
    program = schedule(first, SMALL)
    repeats.add(first, program)
    found = repeats.find(again)
    assert found is not None
    assert found.instructions is program.instructions
    wanted = schedule(again, SMALL)
    assert np.array_equal(found.instructions, wanted.instructions)
    assert describe(found) == describe(wanted)
    assert found.layers == wanted.layers
    assert dict(found.tensors) == dict(wanted.tensors)
    assert dict(found.regions) == dict(wanted.regions)
    check_program(found)


def test_weights_make_programs_differ() -> None:
    b = Builder()
    x = b.tensor("x", (1, 8))
    workload = b.build((x,), (b.matmul("fc", x, 4),))
    repeats = Repeats()
    repeats.add(workload, schedule(workload, SMALL))
    assert repeats.find(workload) is None
