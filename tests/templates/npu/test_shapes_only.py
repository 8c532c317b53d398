"""Programs of workloads without constants: the same instructions, room for weights, no image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from intaglio.compiler.pipeline import to_workload
from intaglio.compiler.workload import Workload
from intaglio.errors import UnsupportedError
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import emit
from intaglio.templates.npu.isa import Opcode, decode
from intaglio.templates.npu.program import Program, load_program, save_program
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.properties.agreement import fit
from tests.properties.workloads import REPEATABLE, designs, networks
from tests.templates.npu.networks import SMALL


def bare(workload: Workload) -> Workload:
    return replace(workload, constants={})


def check_same(known: Program, unknown: Program) -> None:
    """Both are equal but for the image, and for fillers that come from tables."""
    assert np.array_equal(known.instructions, unknown.instructions)
    assert known.regions == unknown.regions
    assert known.layers == unknown.layers
    assert known.memory_bytes == unknown.memory_bytes
    for one, other in zip(known.tensors.values(), unknown.tensors.values(), strict=True):
        assert replace(one, filler=0) == replace(other, filler=0)
    assert (known.emittable, unknown.emittable) == (True, False)


@pytest.mark.parametrize("design", [SMALL, NpuDesign()], ids=["small", "default"])
def test_every_operator_has_the_instructions_that_it_has_with_weights(design: NpuDesign) -> None:
    workload = every_operator()
    check_same(schedule(workload, design), schedule(bare(workload), design))


@given(networks(), designs())
@settings(REPEATABLE, max_examples=20)
def test_drawn_networks_have_the_instructions_that_they_have_with_weights(
    workload: Workload, design: NpuDesign
) -> None:
    known = fit(workload, design)
    check_same(known, schedule(bare(workload), known.design))


def test_nothing_is_emitted_without_weights(tmp_path: Path) -> None:
    program = schedule(bare(every_operator()), SMALL)
    with pytest.raises(UnsupportedError) as caught:
        emit(program, tmp_path)
    assert str(caught.value) == (
        "the program of 'built' was made from shapes only, so there are no weights to put into "
        "memory; compile the model with its weights"
    )


def test_a_program_without_weights_survives_the_disk(tmp_path: Path) -> None:
    program = schedule(bare(every_operator()), SMALL)
    save_program(program, tmp_path)
    loaded = load_program(tmp_path)
    assert np.array_equal(loaded.instructions, program.instructions)
    assert not loaded.emittable


def test_weights_of_more_than_four_gib_are_addressed() -> None:
    design = NpuDesign(
        rows=64,
        cols=64,
        lanes=64,
        vector_lanes=64,
        activation_buffer_kib=512,
        weight_buffer_kib=4096,
        memory_bytes_per_cycle=64,
    )
    with torch.device("meta"):
        model, x = nn.Linear(1 << 16, 70_000).eval(), torch.zeros(1, 1 << 16)
    program = schedule(to_workload(model, (x,)), design)
    constants = program.regions["constants linear"]
    assert constants.bytes > 70_000 << 16
    own = [
        (load.fields["memory_address"], load.fields["words"] * load.fields["rows"] * design.lanes)
        for load in decode(program.instructions)
        if load.opcode is Opcode.LOAD and load.fields["memory_address"] < constants.end
    ]
    assert max(address for address, _ in own) > 1 << 32
    assert sum(size for _, size in own) >= 70_000 << 16
