"""Programs of several images: where everything is, what overlaps, what is not loaded again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intaglio.compiler.workload import Workload
from intaglio.errors import UsageError
from intaglio.sim import isa
from intaglio.sim.hazards import check_tokens
from intaglio.sim.npu import simulate
from intaglio.templates.npu.images import check_images
from intaglio.templates.npu.isa import Buffer, Opcode, decode
from intaglio.templates.npu.program import Program, describe
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder, draw_inputs, every_operator
from tests.templates.npu.networks import SMALL, check
from tests.templates.npu.test_fusion import bottleneck

ROOMY = replace(SMALL, activation_buffer_kib=16, weight_buffer_kib=16, name="roomy")


def convolutions() -> Workload:
    b = Builder()
    x = b.tensor("x", (1, 8, 9, 9))
    y = b.conv("second", b.conv("first", x, 16, (3, 3)), 16, (3, 3))
    return b.build((x,), (b.matmul("head", b.reshape("flat", y, (1, 16 * 25)), 5),))


def weight_loads(program: Program) -> int:
    return sum(
        item.opcode is Opcode.LOAD and item["buffer"] == Buffer.WEIGHT
        for item in decode(program.instructions)
    )


def test_tensors_of_images_lie_one_after_the_other() -> None:
    one, program = (schedule(bottleneck(), ROOMY, images=images) for images in (1, 3))
    assert (one.image_bytes, program.images) == (0, 3)
    assert program.memory_bytes - one.memory_bytes >= 2 * program.image_bytes
    layouts = [program.layout(name, image) for image in range(3) for name in program.tensors]
    ends = sorted((layout.address, layout.address + layout.bytes) for layout in layouts)
    assert all(before <= start for (_, before), (start, _) in zip(ends, ends[1:], strict=False))
    stays = [layout for layout in layouts if layout.address >= program.memory_bytes]
    assert [layout.name for layout in stays] == ["expand.out"] * 3
    assert max(layout.address + layout.bytes for layout in stays) == program.map_bytes
    assert len(program.kept) == 3 * len(one.kept)
    assert describe(program, instructions=False).startswith(
        f"program built for roomy: {program.count} instructions, {program.memory_bytes} bytes of "
        f"memory, 3 images, each {program.image_bytes:#x} bytes after the one before\n"
    )
    check(bottleneck(), program)


def test_an_image_begins_under_the_end_of_the_one_before() -> None:
    alone, trace = (simulate(schedule(convolutions(), ROOMY, images=n)) for n in (1, 3))
    line = trace.timeline
    ends = [line.retired[line.image == image].max() for image in range(3)]
    starts = [line.issued[line.image == image].min() for image in range(3)]
    assert starts[1] < ends[0] < ends[1] > starts[2]
    assert trace.cycles < 3 * alone.cycles
    assert sum(trace.cycles_by_image) == trace.cycles == sum(row.cycles for row in trace.layers)
    assert max(trace.cycles_by_image[1:]) < alone.cycles
    assert trace.macs == 3 * alone.macs
    assert (trace.images, trace.first_cycles) == (3, trace.cycles_by_image[0])


def test_constants_that_all_fit_are_loaded_once() -> None:
    workload = convolutions()
    one, program = (schedule(workload, ROOMY, images=images) for images in (1, 3))
    assert weight_loads(program) == weight_loads(one)
    check(workload, program)
    check_tokens(program)


def test_constants_that_do_not_fit_are_loaded_for_every_image() -> None:
    workload = convolutions()
    one, program = (schedule(workload, SMALL, images=images) for images in (1, 3))
    assert 2 * weight_loads(one) < weight_loads(program) <= 3 * weight_loads(one)
    check(workload, program)
    check_tokens(program)


def test_the_interpreter_wants_all_images_of_a_run() -> None:
    workload = every_operator()
    program = schedule(workload, SMALL, images=3)
    with pytest.raises(UsageError) as caught:
        isa.run(program, draw_inputs(workload, images=2))
    assert str(caught.value) == (
        "a run of 'built' takes 3 images, 2 are given; give 3 along axis 0"
    )
    inputs = draw_inputs(workload, images=3)
    found = isa.run(program, inputs)
    for image in range(3):
        own = {name: values[image : image + 1] for name, values in inputs.items()}
        for name, values in isa.run(schedule(workload, SMALL), own).items():
            assert np.array_equal(found[name][image : image + 1], values), (name, image)


@pytest.mark.parametrize(
    ("images", "layers", "image_bytes", "sentence"),
    [
        (0, 6, 64, "images is 0, at least 1 is needed; ask for 1 or more"),
        (
            10_923,
            6,
            64,
            "net: a program of 10923 images has 65538 layers, instructions tell 65536 apart; ask "
            "for at most 10922 images",
        ),
        (
            1025,
            1,
            1 << 30,
            "net: the tensors of 1025 images take 1100585369600 bytes of memory, the npu addresses "
            "1099511627776; ask for at most 1024 images",
        ),
    ],
)
def test_more_images_than_a_program_takes(
    images: int, layers: int, image_bytes: int, sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_images("net", images, layers, image_bytes)
    assert str(caught.value) == sentence


def test_the_last_number_of_images_is_taken() -> None:
    check_images("net", 10_922, 6, 64)
    check_images("net", 1024, 1, 1 << 30)
