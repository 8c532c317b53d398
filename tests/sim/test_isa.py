"""The interpreter: programs in the order of the text, in random orders, and what it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from intaglio.compiler.reference import run as reference
from intaglio.errors import UsageError, VerificationError
from intaglio.sim.isa import run
from intaglio.templates.npu.isa import Instruction, Opcode, Unit, encode
from intaglio.templates.npu.layout import TensorLayout
from intaglio.templates.npu.program import Program
from tests.sim import handmade
from tests.sim.programs import SMALL, make


def draw_input(seed: int = 3) -> dict[str, np.ndarray]:
    shape = handmade.program().tensors["x"].shape
    return {"x": np.random.default_rng(seed).integers(-128, 128, shape)}


def with_instructions(program: Program, instructions: Sequence[Instruction]) -> Program:
    return replace(program, instructions=encode(instructions))


def handmade_instructions() -> list[Instruction]:
    program = handmade.program()
    return list(handmade.instructions(program.design, dict(program.tensors), program.image.size))


@pytest.mark.parametrize("order", [None, 0, 1, 2, 3])
def test_a_network_equals_the_reference_in_every_order(order: int | None) -> None:
    inputs = draw_input()
    expected = reference(handmade.workload(), inputs)
    got = run(handmade.program(), inputs, order)
    assert set(got) == {"x", "conv", "pool"}
    for name, values in got.items():
        assert np.array_equal(values, expected[name])


def test_progress_counts_instructions() -> None:
    seen: list[tuple[int, int]] = []
    run(handmade.program(), draw_input(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 7) for k in range(1, 8)]


def test_a_missing_token_shows_in_a_random_order() -> None:
    instructions = handmade_instructions()
    drain, store = 3, 4
    instructions[drain] = replace(instructions[drain], push=(Unit.WINDOW,))
    instructions[store] = replace(instructions[store], pop=())
    program = with_instructions(handmade.program(), instructions)
    run(program, draw_input())
    sentences = set()
    for seed in range(8):
        try:
            run(program, draw_input(), seed)
        except VerificationError as error:
            sentences.add(str(error))
    assert sentences == {
        "tensor 'conv': byte 0 of its 100 was never written, or from a word that nothing has "
        "written"
    }


def test_a_token_that_nothing_pushes_is_refused_in_the_order_of_the_text() -> None:
    instructions = handmade_instructions()
    instructions[2] = replace(instructions[2], pop=(Unit.LOAD, Unit.STORE))
    with pytest.raises(VerificationError) as caught:
        run(with_instructions(handmade.program(), instructions), draw_input())
    assert str(caught.value) == (
        "instruction 2 (layer 'conv', COMPUTE) waits for a token of store, which no earlier "
        "instruction pushes"
    )


def test_a_deadlock_says_who_waits_for_whom() -> None:
    instructions = handmade_instructions()
    instructions[0] = replace(instructions[0], push=())
    with pytest.raises(VerificationError) as caught:
        run(with_instructions(handmade.program(), instructions), draw_input(), 0)
    assert str(caught.value) == (
        "deadlock: instruction 3 (layer 'conv', DRAIN) waits for a token of load; "
        "instruction 4 (layer 'conv', STORE) waits for a token of vector; "
        "instruction 5 (layer 'pool', WINDOW_MAX) waits for a token of vector"
    )


def sync(unit: Unit, pop: tuple[Unit, ...] = (), push: tuple[Unit, ...] = ()) -> Instruction:
    return Instruction(Opcode(unit), pop=pop, push=push)


def test_a_counter_that_overflows_is_refused_in_the_order_of_the_text() -> None:
    pushes = [sync(Unit.LOAD, push=(Unit.STORE,))] * 256
    with pytest.raises(VerificationError) as caught:
        run(make(pushes), {})
    assert str(caught.value) == (
        "instruction 255 (layer 'layer 0', SYNC_LOAD) pushes more than 255 tokens to store"
    )


def test_a_random_order_waits_for_room_in_a_full_counter() -> None:
    pushes = [sync(Unit.LOAD, push=(Unit.STORE,))] * 300
    run(make([*pushes[:250], sync(Unit.STORE, pop=(Unit.LOAD,)), *pushes[250:255]]), {}, 1)
    with pytest.raises(VerificationError) as caught:
        run(make(pushes), {}, 1)
    assert str(caught.value) == (
        "deadlock: instruction 255 (layer 'layer 0', SYNC_LOAD) waits for room for tokens to store"
    )


def test_a_queue_of_sixteen_bounds_a_random_order() -> None:
    waiting = [sync(Unit.STORE, pop=(Unit.LOAD,))] * 17
    pushes = [sync(Unit.LOAD, push=(Unit.STORE,))] * 17
    with pytest.raises(VerificationError) as caught:
        run(make([*waiting, *pushes]), {}, 0)
    assert str(caught.value) == (
        "deadlock: instruction 0 (layer 'layer 0', SYNC_STORE) waits for a token of load"
    )
    run(make([*waiting[:16], *pushes]), {}, 0)


def test_a_refusal_names_instruction_layer_and_opcode() -> None:
    load = Instruction(Opcode.LOAD, {"planes": 1, "rows": 1, "words": 257}, layer=1)
    with pytest.raises(VerificationError) as caught:
        run(make([sync(Unit.LOAD), load]), {})
    assert str(caught.value) == (
        "instruction 1 (layer 'layer 1', LOAD) reaches word 256 of the activation buffer, which "
        "ends at 255"
    )


def test_a_missing_input_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        run(handmade.program(), {})
    assert str(caught.value) == (
        "input 'x' is missing; give its integers under that name, of shape (1, 3, 5, 5)"
    )


def test_a_tensor_that_is_never_written_is_refused() -> None:
    layout = TensorLayout("y", (1, 4, 1, 1), (4, 1, 1), "blocked", 8192, SMALL.lanes, signed=True)
    with pytest.raises(VerificationError) as caught:
        run(make([sync(Unit.STORE)], tensors=[layout]), {})
    assert str(caught.value) == (
        "tensor 'y': byte 0 of its 4 was never written, or from a word that nothing has written"
    )
