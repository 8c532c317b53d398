"""The instruction set: layout, binary round trip, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from intaglio.errors import ArtifactError, DesignError
from intaglio.templates.npu.isa import (
    FIELDS,
    HEADER,
    INSTRUCTION_WORDS,
    ISA_VERSION,
    Field,
    Instruction,
    Opcode,
    Unit,
    decode,
    encode,
)


@pytest.mark.parametrize("opcode", Opcode)
def test_no_two_fields_share_a_bit(opcode: Opcode) -> None:
    used = [0] * INSTRUCTION_WORDS
    for field in (*HEADER.values(), *FIELDS[opcode].values()):
        assert field.lsb + field.width <= 32
        bits = ((1 << field.width) - 1) << field.lsb
        assert not used[field.word] & bits
        used[field.word] |= bits


def _values(name: str, field: Field) -> st.SearchStrategy[int]:
    return st.integers(field.lo, (1 << 40) - 1 if name == "memory_address" else field.hi)


@st.composite
def instructions(draw: st.DrawFn) -> Instruction:
    opcode = draw(st.sampled_from(Opcode))
    fields = {
        name: draw(_values(name, field))
        for name, field in FIELDS[opcode].items()
        if name != "memory_address_high"
    }
    units = st.lists(st.sampled_from(Unit), unique=True).map(lambda u: tuple(sorted(u)))
    return Instruction(
        opcode,
        fields,
        pop=draw(units),
        push=draw(units),
        layer=draw(st.integers(0, 65535)),
        mark=draw(st.booleans()),
    )


@given(st.lists(instructions(), max_size=4))
def test_decode_inverts_encode(items: list[Instruction]) -> None:
    assert list(decode(encode(items))) == items


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(DesignError) as caught:
        Instruction(Opcode.DRAIN, {"lo": 40000})
    assert str(caught.value) == (
        "DRAIN: field 'lo' is 40000, outside -32768 to 32767; use smaller tiles"
    )


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(DesignError) as caught:
        Instruction(Opcode.LOAD, {"stride": 1})
    assert str(caught.value) == "LOAD has no field 'stride'"


def test_another_version_is_refused() -> None:
    words = encode([Instruction(Opcode.SYNC_LOAD)])
    words[0, 1] = ISA_VERSION + 1
    with pytest.raises(ArtifactError) as caught:
        decode(words)
    assert str(caught.value) == (
        f"instruction 0 is of ISA version {ISA_VERSION + 1}, this intaglio speaks {ISA_VERSION}; "
        "compile the model again"
    )


def test_an_unknown_opcode_is_refused() -> None:
    words = encode([Instruction(Opcode.SYNC_LOAD)])
    words[0, 0] |= np.uint32(0xFC)
    with pytest.raises(ArtifactError) as caught:
        decode(words)
    assert str(caught.value) == "instruction 0 has the unknown opcode 252"


def test_an_instruction_prints_its_tokens_and_fields() -> None:
    item = Instruction(
        Opcode.DRAIN,
        {"y": 2, "lo": -128},
        pop=(Unit.COMPUTE,),
        push=(Unit.STORE,),
        layer=7,
        mark=True,
    )
    assert str(item) == "  7 drain        pop=compute push=store y=2 lo=-128 mark"
