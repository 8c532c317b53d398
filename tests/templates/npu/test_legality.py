"""The order of tokens in a program: legal as it is made, and faults named by their instruction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intaglio.errors import ArtifactError
from intaglio.templates.npu.isa import HEADER, TOKEN_LIMIT, Instruction, Opcode, Unit, encode
from intaglio.templates.npu.legality import stop
from intaglio.templates.npu.program import load_program, save_program
from intaglio.templates.npu.schedule import schedule
from tests.compiler.builders import every_operator
from tests.sim.programs import make
from tests.templates.npu.networks import SMALL

GIVE = Instruction(Opcode.SYNC_LOAD, push=(Unit.VECTOR,))
TAKE = Instruction(Opcode.SYNC_VECTOR, pop=(Unit.LOAD,))
OTHER = Instruction(Opcode.SYNC_COMPUTE, pop=(Unit.LOAD,))


def test_a_legal_order_has_no_fault() -> None:
    assert stop(encode([])) is None
    assert stop(encode([GIVE, TAKE] * 300)) is None
    assert stop(encode([GIVE] * TOKEN_LIMIT + [TAKE] * TOKEN_LIMIT)) is None


def test_a_token_taken_before_it_is_given_is_named() -> None:
    fault = "instruction {} takes a token of load for {} that none before it gives"
    assert stop(encode([GIVE, TAKE, TAKE, GIVE])) == fault.format(2, "vector")
    assert stop(encode([GIVE, OTHER])) == fault.format(1, "compute")


def test_a_counter_that_passes_its_limit_is_named() -> None:
    items = [GIVE, TAKE, *[GIVE] * (TOKEN_LIMIT + 1)]
    assert stop(encode(items)) == "instruction 257 gives token 256 of load for vector, 255 fit"


def test_every_push_of_a_network_is_needed() -> None:
    """Without any one of the tokens that it gives, some instruction takes one that is not there."""
    words = schedule(every_operator(), SMALL).instructions
    assert stop(words) is None
    push = HEADER["push"]
    mask = np.uint32(((1 << push.width) - 1) << push.lsb)
    gives = np.flatnonzero(words[:, push.word] & mask)
    assert gives.size > 100
    for index in gives:
        changed = words.copy()
        changed[index, push.word] &= ~mask
        assert stop(changed) is not None, index


def test_such_a_program_is_not_loaded(tmp_path: Path) -> None:
    save_program(make([TAKE, GIVE]), tmp_path)
    with pytest.raises(ArtifactError) as caught:
        load_program(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'program.json'}: is corrupt (ValueError: instruction 0 takes a token of load "
        "for vector that none before it gives); compile the model again"
    )
