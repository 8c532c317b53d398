"""Tokens: enough for every order, by an independent proof, and none that is not needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings

from intaglio.compiler.workload import Workload
from intaglio.errors import DesignError, VerificationError
from intaglio.sim.hazards import check_tokens
from intaglio.templates.npu.design import NpuDesign
from intaglio.templates.npu.drafts import Box, Draft, Space
from intaglio.templates.npu.isa import Instruction, Opcode, Unit, decode, encode
from intaglio.templates.npu.program import Program
from intaglio.templates.npu.schedule import schedule
from intaglio.templates.npu.tokens import Tokens, derive
from tests.compiler.builders import every_operator
from tests.templates.npu.networks import REPEATABLE, SMALL, designs, networks

SIZES = {Space.MEMORY: 16, Space.ACTIVATION: 16, Space.WEIGHT: 16, Space.ACCUMULATOR: 16}


def draft(opcode: Opcode, reads: tuple[Box, ...] = (), writes: tuple[Box, ...] = ()) -> Draft:
    return Draft(opcode, {}, 0, reads, writes)


def words(space: Space, start: int, count: int) -> tuple[Box, ...]:
    return (Box.line(space, start, count),)


LOAD = draft(Opcode.LOAD, writes=words(Space.ACTIVATION, 0, 4))
COMPUTE = draft(Opcode.COMPUTE, words(Space.ACTIVATION, 2, 4), words(Space.ACCUMULATOR, 0, 4))
DRAIN = draft(Opcode.DRAIN, words(Space.ACCUMULATOR, 3, 1), words(Space.ACTIVATION, 8, 4))
STORE = draft(Opcode.STORE, words(Space.ACTIVATION, 8, 4), words(Space.MEMORY, 0, 4))


def test_a_read_waits_for_the_write() -> None:
    assert derive([LOAD, COMPUTE], SIZES) == [
        Tokens(push=(Unit.COMPUTE,)),
        Tokens(pop=(Unit.LOAD,)),
    ]


def test_a_write_waits_for_the_read() -> None:
    tokens = derive([LOAD, COMPUTE, LOAD], SIZES)
    assert tokens[1] == Tokens(pop=(Unit.LOAD,), push=(Unit.LOAD,))
    assert tokens[2] == Tokens(pop=(Unit.COMPUTE,))


def test_strided_boxes_that_interleave_are_independent() -> None:
    even = Box(Space.ACTIVATION, 0, (1, 4, 2), (0, 4))
    odd = Box(Space.ACTIVATION, 2, (1, 3, 2), (0, 4))
    load = draft(Opcode.LOAD, writes=(even,))
    assert derive([load, draft(Opcode.COMPUTE, (odd,))], SIZES) == [Tokens(), Tokens()]


def test_what_another_unit_passed_on_is_not_waited_for_again() -> None:
    follower = draft(Opcode.STORE, (*words(Space.ACTIVATION, 8, 4), *words(Space.ACTIVATION, 0, 1)))
    tokens = derive([LOAD, COMPUTE, DRAIN, follower], SIZES)
    assert tokens[3].pop == (Unit.VECTOR,)
    assert tokens[0].push == (Unit.COMPUTE,)


def test_a_counter_that_would_overflow() -> None:
    box = [words(Space.ACTIVATION, i, 1) for i in range(300)]
    loads = [draft(Opcode.LOAD, writes=b) for b in box]
    computes = [draft(Opcode.COMPUTE, b) for b in box]
    with pytest.raises(DesignError) as caught:
        derive([*loads, *computes], SIZES | {Space.ACTIVATION: 300})
    assert str(caught.value) == (
        "instruction 255 leaves more than 255 tokens for the compute unit; lower the number of "
        "slots by smaller buffers"
    )


@settings(REPEATABLE, max_examples=25)
@given(networks(), designs())
def test_every_conflict_is_ordered(workload: Workload, design: NpuDesign) -> None:
    try:
        program = schedule(workload, design)
    except DesignError:
        assume(False)
    check_tokens(program)


def without(program: Program, producer: int, target: Unit) -> Program:
    """`program` without the token that instruction `producer` gives to `target`."""
    items = list(decode(program.instructions))
    source = items[producer].unit
    given_before = sum(target in item.push for item in items[:producer] if item.unit == source)
    takers = [i for i, item in enumerate(items) if item.unit == target and source in item.pop]
    for index, field, unit in (
        (producer, "push", target),
        (takers[given_before], "pop", source),
    ):
        kept = tuple(u for u in getattr(items[index], field) if u != unit)
        items[index] = _changed(items[index], field, kept)
    return replace(program, instructions=encode(items))


def _changed(item: Instruction, field: str, units: tuple[Unit, ...]) -> Instruction:
    pop, push = (units, item.push) if field == "pop" else (item.pop, units)
    return Instruction(item.opcode, dict(item.fields), pop, push, item.layer, item.mark)


def test_no_token_can_be_left_out() -> None:
    program = schedule(every_operator(), SMALL)
    items = decode(program.instructions)
    pairs = [(index, unit) for index, item in enumerate(items) for unit in item.push]
    assert len(pairs) > 50
    for index, unit in pairs[:: max(1, len(pairs) // 40)]:
        with pytest.raises(VerificationError):
            check_tokens(without(program, index, unit))
