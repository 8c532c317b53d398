"""`Machine`: every instruction against loops written from docs/npu.md, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from intaglio.errors import VerificationError
from intaglio.sim.machine import Machine
from intaglio.templates.npu.isa import Buffer, Instruction, Opcode
from tests.sim.programs import SMALL

LANES = SMALL.lanes
MEMORY = 4096


@pytest.fixture
def machine() -> Machine:
    """A machine whose memory and buffers hold random, defined content."""
    made = Machine(SMALL, MEMORY)
    for storage in (made.memory, made.activation, made.weight):
        storage.defined[: storage.size] = True
    return made


def words(storage: np.ndarray) -> np.ndarray:
    """Bytes as words, of shape (count, lanes)."""
    return storage[: storage.size // LANES * LANES].reshape(-1, LANES)


def test_load_pads_every_side_of_every_plane(machine: Machine) -> None:
    fields = {
        "planes": 2, "rows": 3, "words": 2, "fill": 0x80, "memory_address": 64,
        "memory_plane_stride": 256, "memory_row_stride": 32, "local_address": 5,
        "local_plane_stride": 60, "local_row_stride": 9,
        "pad_top": 1, "pad_bottom": 2, "pad_left": 2, "pad_right": 1,
    }  # fmt: skip
    before = machine.activation.data.copy()
    machine.execute(Instruction(Opcode.LOAD, fields))
    expected = words(before).copy()
    for plane, row, column in product(range(2), range(6), range(5)):
        inside = 1 <= row < 4 and 2 <= column < 4
        start = 64 + 256 * plane + 32 * (row - 1) + LANES * (column - 2)
        value = machine.memory.data[start : start + LANES] if inside else 0x80
        expected[5 + 60 * plane + 9 * row + column] = value
    assert np.array_equal(words(machine.activation.data), expected)


def test_load_of_contiguous_rows_ignores_the_row_stride(machine: Machine) -> None:
    fields = {
        "buffer": Buffer.WEIGHT, "contiguous": 1, "planes": 1, "rows": 3, "words": 4,
        "memory_row_stride": 999, "local_row_stride": 4,
    }  # fmt: skip
    machine.execute(Instruction(Opcode.LOAD, fields))
    assert np.array_equal(machine.weight.data[:48], machine.memory.data[:48])


def test_load_without_rows_writes_fill_alone(machine: Machine) -> None:
    fields = {"planes": 1, "words": 3, "pad_top": 2, "local_row_stride": 3, "fill": 7}
    machine.execute(Instruction(Opcode.LOAD, fields))
    assert (machine.activation.data[: 6 * LANES] == 7).all()


def test_store_is_the_way_back(machine: Machine) -> None:
    fields = {
        "planes": 2, "rows": 2, "words": 3, "memory_address": 128, "memory_plane_stride": 512,
        "memory_row_stride": 64, "local_address": 7, "local_plane_stride": 40,
        "local_row_stride": 11,
    }  # fmt: skip
    machine.execute(Instruction(Opcode.STORE, fields))
    for plane, row in product(range(2), range(2)):
        source = LANES * (7 + 40 * plane + 11 * row)
        target = 128 + 512 * plane + 64 * row
        assert np.array_equal(
            machine.memory.data[target : target + 3 * LANES],
            machine.activation.data[source : source + 3 * LANES],
        )


COMPUTE = {
    "blocks": 2, "fy": 2, "fx": 3, "y": 2, "x": 3, "act_address": 9, "weight_address": 6,
    "acc_address": 17, "block_stride": 101, "fy_stride": 33, "fx_stride": 5, "y_stride": 31,
    "x_stride": 7,
}  # fmt: skip


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("high", [0, 1])
def test_compute_sums_over_tiles_and_lanes(
    machine: Machine, signed: bool, accumulate: bool, high: int
) -> None:
    machine.accumulators[:] = np.arange(machine.accumulators.size).reshape(-1, SMALL.cols)
    machine.accumulated[:] = True
    fields = {**COMPUTE, "input_signed": int(signed), "accumulate": int(accumulate)}
    fields["input_high"] = high
    before = machine.accumulators.copy()
    machine.execute(Instruction(Opcode.COMPUTE, fields))
    tiles = machine.weight.data[6 * LANES :].view(np.int8)
    elements = machine.activation.data.view(np.int8 if signed else np.uint8)
    for y, x, column in product(range(2), range(3), range(SMALL.cols)):
        total = int(before[17 + 3 * y + x, column]) if accumulate else 0
        for tile, (block, fy, fx) in enumerate(product(range(2), range(2), range(3))):
            start = 9 + 101 * block + 33 * fy + 5 * fx + 31 * y + 7 * x
            for row in range(SMALL.rows):
                weight = int(tiles[(tile * SMALL.rows + row) * SMALL.cols + column])
                total += weight * int(elements[start + row]) * 256**high
        assert machine.accumulators[17 + 3 * y + x, column] == total


def test_a_tile_that_is_stored_by_columns_gives_the_sums_of_its_rows(machine: Machine) -> None:
    rows = Machine(replace(SMALL, row_lanes=1), MEMORY)
    rows.activation, rows.weight = machine.activation, machine.weight
    rows.execute(Instruction(Opcode.COMPUTE, COMPUTE))
    expected = rows.accumulators[17:23].copy()
    size, groups = SMALL.rows * SMALL.cols, SMALL.groups
    for tile in range(12):
        start = 6 * LANES + tile * size
        stored = rows.weight.data[start : start + size].copy()
        for row, column in product(range(SMALL.rows), range(SMALL.cols)):
            word = column % LANES * groups + column // LANES
            rows.weight.data[start + word * LANES + row] = stored[row * SMALL.cols + column]
    rows.execute(Instruction(Opcode.COMPUTE, {**COMPUTE, "fill_columns": 1}))
    assert np.array_equal(rows.accumulators[17:23], expected)


@pytest.mark.parametrize("packing", [1, 2])
def test_a_byte_holds_the_weights_of_several_rows(machine: Machine, packing: int) -> None:
    bits, words = 8 >> packing, SMALL.rows >> packing
    machine.execute(Instruction(Opcode.COMPUTE, {**COMPUTE, "packing": packing}))
    found = machine.accumulators[17:23].copy()
    packed = machine.weight.data[6 * LANES :][: 12 * words * SMALL.cols].copy()
    for tile, row, column in product(range(12), range(SMALL.rows), range(SMALL.cols)):
        byte = int(packed[(tile * words + row // (1 << packing)) * SMALL.cols + column])
        number = byte >> bits * (row % (1 << packing)) & (1 << bits) - 1
        place = 6 * LANES + (tile * SMALL.rows + row) * SMALL.cols + column
        machine.weight.data[place] = number - (number >> bits - 1 << bits) & 0xFF
    machine.execute(Instruction(Opcode.COMPUTE, COMPUTE))
    assert np.array_equal(machine.accumulators[17:23], found)


def test_packed_weights_need_an_array_that_has_them(machine: Machine) -> None:
    packed = {**COMPUTE, "packing": 2}
    with pytest.raises(VerificationError) as caught:
        Machine(replace(SMALL, weight_bits=4), MEMORY).execute(Instruction(Opcode.COMPUTE, packed))
    assert str(caught.value) == "takes weights of 2 bits, the array's have 4 or more"
    with pytest.raises(VerificationError) as caught:
        machine.execute(Instruction(Opcode.COMPUTE, {**packed, "fill_columns": 1}))
    assert str(caught.value) == "fills by columns with weights of 2 bits, not 8"


def test_tiles_by_columns_need_the_engines_of_rows(machine: Machine) -> None:
    with pytest.raises(VerificationError) as caught:
        machine.execute(Instruction(Opcode.COMPUTE, {**COMPUTE, "fill_columns": 1}))
    assert str(caught.value) == (
        "fills by columns, an array beside no engines of rows is filled by rows"
    )


def test_compute_in_small_steps_gives_the_same_sums(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.execute(Instruction(Opcode.COMPUTE, COMPUTE))
    whole = machine.accumulators[17:23].copy()
    monkeypatch.setattr("intaglio.sim.machine._GATHER_ELEMENTS", 1)
    machine.execute(Instruction(Opcode.COMPUTE, COMPUTE))
    assert np.array_equal(machine.accumulators[17:23], whole)


def requantised(machine: Machine, acc: int, residual: int, record: int, lane: int) -> int:
    """`(acc*m + r*mr + b) >> s` from the bytes of one lane's record, before the clamp."""
    raw = [int(machine.weight.data[(record + k) * LANES + lane]) for k in range(12)]
    bias = int.from_bytes(bytes(raw[:6]), "little", signed=True)
    factor = int.from_bytes(bytes(raw[9:11]), "little") * (-1 if raw[11] & 64 else 1)
    multiplier = int.from_bytes(bytes(raw[6:8]), "little")
    return (acc * multiplier + residual * factor + bias) >> (raw[11] & 63)


def draw_records(machine: Machine, record: int) -> None:
    """Legal records of one block of lanes, small enough for results inside the clamp."""
    rng = np.random.default_rng(5)
    raw = words(machine.weight.data)
    raw[record : record + 12] = rng.integers(0, 256, (12, LANES))
    raw[record + 4 : record + 6] = np.where(raw[record + 3] & 0x80, 0xFF, 0)
    raw[record + 11] = rng.integers(0, 2, LANES) * 64 + rng.integers(20, 30, LANES)


VECTOR = {
    "record_address": 100, "output_address": 200, "output_row_stride": 4, "y": 2, "x": 3,
    "lo": -100, "hi": 90,
}  # fmt: skip


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("table", [False, True])
@pytest.mark.parametrize("residual", [None, "signed", "unsigned"])
def test_drain_requantises(machine: Machine, group: int, table: bool, residual: str | None) -> None:
    draw_records(machine, 100)
    machine.accumulators[:] = np.random.default_rng(2).integers(
        -(1 << 16), 1 << 16, machine.accumulators.shape
    )
    machine.accumulated[:] = True
    fields = {
        **VECTOR, "source_address": 20, "group": group, "table": int(table),
        "table_address": 130, "residual": int(residual is not None),
        "residual_signed": int(residual == "signed"), "residual_address": 10,
        "residual_row_stride": 5,
    }  # fmt: skip
    expected = words(machine.activation.data).copy()
    for y, x, lane in product(range(2), range(3), range(LANES)):
        other = int(expected[10 + 5 * y + x, lane])
        if residual is None:
            other = 0
        elif residual == "signed":
            other -= 256 * (other > 127)
        acc = int(machine.accumulators[20 + 3 * y + x, group * LANES + lane])
        value = min(max(requantised(machine, acc, other, 100, lane), -100), 90)
        if table:
            value = int(machine.weight.data[130 * LANES + value % 256])
        expected[200 + 4 * y + x, lane] = value & 0xFF
    machine.execute(Instruction(Opcode.DRAIN, fields))
    assert np.array_equal(words(machine.activation.data), expected)


@pytest.mark.parametrize("half", [0, 1])
def test_drain_of_one_half_with_a_wide_residual(machine: Machine, half: int) -> None:
    draw_records(machine, 100)
    machine.accumulators[:] = np.random.default_rng(2).integers(
        -(1 << 20), 1 << 20, machine.accumulators.shape
    )
    machine.accumulated[:] = True
    lo, hi = -20000, 30000
    fields = {
        **VECTOR, "source_address": 20, "residual": 1, "residual_wide": 1, "residual_address": 10,
        "residual_row_stride": 5, "residual_high_offset": 30, "output_high": half,
        "lo": lo >> 8 * half, "hi": hi >> 8 * half,
    }  # fmt: skip
    expected = words(machine.activation.data).copy()
    for y, x, lane in product(range(2), range(3), range(LANES)):
        low, high = (int(expected[at + 5 * y + x, lane]) for at in (10, 40))
        other = low + 256 * (high - 256 * (high > 127))
        acc = int(machine.accumulators[20 + 3 * y + x, lane])
        value = min(max(requantised(machine, acc, other, 100, lane), lo), hi)
        expected[200 + 4 * y + x, lane] = value >> 8 * half & 0xFF
    machine.execute(Instruction(Opcode.DRAIN, fields))
    assert np.array_equal(words(machine.activation.data), expected)


REDUCE: dict[Opcode, Callable[[list[int], list[int]], int]] = {
    Opcode.WINDOW_MAC: lambda values, taps: sum(v * t for v, t in zip(values, taps, strict=True)),
    Opcode.WINDOW_SUM: lambda values, taps: sum(values),
    Opcode.WINDOW_MAX: lambda values, taps: max(values),
}


@pytest.mark.parametrize("opcode", REDUCE)
@pytest.mark.parametrize("signed", [False, True])
def test_window_reduces_then_requantises(machine: Machine, opcode: Opcode, signed: bool) -> None:
    draw_records(machine, 100)
    fields = {
        **VECTOR, "source_address": 3, "window_y": 2, "window_x": 3, "source_y_stride": 20,
        "source_x_stride": 2, "window_y_stride": 10, "window_x_stride": 1, "tap_address": 40,
        "input_signed": int(signed),
    }  # fmt: skip
    expected = words(machine.activation.data).copy()
    source = expected.view(np.int8) if signed else expected.copy()
    taps = words(machine.weight.data)[40:46].view(np.int8)
    for y, x, lane in product(range(2), range(3), range(LANES)):
        window = [
            int(source[3 + 20 * y + 2 * x + 10 * wy + wx, lane])
            for wy, wx in product(range(2), range(3))
        ]
        acc = REDUCE[opcode](window, taps[:, lane].tolist())
        value = min(max(requantised(machine, acc, 0, 100, lane), -100), 90)
        expected[200 + 4 * y + x, lane] = value & 0xFF
    machine.execute(Instruction(opcode, fields))
    assert np.array_equal(words(machine.activation.data), expected)


ONE = {"blocks": 1, "fy": 1, "fx": 1, "y": 1, "x": 1}
PIXEL = {"y": 1, "x": 1}


@pytest.mark.parametrize(
    ("opcode", "fields", "sentence"),
    [
        (
            Opcode.LOAD,
            {"planes": 1, "rows": 1, "words": 2, "memory_address": MEMORY - 4},
            "reaches byte 4099 of the memory, which ends at 4095",
        ),
        (
            Opcode.LOAD,
            {"planes": 1, "rows": 1, "words": 2, "local_address": 255},
            "reaches word 256 of the activation buffer, which ends at 255",
        ),
        (
            Opcode.STORE,
            {"planes": 1, "rows": 1, "words": 1, "memory_address": MEMORY},
            "reaches byte 4099 of the memory, which ends at 4095",
        ),
        (
            Opcode.COMPUTE,
            {**ONE, "act_address": 1024 + 4},
            "reaches word 257 of the activation buffer, which ends at 255",
        ),
        (
            Opcode.COMPUTE,
            {**ONE, "weight_address": 3},
            "takes weights from word 3, which is no multiple of the 2 words of a tile row",
        ),
        (
            Opcode.COMPUTE,
            {**ONE, "weight_address": 250},
            "reaches word 257 of the weight buffer, which ends at 255",
        ),
        (
            Opcode.COMPUTE,
            {**ONE, "x": 4, "acc_address": 14},
            "tile of accumulator words 14 to 17 crosses the half at 16",
        ),
        (
            Opcode.COMPUTE,
            {**ONE, "x": 4, "acc_address": 30},
            "reaches accumulator word 33, the last is 31",
        ),
        (
            Opcode.COMPUTE,
            {**ONE, "accumulate": 1},
            "adds to accumulators that nothing has written",
        ),
        (Opcode.COMPUTE, {**ONE, "fx": 0}, "has the extent 'fx' of 0, the least is 1"),
        (Opcode.DRAIN, PIXEL, "drains accumulators that nothing has written"),
        (Opcode.DRAIN, {**PIXEL, "group": 2}, "drains group 2, the array has 2"),
        (
            Opcode.WINDOW_MAC,
            {**PIXEL, "window_y": 13, "window_x": 5},
            "has 65 taps, the window unit holds 64",
        ),
        (Opcode.WINDOW_SUM, PIXEL, "has the extent 'window_y' of 0, the least is 1"),
    ],
)
def test_an_illegal_instruction_is_refused(
    machine: Machine, opcode: Opcode, fields: dict[str, int], sentence: str
) -> None:
    with pytest.raises(VerificationError) as caught:
        machine.execute(Instruction(opcode, fields))
    assert str(caught.value) == sentence


def test_an_undefined_word_is_refused_where_it_is_used() -> None:
    machine = Machine(SMALL, MEMORY)
    machine.weight.defined[:] = True
    load = {"planes": 1, "rows": 1, "words": 2}
    machine.memory.defined[:4] = True
    machine.execute(Instruction(Opcode.LOAD, load))
    machine.execute(Instruction(Opcode.COMPUTE, ONE))
    with pytest.raises(VerificationError) as caught:
        machine.execute(Instruction(Opcode.COMPUTE, {**ONE, "act_address": 1}))
    assert str(caught.value) == "reads word 1 of the activation buffer, which nothing has written"


def test_an_undefined_element_does_not_matter_under_zero_weights(machine: Machine) -> None:
    machine.weight.data[: 4 * SMALL.cols].reshape(4, SMALL.cols)[2:] = 0
    machine.execute(Instruction(Opcode.COMPUTE, {**ONE, "act_address": 1024 - 2}))
    elements = machine.activation.data[1022:1024].astype(int)
    weights = machine.weight.data[: 2 * SMALL.cols].view(np.int8).reshape(2, -1).astype(int)
    assert np.array_equal(machine.accumulators[0], elements @ weights)
