"""SOFTMAX and NORM in the interpreter: results, their order, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from intaglio.compiler import numerics
from intaglio.compiler.tensor import ElementType
from intaglio.errors import VerificationError
from intaglio.sim import effects
from intaglio.sim.localise import _position
from intaglio.sim.machine import Machine
from intaglio.templates.npu.isa import Instruction, Opcode
from tests.rtl import rows
from tests.sim.programs import SMALL

LANES = SMALL.lanes
PLACES = {
    "blocks": 3, "rows": 2, "source_address": 4, "source_block_stride": 5,
    "source_high_offset": 20, "source_row_stride": 2, "output_address": 60,
    "output_block_stride": 7, "output_row_stride": 3,
}  # fmt: skip
SOFTMAX = {
    **PLACES, "entries": 11, "multiplier": 9 << 16, "shift": 8, "largest": 255, "mask": 1,
    "mask_address": 90, "mask_row_stride": 4, "mask_block_stride": 1,
}  # fmt: skip
NORM = {
    **PLACES, "count": 10, "epsilon_low": 5, "fraction": 20, "lo": -700, "hi": 900,
    "record_address": 2, "output_high_offset": 1,
}  # fmt: skip


@pytest.fixture
def machine() -> Machine:
    """A machine whose buffers hold random, defined content."""
    made = Machine(SMALL, 64)
    for storage in (made.activation, made.weight):
        storage.defined[: storage.size] = True
    return made


def words(machine: Machine) -> np.ndarray:
    """The activation buffer, uint8 (words, lanes)."""
    storage = machine.activation
    return storage.data[: storage.size].reshape(-1, LANES)


def _clear_padding(machine: Machine) -> None:
    """The lanes beyond the elements of a NORM."""
    for row in range(NORM["rows"]):
        last = NORM["source_address"] + 2 * NORM["source_block_stride"] + 2 * row
        for word in (last, last + NORM["source_high_offset"]):
            words(machine)[word, NORM["count"] - 2 * LANES :] = 0


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("mask", [0, 1])
def test_softmax(machine: Machine, wide: int, signed: int, mask: int) -> None:
    fields = {**SOFTMAX, "input_wide": wide, "input_signed": signed, "mask": mask}
    item = Instruction(Opcode.SOFTMAX, fields)
    expected = words(machine).copy()
    rows.softmax(expected, item)
    machine.execute(item)
    assert np.array_equal(words(machine), expected)


@pytest.mark.parametrize("wide", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("centred", [0, 1])
@pytest.mark.parametrize("half", [0, 1])
def test_norm(machine: Machine, wide: int, signed: int, centred: int, half: int) -> None:
    gamma, beta = np.random.default_rng(3).normal(size=(2, NORM["count"]))
    element = ElementType(16 if wide else 8, "signed" if signed else "unsigned")
    chosen = numerics.choose_norm("n", 0.1, element, NORM["count"], 1e-5, gamma, beta, 0.01)
    records = {
        "multiplier": chosen.multiplier,
        "shift": chosen.shift,
        "bias": chosen.bias,
    }
    stored = rows.record_words(records, LANES)
    machine.weight.data[2 * LANES :][: stored.size] = stored.reshape(-1)
    own = {"input_wide": wide, "input_signed": signed, "centred": centred, "output_wide": half}
    own |= {"epsilon_low": chosen.epsilon & 0xFFFFFFFF, "epsilon_high": chosen.epsilon >> 32}
    item = Instruction(Opcode.NORM, {**NORM, **own, "fraction": chosen.fraction})
    _clear_padding(machine)
    expected = words(machine).copy()
    rows.norm(expected, item, records)
    machine.execute(item)
    assert np.array_equal(words(machine), expected)


def test_a_norm_goes_again_over_the_rows_of_the_one_before_alone(machine: Machine) -> None:
    _clear_padding(machine)
    again = Instruction(Opcode.NORM, {**NORM, "again": 1})
    sentence = "goes again over rows that are not those of the NORM before it"
    with pytest.raises(VerificationError, match=sentence):
        machine.execute(again)
    machine.execute(Instruction(Opcode.NORM, NORM))
    made = words(machine).copy()
    machine.execute(again)
    assert np.array_equal(words(machine), made)
    words(machine)[NORM["source_address"], 0] ^= 1
    with pytest.raises(VerificationError, match=sentence):
        machine.execute(again)


@pytest.mark.parametrize(
    ("opcode", "fields", "sentence"),
    [
        (Opcode.NORM, {**NORM, "rows": 0}, "has the extent 'rows' of 0, the least is 1"),
        (Opcode.NORM, {**NORM, "rows": 65}, "has 65 rows, the norm unit keeps 64"),
        (Opcode.NORM, {**NORM, "count": 13}, "has rows of 13 elements in 12 lanes"),
        (Opcode.NORM, NORM, "has lanes beyond its 10 elements that are not 0"),
        (Opcode.SOFTMAX, {**SOFTMAX, "entries": 0}, "has rows of 0 entries in 12 lanes"),
        (Opcode.SOFTMAX, {**SOFTMAX, "entries": 13}, "has rows of 13 entries in 12 lanes"),
    ],
)
def test_refusals(machine: Machine, opcode: Opcode, fields: dict[str, int], sentence: str) -> None:
    with pytest.raises(VerificationError) as caught:
        machine.execute(Instruction(opcode, fields))
    assert str(caught.value) == sentence


def test_a_mask_that_nothing_wrote_is_refused(machine: Machine) -> None:
    machine.activation.defined[LANES * 94] = False
    with pytest.raises(VerificationError) as caught:
        machine.execute(Instruction(Opcode.SOFTMAX, SOFTMAX))
    assert str(caught.value) == (
        "reads word 94 of the activation buffer, which nothing has written"
    )


def test_results_come_row_by_row_or_block_by_block(machine: Machine) -> None:
    _clear_padding(machine)
    softmax, norm = Instruction(Opcode.SOFTMAX, SOFTMAX), Instruction(Opcode.NORM, NORM)
    by_rows, by_blocks = (effects.execute(machine, item) for item in (softmax, norm))
    assert by_rows is not None
    assert by_blocks is not None
    assert by_rows.addresses.tolist() == [60, 67, 74, 63, 70, 77]
    assert by_blocks.addresses.tolist() == [60, 63, 67, 70, 74, 77]
    assert _position(softmax, 4, SMALL) == "row 1, block 1 of its tile"
    assert _position(norm, 4, SMALL) == "row 0, block 2 of its tile"
