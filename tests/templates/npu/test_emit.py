"""Emitted files: complete, with the design's numbers, and the memory that the program needs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from intaglio.errors import ArtifactError
from intaglio.hw.lint import Linter, lint, missing
from intaglio.hw.sources import rtl_sources
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.emit import TOP, emit, hexadecimal, parameters, render_top
from intaglio.templates.npu.isa import ISA_VERSION
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.conftest import Golden
from tests.templates.npu.networks import SMALL


@pytest.fixture(scope="module")
def program() -> Program:
    return schedule(every_operator(), SMALL)


def core() -> str:
    return next(p for p in rtl_sources("npu") if p.stem == "npu_top").read_text()


def test_every_source_is_listed_once_and_the_top_last(program: Program, tmp_path: Path) -> None:
    written = emit(program, tmp_path / "out")
    rtl = tmp_path / "out" / "rtl"
    document = Path(__file__).parents[3] / "docs" / "npu.md"
    assert (rtl / "npu.md").read_bytes() == document.read_bytes()
    listed = (rtl / "files.f").read_text().split()
    assert listed[0] == "npu_isa_pkg.sv"
    assert listed[-1] == f"{TOP}.sv"
    assert sorted(listed) == sorted(path.name for path in rtl.glob("*.sv"))
    assert len(listed) == len(rtl_sources("npu")) + 1
    found = {p.relative_to(tmp_path / "out") for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert set(written) == found


@pytest.mark.rtl
@pytest.mark.parametrize("linter", list(Linter))
def test_the_emitted_sources_are_clean(linter: Linter, program: Program, tmp_path: Path) -> None:
    reason = missing(linter)
    if reason is not None:
        pytest.skip(reason)
    emit(program, tmp_path / "out")
    rtl = tmp_path / "out" / "rtl"
    sources = [rtl / name for name in (rtl / "files.f").read_text().split()]
    assert lint(sources, TOP, linters=[linter]) == ()


def test_the_top_as_text(golden: Golden) -> None:
    golden("intaglio_npu.sv", render_top(core(), SMALL))


def test_parameters_follow_the_design() -> None:
    design = NpuDesign(cols=32, row_lanes=2, weight_bits=4, memory_latency_cycles=300)
    assert parameters(design) == {
        "Lanes": 16,
        "Groups": 2,
        "ActWords": 8192,
        "WeightWords": 4096,
        "AccWords": 256,
        "MemBytes": 16,
        "WindowColumns": 5,
        "RowPipes": 2,
        "WeightBits": 4,
        "ReadAhead": 512,
    }


def test_a_design_name_cannot_leave_its_comment() -> None:
    text = render_top(core(), NpuDesign(name="a\nendmodule"))
    assert text.startswith("// The npu of design 'a\\nendmodule': ")


def test_another_source_is_refused() -> None:
    with pytest.raises(ArtifactError) as caught:
        render_top("module other;\nendmodule\n", SMALL)
    assert str(caught.value) == (
        "the module npu_top is not in its source file; install intaglio again"
    )


def test_images_are_what_memory_holds(program: Program, tmp_path: Path) -> None:
    emit(program, tmp_path / "out")
    images = tmp_path / "out" / "images"
    image = program.memory_image()
    assert (images / "memory.bin").read_bytes() == image.tobytes()
    lines = (images / "memory.hex").read_text().split()
    beats = b"".join(bytes.fromhex(line)[::-1] for line in lines)
    assert beats[: image.size] == image.tobytes()
    described = json.loads((images / "memory_map.json").read_text())
    assert described["program"] == {
        "address": program.program_address,
        "instructions": program.count,
        "instruction_bytes": 64,
        "isa_version": ISA_VERSION,
    }
    assert [entry["name"] for entry in described["inputs"]] == list(program.inputs)
    assert described["regions"]["tensor x"] == {
        "address": program.tensors["x"].address,
        "bytes": program.tensors["x"].bytes,
    }


def test_hexadecimal_pads_the_last_beat() -> None:
    assert hexadecimal(np.arange(1, 7, dtype=np.uint8), 4) == "04030201\n00000605\n"
