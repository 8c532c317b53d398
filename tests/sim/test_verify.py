"""`verify` on a small network: green as built, red for every way of breaking it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from intaglio.compiler import reference
from intaglio.errors import UsageError, VerificationError
from intaglio.hw.npu_model import DRIVER
from intaglio.hw.sources import rtl_sources
from intaglio.hw.verilator import Model
from intaglio.sim import isa
from intaglio.sim.npu import simulate
from intaglio.sim.verify import Bench, verify
from intaglio.templates.deployment import whole
from intaglio.templates.npu.isa import Instruction, decode, encode
from intaglio.templates.npu.program import Program
from tests.rtl.faults import faulty_sources
from tests.sim import handmade

pytestmark = pytest.mark.rtl

WORDS = handmade.SIZE**2 + handmade.POOLED**2
CONV_STORE, POOL_STORE = 4, 6
SIZES = (
    ("Lanes", handmade.DESIGN.lanes),
    ("Groups", handmade.DESIGN.groups),
    ("ActWords", handmade.DESIGN.activation_words),
    ("WeightWords", handmade.DESIGN.weight_words),
    ("AccWords", handmade.DESIGN.accumulator_words),
    ("MemBytes", handmade.DESIGN.memory_bytes_per_cycle),
)


def _bench(program: Program | None = None, sources: tuple[Path, ...] | None = None) -> Bench:
    hardware = Model(sources or rtl_sources("npu"), "npu_top", DRIVER, SIZES)
    return Bench(whole(handmade.workload(), program or handmade.program()), hardware)


def _with_fields(index: int, **fields: int) -> Program:
    """The program with fields of one instruction changed."""
    program = handmade.program()
    items = list(decode(program.instructions))
    old = items[index]
    changed = {**old.fields, **fields}
    items[index] = Instruction(old.opcode, changed, old.pop, old.push, old.layer, old.mark)
    return replace(program, instructions=encode(items))


def _with_constant(byte: int, value: int) -> Program:
    """The program with one byte of its constants changed."""
    program = handmade.program()
    image = program.image.copy()
    image[byte] = value
    return replace(program, image=image)


def test_equal_words_and_cycles(model_cache: Path) -> None:
    report = verify(_bench(), images=3, seed=1, cache=model_cache)
    assert report.passed
    assert report.first is None
    assert report.words_compared == 3 * WORDS
    assert report.cycles_simulated == simulate(handmade.program()).cycles == report.cycles_rtl
    assert report.cycles_by_image == (report.cycles_rtl,) * 3
    assert [layer.name for layer in report.layers] == ["conv", "pool"]
    assert sum(layer.rtl for layer in report.layers) == report.cycles_rtl
    assert sum(layer.simulated for layer in report.layers) == report.cycles_simulated
    assert [unit.instructions for unit in report.units] == [2, 1, 1, 2, 1]


def test_random_stalls_change_no_word(model_cache: Path) -> None:
    quiet = verify(_bench(), cache=model_cache)
    for seed in range(4):
        report = verify(replace(_bench(), stall_permille=400), seed=seed, cache=model_cache)
        assert report.passed
        assert report.cycles_rtl > quiet.cycles_rtl


def test_report_as_json_and_text(model_cache: Path) -> None:
    report = verify(_bench(), images=2, seed=7, cache=model_cache)
    found = report.to_dict()
    assert found["words_compared"] == 2 * WORDS
    assert found["mismatches"] == 0
    assert found["cycles_rtl"] == report.cycles_rtl
    assert found["cycles_simulated"] == report.cycles_simulated
    assert found["first_difference"] is None
    lines = str(report).splitlines()
    assert lines[0] == f"handmade: {2 * WORDS} words of 2 images compared, equal"
    assert lines[2] == "layer          RTL measured     simulated   error"
    assert lines[-1].split()[:3] == ["whole", "network", str(report.cycles_rtl)]


def test_progress_counts_cycles(model_cache: Path) -> None:
    steps: list[tuple[str, int, int]] = []
    report = verify(
        _bench(), images=2, cache=model_cache, progress=lambda *step: steps.append(step)
    )
    expected = report.cycles_simulated
    assert ("run image 1 of 2 in RTL", 0, expected) in steps
    assert ("run image 2 of 2 in RTL", 0, expected) in steps


MUTATIONS = {
    "requantiser": ("npu_lane.sv", "$signed(main_q + bias_q)", "$signed(main_q - bias_q)"),
    "array addresses": ("npu_compute.sv", "if (fx_last_q) fy_base_q", "if (fy_last_q) fy_base_q"),
    "load addresses": ("npu_box_words.sv", "row_addr_q <= row_addr_next;", ""),
}


@pytest.mark.parametrize("part", MUTATIONS)
def test_mutated_hardware_is_found(part: str, model_cache: Path, tmp_path: Path) -> None:
    report = verify(_bench(sources=faulty_sources(tmp_path, *MUTATIONS[part])), cache=model_cache)
    assert not report.passed
    assert report.first is not None
    assert report.first.layer == "conv"


def test_mutated_weight_is_found_where_it_acts(model_cache: Path) -> None:
    program = _with_constant(0, handmade.program().image[0] ^ 0x40)
    report = verify(_bench(program), seed=5, cache=model_cache)
    inputs = _drawn(seed=5)
    wanted = reference.run(handmade.workload(), inputs)["conv"]
    found = isa.run(program, inputs)["conv"]
    index = tuple(int(i) for i in np.argwhere(wanted != found)[0])
    assert report.first is not None
    assert (report.first.tensor, report.first.channel) == ("conv", index[1])
    assert report.first.position == index[2:]
    assert (report.first.expected, report.first.got) == (wanted[index], found[index])
    assert str(report).splitlines()[1] == (
        f"first difference: image 0, layer 'conv': tensor 'conv' channel {index[1]}, "
        f"position {index[2:]}: expected {wanted[index]}, got {found[index]}"
    )


def _drawn(seed: int) -> Mapping[str, NDArray[np.int64]]:
    shape = handmade.workload().tensor("x").shape
    return {"x": np.random.default_rng(seed).integers(-128, 127, shape, endpoint=True)}


def test_padding_lane_that_is_not_zero_is_found(model_cache: Path) -> None:
    lane = handmade.DESIGN.lanes - 1
    bias = handmade.KERNEL**2 * handmade.DESIGN.lanes**2 + lane
    report = verify(_bench(_with_constant(bias, 6)), cache=model_cache)
    assert report.first is not None
    assert str(report.first) == (
        "image 0, layer 'conv': tensor 'conv' padding of channel 3, position (0, 0): "
        "expected 0, got 3"
    )
    assert report.mismatches == handmade.SIZE**2


def test_word_that_is_not_written_is_found(model_cache: Path) -> None:
    report = verify(_bench(_with_fields(POOL_STORE, rows=handmade.POOLED - 1)), cache=model_cache)
    assert report.mismatches == handmade.POOLED
    assert report.first is not None
    assert report.first.position == (1, 0)


def test_write_outside_the_tensors_is_found(model_cache: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        verify(_bench(_with_fields(POOL_STORE, memory_address=8)), cache=model_cache)
    assert re.fullmatch(
        r"the hardware wrote \d+ bytes outside the tensors it makes, the first in byte \d+ of "
        r"region 'constants'",
        str(caught.value),
    )


def test_hang_names_who_waits_for_whom(model_cache: Path, tmp_path: Path) -> None:
    sources = faulty_sources(
        tmp_path, "npu_tokens.sv", " = push_i[Units*f + t];", " = push_i[Units*f + t] && 1'b0;"
    )
    with pytest.raises(VerificationError) as caught:
        verify(_bench(sources=sources), cache=model_cache)
    sentence = re.sub(r"\d+ cycles", "N cycles", str(caught.value))
    assert sentence == (
        "the hardware made no progress until its watchdog ended, N cycles after the start, in "
        "layer 'conv': compute waits for a token of load; vector waits for a token of load and "
        "compute; store waits for a token of vector; window waits for a token of vector"
    )


def test_read_outside_memory_is_reported(model_cache: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        verify(_bench(_with_fields(1, memory_address=1 << 30)), cache=model_cache)
    sentence = re.sub(r"\d+ cycles", "N cycles", str(caught.value))
    assert sentence.startswith(
        "the hardware got an error response to a memory read, N cycles after the start, in "
        "layer 'conv'"
    )


def test_real_data_are_quantised(model_cache: Path) -> None:
    data = {"x": np.random.default_rng(2).normal(0, 40, (2, 3, handmade.SIZE, handmade.SIZE))}
    report = verify(_bench(), images=2, data=data, cache=model_cache)
    assert report.passed
    assert report.words_compared == 2 * WORDS


SHAPE = (3, handmade.SIZE, handmade.SIZE)
BAD_DATA = [
    ({"x": np.zeros((1, *SHAPE))}, 2,
     "data 'x' hold 1 images, 2 are asked for; ask for at most 1, or add images"),
    ({"x": np.zeros((1, 1, 5, 5))}, 1,
     "data 'x' have shape (1, 5, 5) an image, the network takes (3, 5, 5); reshape them, with the "
     "images along axis 0"),
    ({"x": np.full((1, *SHAPE), np.nan)}, 1,
     "data 'x' hold a value that is not a finite number; remove the images that do"),
    ({}, 1, "data for the input 'x' of shape (3, 5, 5) an image are missing; add them to the data "
     "under its name"),
    ({"y": np.zeros((1, *SHAPE))}, 1, "data key 'y' is no input of the network; the inputs are x"),
    (None, 0, "images is 0, at least 1 is needed; ask for 1 or more"),
]  # fmt: skip


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        verify(_bench(), images=1, seed=-1)
    assert str(caught.value) == "seed is -1, at least 0 is needed; give 0 or another"


@pytest.mark.parametrize(("data", "images", "sentence"), BAD_DATA)
def test_data_that_do_not_fit_are_refused(
    data: dict[str, NDArray[np.float64]] | None, images: int, sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        verify(_bench(), images=images, data=data)
    assert str(caught.value) == sentence
