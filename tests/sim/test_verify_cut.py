"""`verify` on networks with operators on the host: every segment is proven, every fault placed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from intaglio.compiler import reference
from intaglio.errors import VerificationError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim import deployment, npu
from intaglio.sim import verify as proof
from intaglio.sim.localise import Replay
from intaglio.sim.location import Location
from intaglio.sim.verify import Bench, verify
from intaglio.templates.deployment import Deployment
from intaglio.templates.npu.emit import parameters
from intaglio.templates.npu.isa import Instruction, Opcode, decode, encode
from intaglio.templates.npu.program import Program
from tests.compiler.builders import draw_inputs, every_operator
from tests.templates.npu.networks import SMALL, cut

pytestmark = pytest.mark.rtl

HARDWARE = Model(rtl_sources("npu"), "npu_top", DRIVER, tuple(parameters(SMALL).items()))

MULTIPLIER = 7 * SMALL.lanes
"""The high byte of the first channel's multiplier, in constants that begin with records."""


@pytest.fixture
def made() -> Deployment:
    """Three segments with `add` and `max` between them."""
    return cut(every_operator(), SMALL, "add", "max")


def _with_program(made: Deployment, index: int, program: Program) -> Deployment:
    programs = list(made.programs)
    programs[index] = program
    return replace(made, programs=tuple(programs))


def _misplaced_store(program: Program) -> Program:
    """The program with a store that writes into the constants."""
    items = list(decode(program.instructions))
    index = next(i for i, item in enumerate(items) if item.opcode is Opcode.STORE)
    old = items[index]
    fields = {**old.fields, "memory_address": 0}
    items[index] = Instruction(old.opcode, fields, old.pop, old.push, old.layer, old.mark)
    return replace(program, instructions=encode(items))


def _wrong_constant(program: Program, byte: int = 0) -> Program:
    """The program with one bit of its constants changed; the first byte is a weight's or bias's."""
    image = program.image.copy()
    image[byte] ^= 0x40
    return replace(program, image=image)


@pytest.mark.parametrize(
    ("hosted", "at_once"),
    [
        (["add", "max"], 1),
        (["stem"], 2),
        (["head", "tail"], 1),
        (["stem", "grouped", "concat", "average"], 2),
    ],
)
def test_every_segment_is_equal(hosted: list[str], at_once: int, model_cache: Path) -> None:
    made = cut(every_operator(), SMALL, *hosted, images=at_once)
    report = verify(Bench(made, HARDWARE), images=2, seed=3, cache=model_cache)
    assert report.passed, str(report)
    assert set(hosted) <= set(report.hosted)
    assert [part.index for part in report.segments] == [part.index for part in made.scheduled()]
    assert report.words_compared == sum(part.words_compared for part in report.segments)
    tensors = [
        program.tensors[op.output]
        for segment, program in zip(made.partition.accelerated, made.programs, strict=True)
        for op in segment.ops
        if op.name not in ("flatten",)
    ]
    assert report.words_compared == 2 * sum(layout.words for layout in tensors)
    assert report.cycles_rtl == sum(part.cycles_rtl for part in report.segments)
    assert report.cycles_rtl == sum(layer.rtl for layer in report.layers)
    simulated = deployment.simulate(made)
    assert report.cycles_simulated == simulated.cycles
    assert [layer.name for layer in report.layers] == [layer.name for layer in simulated.layers]
    if at_once > 1:
        assert report.cycles_by_image == simulated.cycles_by_image
        last = npu.simulate(made.programs[-1])
        assert simulated.first_cycles == simulated.cycles - sum(last.cycles_by_image[1:])
    counts = [unit.instructions for unit in report.units]
    assert counts == [unit.instructions for unit in simulated.units]


def test_random_stalls_change_no_word(made: Deployment, model_cache: Path) -> None:
    report = verify(Bench(made, HARDWARE, 300), seed=5, cache=model_cache)
    assert report.passed, str(report)
    assert report.cycles_rtl > report.cycles_simulated


def test_the_report_tells_segments_apart(made: Deployment, model_cache: Path) -> None:
    report = verify(Bench(made, HARDWARE), cache=model_cache)
    first, middle, last = report.segments
    assert str(report).splitlines()[:5] == [
        f"built: {report.words_compared} words of 1 image compared, equal",
        f"segment 0: {first.words_compared} words, equal",
        f"segment 2: {middle.words_compared} words, equal",
        f"segment 4: {last.words_compared} words, equal",
        "operators on the host, computed by the reference and not in RTL: 2",
    ]
    rows = [line.split() for line in str(report).splitlines()[-4:]]
    assert [row[:3] for row in rows[:-1]] == [
        ["segment", str(part.index), str(part.cycles_rtl)] for part in report.segments
    ]
    assert rows[-1][:3] == ["all", "segments", str(report.cycles_rtl)]
    found = report.to_dict()
    assert found["host_operators"] == ["add", "max"]
    segments = found["segments"]
    assert isinstance(segments, list)
    assert segments[1] == {
        "index": 2,
        "words_compared": middle.words_compared,
        "mismatches": 0,
        "cycles_rtl": middle.cycles_rtl,
        "cycles_simulated": middle.cycles_simulated,
    }


def test_progress_counts_the_cycles_of_all_segments(made: Deployment, model_cache: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    bench = Bench(made, HARDWARE)
    report = verify(bench, cache=model_cache, progress=lambda *step: steps.append(step))
    starts, total = [0], report.cycles_simulated
    for part in report.segments[:-1]:
        starts.append(starts[-1] + part.cycles_simulated)
    for start in starts:
        assert ("run image 1 of 1 in RTL", start, total) in steps


def test_a_difference_names_its_segment_and_spares_the_others(
    made: Deployment, model_cache: Path
) -> None:
    wrong = _with_program(made, 0, _wrong_constant(made.programs[0]))
    report = verify(Bench(wrong, HARDWARE), seed=1, cache=model_cache)
    assert report.first is not None
    assert str(report.first).startswith("image 0, segment 0, layer 'stem': tensor 'stem.out' ")
    assert [part.mismatches > 0 for part in report.segments] == [True, False, False]
    assert report.mismatches == report.segments[0].mismatches


def test_an_error_of_the_hardware_names_its_segment(made: Deployment, model_cache: Path) -> None:
    wrong = _with_program(made, 1, _misplaced_store(made.programs[1]))
    with pytest.raises(VerificationError) as caught:
        verify(Bench(wrong, HARDWARE), cache=model_cache)
    assert "outside the tensors it makes, the first in byte 0 of region " in str(caught.value)
    assert caught.value.__notes__ == ["in segment 2 of the network"]


def test_a_fault_is_looked_for_in_its_segment_alone(
    made: Deployment, model_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Replay] = []
    found = Location(1, 0, 7, "store", "sub", "store", 1, 1, "plane 0", "data", "writes")

    def localise(job: Replay, *_: Any, **__: Any) -> Location:
        jobs.append(job)
        return found

    monkeypatch.setattr(proof, "localise", localise)
    program = _wrong_constant(made.programs[1], MULTIPLIER)
    bench = Bench(_with_program(made, 1, program), HARDWARE)
    report = verify(bench, images=2, seed=1, cache=model_cache, diagnosis=tmp_path)
    assert report.first is not None
    assert report.location == replace(found, segment=2)
    assert ", segment 2, layer 'sub', image 1" in str(report.location)
    (job,) = jobs
    assert job.program is program
    workload = every_operator()
    drawn = draw_stimulus(report.first.image)
    values = reference.run(workload, drawn)
    assert set(job.inputs) == {"stem.out", "grouped.out", "add.out"}
    for name, value in job.inputs.items():
        assert np.array_equal(value, values[name])
        layout = program.tensors[name]
        memory = job.initial(job.run)[layout.address : layout.address + layout.bytes]
        assert np.array_equal(memory, layout.pack(values[name]))


def draw_stimulus(image: int) -> dict[str, np.ndarray]:
    """The input of one of the two images that `verify` draws from seed 1."""
    drawn = draw_inputs(every_operator(), seed=1, images=2)
    return {name: values[image : image + 1] for name, values in drawn.items()}
