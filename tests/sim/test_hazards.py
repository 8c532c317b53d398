"""The proof that tokens order every conflict: what it accepts, and what it finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intaglio.errors import VerificationError
from intaglio.sim.hazards import check_tokens
from intaglio.sim.isa import run
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode, Unit, decode, encode
from intaglio.templates.npu.program import Program
from tests.sim import handmade
from tests.sim.programs import LINE, SMALL, double_buffered, make


def without_token(program: Program, index: int, source: Unit) -> Program:
    """`program` without the token that instruction `index` pops from `source`."""
    instructions = list(decode(program.instructions))
    target = instructions[index].unit
    popped = sum(source in item.pop for item in instructions[: index + 1] if item.unit == target)
    pushers = [
        k for k, item in enumerate(instructions) if item.unit == source and target in item.push
    ]
    pusher = pushers[popped - 1]
    popper, giver = instructions[index], instructions[pusher]
    instructions[index] = replace(popper, pop=tuple(u for u in popper.pop if u != source))
    instructions[pusher] = replace(giver, push=tuple(u for u in giver.push if u != target))
    return replace(program, instructions=encode(instructions))


def test_ordered_programs_are_accepted() -> None:
    check_tokens(handmade.program())
    check_tokens(double_buffered(SMALL, 8))


def tokens_of(program: Program) -> list[tuple[int, Unit]]:
    instructions = decode(program.instructions)
    return [(k, source) for k, item in enumerate(instructions) for source in item.pop]


def accepted(program: Program) -> bool:
    try:
        check_tokens(program)
    except VerificationError as error:
        if "with no token that it comes after" in str(error):
            return False
        raise
    return True


def test_a_missing_token_is_found_or_makes_no_difference() -> None:
    program = handmade.program()
    inputs = {"x": np.arange(75).reshape(1, 3, 5, 5)}
    expected = run(program, inputs)
    redundant = []
    for token in tokens_of(program):
        changed = without_token(program, *token)
        if not accepted(changed):
            continue
        redundant.append(token)
        for seed in range(10):
            got = run(changed, inputs, seed)
            assert all(np.array_equal(got[name], expected[name]) for name in expected)
    assert redundant == [(3, Unit.LOAD)]


def test_missing_tokens_of_a_double_buffered_program_are_found() -> None:
    program = double_buffered(SMALL, 4)
    found = [t for t in tokens_of(program) if not accepted(without_token(program, *t))]
    step = 2 * 5
    assert {(index - step, unit) for index, unit in found if step <= index < step + 5} == {
        (0, Unit.VECTOR), (2, Unit.LOAD), (3, Unit.COMPUTE), (3, Unit.STORE), (4, Unit.VECTOR),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        (
            Instruction(Opcode.LOAD, {**LINE, "words": 4, "local_address": 9}),
            Instruction(Opcode.STORE, {**LINE, "words": 1, "local_address": 12}),
            "instruction 1 (layer 'layer 0', STORE) reads word 12 of the activation buffer with no "
            "token that it comes after instruction 0 (layer 'layer 0', LOAD), which uses it too",
        ),
        (
            Instruction(Opcode.STORE, {**LINE, "words": 2, "memory_address": 64}),
            Instruction(
                Opcode.LOAD, {**LINE, "words": 2, "memory_address": 68, "local_address": 50}
            ),
            "instruction 1 (layer 'layer 0', LOAD) reads beat 17 of memory with no token that it "
            "comes after instruction 0 (layer 'layer 0', STORE), which uses it too",
        ),
        (
            Instruction(
                Opcode.COMPUTE,
                {"blocks": 1, "fy": 1, "fx": 1, "y": 1, "x": 1, "weight_address": 32},
            ),
            Instruction(
                Opcode.LOAD,
                {**LINE, "words": 1, "buffer": Buffer.WEIGHT, "local_address": 39},
            ),
            "instruction 1 (layer 'layer 0', LOAD) writes word 39 of the weight buffer with no "
            "token that it comes after instruction 0 (layer 'layer 0', COMPUTE), which uses it too",
        ),
        (
            Instruction(
                Opcode.COMPUTE, {"blocks": 1, "fy": 1, "fx": 1, "y": 1, "x": 1, "acc_address": 16}
            ),
            Instruction(Opcode.DRAIN, {"y": 1, "x": 1, "source_address": 20}),
            "instruction 1 (layer 'layer 0', DRAIN) reads half 1 of the accumulators with no token "
            "that it comes after instruction 0 (layer 'layer 0', COMPUTE), which uses it too",
        ),
        (
            Instruction(
                Opcode.WINDOW_MAC,
                {"y": 1, "x": 1, "window_y": 1, "window_x": 2, "tap_address": 60},
            ),
            Instruction(
                Opcode.LOAD,
                {**LINE, "words": 1, "buffer": Buffer.WEIGHT, "local_address": 61},
            ),
            "instruction 1 (layer 'layer 0', LOAD) writes word 61 of the weight buffer with no "
            "token that it comes after instruction 0 (layer 'layer 0', WINDOW_MAC), which uses it "
            "too",
        ),
        (
            Instruction(
                Opcode.COMPUTE,
                {"blocks": 1, "fy": 1, "fx": 1, "y": 1, "x": 1, "act_address": 13},
            ),
            Instruction(Opcode.DRAIN, {"y": 1, "x": 1, "output_address": 4, "source_address": 16}),
            "instruction 1 (layer 'layer 0', DRAIN) writes word 4 of the activation buffer with no "
            "token that it comes after instruction 0 (layer 'layer 0', COMPUTE), which uses it too",
        ),
    ],
)
def test_a_conflict_names_place_and_instructions(
    first: Instruction, second: Instruction, sentence: str
) -> None:
    with pytest.raises(VerificationError) as caught:
        check_tokens(make([first, second]))
    assert str(caught.value) == sentence
    ordered = replace(first, push=(second.unit,)), replace(second, pop=(first.unit,))
    check_tokens(make(ordered))


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(VerificationError) as caught:
        check_tokens(make([Instruction(Opcode.LOAD, {**LINE, "words": 1, "local_address": 900})]))
    assert str(caught.value) == (
        "instruction 0 (layer 'layer 0', LOAD) writes word 900 of the activation buffer, which is "
        "not there"
    )


def test_order_is_handed_on_through_a_third_unit() -> None:
    load = Instruction(Opcode.LOAD, {**LINE, "words": 1}, push=(Unit.COMPUTE,))
    relay = Instruction(Opcode.SYNC_COMPUTE, pop=(Unit.LOAD,), push=(Unit.STORE,))
    store = Instruction(
        Opcode.STORE, {**LINE, "words": 1, "memory_address": 4096}, pop=(Unit.COMPUTE,)
    )
    check_tokens(make([load, relay, store]))
    with pytest.raises(VerificationError, match="reads word 0 of the activation buffer"):
        check_tokens(make([replace(load, push=()), replace(relay, pop=()), store]))


def test_a_token_of_an_earlier_instruction_does_not_order_a_later_one() -> None:
    early = Instruction(Opcode.SYNC_LOAD, push=(Unit.STORE,))
    load = Instruction(Opcode.LOAD, {**LINE, "words": 1}, push=(Unit.STORE,))
    store = Instruction(
        Opcode.STORE, {**LINE, "words": 1, "memory_address": 4096}, pop=(Unit.LOAD,)
    )
    with pytest.raises(VerificationError, match="reads word 0 of the activation buffer"):
        check_tokens(make([early, load, store]))
    check_tokens(make([load, early, store]))
