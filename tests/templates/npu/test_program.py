"""`Program`: on disk, as text, and in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio.errors import ArtifactError
from intaglio.templates.npu.isa import INSTRUCTION_BYTES
from intaglio.templates.npu.program import (
    FILES,
    Program,
    describe,
    load_program,
    save_program,
    to_dict,
)
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import Builder
from tests.conftest import Golden
from tests.templates.npu.networks import SMALL

STRUCTURE_FILE, NUMBERS_FILE = FILES.names


@pytest.fixture(scope="module")
def program() -> Program:
    b = Builder()
    x = b.tensor("x", (1, 3, 5, 4))
    y = b.pool("pool", b.conv("conv", x, 6, (3, 3)), "max", (2, 2), (1, 1))
    flat = b.reshape("flat", y, (1, 12))
    return schedule(b.build((x,), (b.matmul("head", flat, 5),)), SMALL)


def test_a_program_survives_the_disk(program: Program, tmp_path: Path) -> None:
    save_program(program, tmp_path)
    again = load_program(tmp_path)
    assert to_dict(again) == to_dict(program)
    assert np.array_equal(again.instructions, program.instructions)
    assert np.array_equal(again.image, program.image)
    assert (again.design, again.tensors, again.layers) == (
        program.design,
        program.tensors,
        program.layers,
    )


def test_a_program_as_text(program: Program, golden: Golden) -> None:
    golden("program.txt", describe(program))
    assert "pop=" not in describe(program, instructions=False)


def test_memory_holds_constants_and_then_instructions(program: Program) -> None:
    image = program.memory_image()
    assert image.size == program.program_address + program.count * INSTRUCTION_BYTES
    assert np.array_equal(image[: program.image.size], program.image)
    words = image[program.program_address :].view("<u4").reshape(-1, 16)
    assert np.array_equal(words, program.instructions)


def test_regions_do_not_overlap(program: Program) -> None:
    own = {name: r for name, r in program.regions.items() if name != "tensor flat.out"}
    regions = sorted(own.values(), key=lambda region: region.address)
    for before, after in zip(regions, regions[1:], strict=False):
        assert before.end <= after.address
    assert regions[-1].end <= program.memory_bytes
    assert program.regions["tensor flat.out"] == program.regions["tensor pool.out"]


def test_every_layer_ends_with_one_mark(program: Program) -> None:
    marks = program.instructions[program.instructions[:, 1] >> 8 & 1 == 1]
    assert (marks[:, 0] >> 16).tolist() == [layer.index for layer in program.layers]


def _edit(folder: Path, key: str, value: object) -> None:
    path = folder / STRUCTURE_FILE
    structure = json.loads(path.read_text())
    structure[key] = value
    path.write_text(json.dumps(structure))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError) as caught:
        load_program(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / STRUCTURE_FILE}: cannot be read (No such file or directory); compile the "
        "model again"
    )


def test_another_schema(program: Program, tmp_path: Path) -> None:
    save_program(program, tmp_path)
    _edit(tmp_path, "schema", 7)
    with pytest.raises(ArtifactError) as caught:
        load_program(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / STRUCTURE_FILE}: schema 7 is not 3, the one this version reads; compile the "
        "model again"
    )


def test_changed_numbers(program: Program, tmp_path: Path) -> None:
    save_program(program, tmp_path)
    raw = bytearray((tmp_path / NUMBERS_FILE).read_bytes())
    raw[-1] ^= 1
    (tmp_path / NUMBERS_FILE).write_bytes(bytes(raw))
    with pytest.raises(ArtifactError) as caught:
        load_program(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / NUMBERS_FILE}: its SHA-256 is not the one {STRUCTURE_FILE} names; compile "
        "the model again"
    )


@pytest.mark.parametrize("described", [{}, {"tensors": 3}, []])
def test_a_corrupt_structure(program: Program, tmp_path: Path, described: object) -> None:
    save_program(program, tmp_path)
    _edit(tmp_path, "program", described)
    with pytest.raises(ArtifactError, match=r"is corrupt \(\w+: .*\); compile the model again$"):
        load_program(tmp_path)


@pytest.mark.parametrize(
    ("keys", "value", "reason"),
    [
        (("memory_bytes",), 7, "region 'constants conv' ends at byte 384, memory_bytes is 7"),
        (("memory_bytes",), "many", "memory_bytes is 'many', expected a number of bytes"),
        (("memory_bytes",), 1e6, "memory_bytes is 1000000.0, expected a number of bytes"),
        (("memory_bytes",), True, "memory_bytes is True, expected a number of bytes"),
        (("workload_name",), 3, "workload_name is no text"),
        (("program_address",), 0, "region 'program' is not where instructions are"),
        (("regions", "program", "bytes"), 64, "region 'program' is not where instructions are"),
        (("regions", "program", "address"), -64, "region 'program' is not in bytes"),
        (("layers",), [], "an instruction is of layer 1, there are 0 layers"),
        (("images",), 0, "0 images, 0 bytes apart"),
        (("images",), 2, "2 images of 200 bytes each, 0 apart, do not fit in memory"),
        (("image_bytes",), "far", "1 images, 'far' bytes apart"),
        (("layers", 1, "index"), 5, "layer 1 has index 5 and 60 macs"),
        (("layers", 0, "name"), 5, "layer 0 has a name of no text"),
        (("tensors", 1, "lanes"), 32, "tensor 'conv.out' has 32 lanes, the design 4"),
        (
            ("tensors", 1, "map"),
            [6, 5],
            "tensor 'conv.out' of shape (1, 6, 3, 2) is stored as (6, 5)",
        ),
        (("tensors", 1, "kind"), "loose", "tensor 'conv.out' is of kind 'loose'"),
        (("tensors", 1, "signed"), 2, "tensor 'conv.out' has a field of a wrong type"),
        (("tensors", 2, "address"), 0, "tensor 'pool.out' does not fill its region"),
        (
            ("tensors", 1, "address"),
            1 << 20,
            "kept are not instructions, and addresses of tensors after the memory",
        ),
        (("inputs",), ["nobody"], "no tensor 'nobody'"),
        (("design",), {"rows": 16}, "the design lacks a parameter"),
        (("design", "rows"), 8, "tensor 'x' has 4 lanes, the design 8"),
    ],
    ids=str,
)
def test_a_part_that_does_not_fit(
    program: Program, tmp_path: Path, keys: tuple[str | int, ...], value: object, reason: str
) -> None:
    save_program(program, tmp_path)
    described = to_dict(program)
    if keys == ("design", "rows"):
        described["design"] |= dict.fromkeys(("rows", "lanes", "vector_lanes", "cols"), value)
    else:
        part: Any = described
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
    _edit(tmp_path, "program", described)
    with pytest.raises(ArtifactError) as caught:
        load_program(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / STRUCTURE_FILE}: is corrupt (ValueError: {reason}); compile the model again"
    )
