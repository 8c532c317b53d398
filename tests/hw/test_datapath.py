"""The npu's buffers, and the units between them, against numpy, word for word and to the cycle."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from intaglio.templates.npu.isa import RECORD_WORDS, Instruction, Opcode
from tests.rtl.datapath import (
    Bench,
    Records,
    Shape,
    State,
    compute,
    random_conv,
    random_records,
    vector,
)

pytestmark = pytest.mark.rtl

SHAPES = (
    Shape(4, 1),
    Shape(4, 4, window_columns=1),
    Shape(16, 1),
    pytest.param(Shape(16, 2, window_columns=3), marks=pytest.mark.slow),
)
RECORD_ADDRESS = 8
TAP_ADDRESS = 32
TABLE_ADDRESS = 128
OUTPUTS = 64
"""First activation word that vector instructions write; below it they read."""
TRAFFIC = (192, 64)
PIPELINE, WINDOW_PIPELINE = 13, 15
"""Cycles from the last read of a DRAIN, and of a window, to its retirement."""
WINDOWS = (Opcode.WINDOW_MAC, Opcode.WINDOW_SUM, Opcode.WINDOW_MAX)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


def _conv(**fields: int) -> Instruction:
    ones = dict.fromkeys(("blocks", "fy", "fx", "y", "x"), 1)
    return Instruction(Opcode.COMPUTE, {**ones, **fields})


def _pixels(item: Instruction) -> int:
    return item["y"] * item["x"]


def _compute_latency(shape: Shape, item: Instruction) -> int:
    """Cycles of a COMPUTE on an idle unit, by the contract of npu_compute."""
    fill = max(shape.lanes >> item["packing"], 4)
    period = max(_pixels(item), fill)
    pipeline = fill + int(np.log2(shape.lanes)) + 6
    return (item["blocks"] * item["fy"] * item["fx"] - 1) * period + _pixels(item) + pipeline


def _check_compute(bench: Bench, items: list[Instruction], seed: int, jitter: int = 0) -> list[int]:
    state = State.random(bench.shape, np.random.default_rng(seed))
    bench.load(state)
    cycles, _ = bench.run(items, jitter=jitter)
    for item in items:
        compute(state, item)
    np.testing.assert_array_equal(bench.sums(), state.sums)
    return cycles.latencies


def test_buffers_hold_what_was_written(bench: Bench) -> None:
    state = State.random(bench.shape, np.random.default_rng(1))
    bench.load(state)
    np.testing.assert_array_equal(bench.activations(), state.activations)
    np.testing.assert_array_equal(bench.sums(), state.sums)


@pytest.mark.parametrize("seed", range(8))
def test_one_convolution(bench: Bench, seed: int) -> None:
    item = random_conv(bench.shape, np.random.default_rng(seed))
    assert _check_compute(bench, [item], seed) == [_compute_latency(bench.shape, item)]


def test_every_alignment(bench: Bench) -> None:
    """One pixel at every element of two words, across the end of the buffer too."""
    lanes = bench.shape.lanes
    last = (bench.shape.act_words - 1) * lanes
    starts = [*range(2 * lanes), *range(last, last + lanes)]
    items = [_conv(act_address=start, acc_address=i) for i, start in enumerate(starts)]
    _check_compute(bench, items, 2)


def test_one_pixel_over_many_tiles(bench: Bench) -> None:
    """The same accumulator in every tile: the shortest distance between its updates."""
    tiles = bench.shape.weight_words // (bench.shape.lanes * bench.shape.groups)
    for packing in range(3):
        item = _conv(blocks=tiles << packing, block_stride=5, input_signed=1, packing=packing)
        assert _check_compute(bench, [item], 3) == [_compute_latency(bench.shape, item)]


def test_extreme_products(bench: Bench) -> None:
    """The largest magnitudes of both signs, in every lane."""
    state = State.random(bench.shape, np.random.default_rng(4))
    state.activations[:] = np.resize([0, 255, 128, 127], state.activations.shape[0])[:, None]
    state.weights[:] = 128
    items = [
        _conv(x=4, x_stride=bench.shape.lanes, input_signed=signed, acc_address=4 * signed)
        for signed in (0, 1)
    ]
    bench.load(state)
    bench.run(items)
    for item in items:
        compute(state, item)
    np.testing.assert_array_equal(bench.sums(), state.sums)
    assert state.sums[1, 0] == -128 * 255 * bench.shape.lanes
    assert state.sums[6, 0] == 128 * 128 * bench.shape.lanes


@pytest.mark.parametrize("jitter", [0, 1, 2])
def test_instructions_back_to_back(bench: Bench, jitter: int) -> None:
    """Accumulating on what the instruction before wrote, with short and long tiles."""
    rng = np.random.default_rng(5)
    items: list[Instruction] = []
    for i in range(24):
        item = random_conv(bench.shape, rng, pixels=2 if i % 3 else 6)
        fields = dict(item.fields) | {"acc_address": i // 6 % 2 * bench.shape.acc_words}
        items.append(Instruction(Opcode.COMPUTE, fields))
    _check_compute(bench, items, 6, jitter)


def test_spacing_of_instructions(bench: Bench) -> None:
    """The next instruction's first fill hides under the last tile, up to one cycle."""
    shape = bench.shape
    for pixels in (1, shape.lanes, shape.lanes + 1, 40):
        items = [_conv(x=pixels, x_stride=1, blocks=2, acc_address=64 * (i % 2)) for i in range(6)]
        bench.load(State.random(shape, np.random.default_rng(7)))
        cycles, _ = bench.run(items)
        spacing = np.diff(cycles.retired)
        assert set(spacing) == {max(pixels, shape.lanes) + max(pixels, shape.lanes + 1)}


def _random_vector(
    opcode: Opcode, shape: Shape, rng: np.random.Generator, **chosen: int
) -> Instruction:
    """An instruction that reads below word OUTPUTS and writes above it."""
    fields = {
        "y": int(rng.integers(1, 5)),
        "x": int(rng.integers(1, 9)),
        "window_y": int(rng.integers(1, 4)),
        "window_x": int(rng.integers(1, 6)),
        "window_y_stride": int(rng.integers(0, 6)),
        "window_x_stride": int(rng.choice([0, 1, 1, 1, 2])),
        "source_y_stride": int(rng.integers(0, 5)),
        "source_x_stride": int(rng.integers(0, 4)),
        "source_address": int(rng.integers(0, 8)),
        "residual_address": int(rng.integers(0, 24)),
        "residual_row_stride": int(rng.integers(0, 9)),
        "output_address": int(rng.integers(OUTPUTS, OUTPUTS + 64)),
        "output_row_stride": int(rng.integers(9, 16)),
        "record_address": RECORD_ADDRESS,
        "tap_address": TAP_ADDRESS,
        "table_address": TABLE_ADDRESS,
        "group": int(rng.integers(0, shape.groups)),
        "lo": int(rng.integers(-200, 1)),
        "hi": int(rng.integers(1, 256)),
    }
    for name in ("input_signed", "residual", "residual_signed", "table", "output_high"):
        fields[name] = int(rng.integers(0, 2))
    if opcode is Opcode.DRAIN:
        fields["residual_wide"] = int(rng.integers(0, 2))
        fields["residual_high_offset"] = int(rng.integers(0, 8))
    return Instruction(opcode, fields | chosen)


def _vector_latency(shape: Shape, item: Instruction) -> int:
    """Cycles of a DRAIN or a window without contention, by the contracts of their units."""
    setup = RECORD_WORDS + 256 // shape.lanes * item["table"]
    if item.opcode is Opcode.DRAIN:
        reads = 2 if item["residual"] and item["residual_wide"] else 1
        return setup + _pixels(item) * reads + PIPELINE
    setup += item["window_y"] * item["window_x"] if item.opcode is Opcode.WINDOW_MAC else 0
    wide, stride = item["window_x"], item["source_x_stride"]
    slides = wide <= shape.window_columns and item["window_x_stride"] == 1 and 1 <= stride < wide
    columns = wide + (item["x"] - 1) * (stride if slides else wide)
    reads = item["y"] * item["window_y"] * columns
    return setup + reads + _pixels(item) * item["residual"] + WINDOW_PIPELINE


def _vector_state(
    shape: Shape, item: Instruction, rng: np.random.Generator
) -> tuple[State, Records]:
    """Random buffers and the records that suit the sums of `item`."""
    state = State.random(shape, rng)
    window = item["window_y"] * item["window_x"]
    top = {
        Opcode.DRAIN: 1 << 29,
        Opcode.WINDOW_MAC: 255 * 128 * window,
        Opcode.WINDOW_SUM: 255 * window,
        Opcode.WINDOW_MAX: 255,
    }[item.opcode]
    if item.opcode is Opcode.DRAIN:
        state.sums[:] = np.clip(state.sums, -top, top)
    records = random_records(shape.lanes, rng, top=top)
    state.weights[RECORD_ADDRESS : RECORD_ADDRESS + RECORD_WORDS] = records.words()
    return state, records


def _check_vector(bench: Bench, item: Instruction, seed: int, *, busy: bool = False) -> int:
    state, records = _vector_state(bench.shape, item, np.random.default_rng(seed))
    bench.load(state)
    first, words = TRAFFIC
    owned = state.activations[first : first + words].copy()
    traffic = TRAFFIC if busy else (0, 0)
    _, cycles = bench.run(vector=[item], traffic=traffic, background=owned, jitter=int(busy))
    vector(state, item, records)
    state.activations[first : first + words] = owned
    np.testing.assert_array_equal(bench.activations(), state.activations)
    return cycles.latencies[0]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("opcode", [Opcode.DRAIN, *WINDOWS])
def test_one_vector_instruction(bench: Bench, opcode: Opcode, seed: int) -> None:
    item = _random_vector(opcode, bench.shape, np.random.default_rng(seed))
    latency = _check_vector(bench, item, seed)
    contended = item["residual"] or opcode is not Opcode.DRAIN
    least = _vector_latency(bench.shape, item)
    assert least <= latency <= least + (_pixels(item) if contended else 0)


@pytest.mark.parametrize("signed", [0, 1])
def test_two_drains_make_the_halves_of_a_wide_sum(bench: Bench, signed: int) -> None:
    """The result and its residual have 16 bits; each DRAIN writes a byte of the result."""
    rng, lanes = np.random.default_rng(19), bench.shape.lanes
    lo, hi = (-30000, 32000) if signed else (0, 32767)
    state = State.random(bench.shape, rng)
    state.sums[:] = rng.integers(-(1 << 16), 1 << 16, state.sums.shape)
    if not signed:
        state.activations &= 127
    whole = np.full(lanes, 1 << 14)
    records = Records(1 << 13 + 0 * whole, whole, -whole * (1 - 2 * signed), 15 + 0 * whole)
    state.weights[RECORD_ADDRESS : RECORD_ADDRESS + RECORD_WORDS] = records.words()
    common = dict.fromkeys(("residual", "residual_wide", "residual_signed"), 1)
    common |= {"y": 2, "x": 8, "residual_address": 3, "residual_row_stride": 8}
    common |= {"residual_high_offset": 17, "record_address": RECORD_ADDRESS}
    drains = [
        Instruction(
            Opcode.DRAIN,
            common | {"output_high": half, "output_address": OUTPUTS + 32 * half,
            "output_row_stride": 8, "lo": lo >> 8 * half, "hi": hi >> 8 * half},
        )
        for half in range(2)
    ]  # fmt: skip
    bench.load(state)
    _, cycles = bench.run(vector=drains)
    found = bench.activations().astype(np.int64)
    kind = np.int8 if signed else np.uint8
    residual = state.activations[20:36].view(np.int8).astype(np.int64) << 8
    residual |= state.activations[3:19]
    total = state.sums[:16, :lanes].astype(np.int64) * records.m + residual * records.mr
    expected = np.clip(total + records.b >> records.s, lo, hi)
    high = found[OUTPUTS + 32 :][:16].astype(kind).astype(np.int64)
    np.testing.assert_array_equal(high << 8 | found[OUTPUTS:][:16], expected)
    assert len(np.unique(expected)) > 4 * lanes
    assert cycles.latencies[0] >= RECORD_WORDS + 2 * 16 + PIPELINE


@pytest.mark.parametrize("opcode", [Opcode.DRAIN, *WINDOWS])
def test_vector_amid_traffic(bench: Bench, opcode: Opcode) -> None:
    """Loads and stores use the activation buffer's second ports, valids and readies are random."""
    for seed in range(4):
        item = _random_vector(opcode, bench.shape, np.random.default_rng(seed), residual=1)
        _check_vector(bench, item, seed, busy=True)


def test_window_waits_for_its_own_writes(bench: Bench) -> None:
    """Reads and writes on the same bank: a write in flight delays a read by one cycle."""
    rng = np.random.default_rng(8)
    fixed = {"y": 1, "x": 32, "window_y": 1, "window_x": 1, "residual": 0, "table": 0}
    same = _random_vector(
        Opcode.WINDOW_SUM, bench.shape, rng, **fixed,
        source_address=0, source_x_stride=1, output_address=OUTPUTS,
    )  # fmt: skip
    other = Instruction(same.opcode, same.fields | {"output_address": OUTPUTS + 1})
    least = _vector_latency(bench.shape, same)
    assert sorted(_check_vector(bench, item, 9) for item in (same, other))[0] == least


@pytest.mark.parametrize("wide", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("opcode", WINDOWS)
def test_largest_window(bench: Bench, opcode: Opcode, wide: int) -> None:
    """As many taps as there may be, in windows that share all columns but one."""
    item = _random_vector(
        opcode, bench.shape, np.random.default_rng(10), y=1, x=6, window_y=64 // wide,
        window_x=wide, window_y_stride=0, source_x_stride=1, window_x_stride=1,
    )  # fmt: skip
    _check_vector(bench, item, 11)


@pytest.mark.parametrize("lo", [-128, 0])
def test_clamp_saturates(bench: Bench, lo: int) -> None:
    """Sums far outside the range of the result, on both sides."""
    shape = bench.shape
    item = _random_vector(
        Opcode.DRAIN, shape, np.random.default_rng(12), y=1, x=8, table=0, residual=0,
        source_address=0, lo=lo, hi=lo + 255,
    )  # fmt: skip
    state, _ = _vector_state(shape, item, np.random.default_rng(13))
    ones = np.ones(shape.lanes, dtype=np.int64)
    records = Records(0 * ones, 65535 * ones, 0 * ones, ones)
    state.weights[RECORD_ADDRESS : RECORD_ADDRESS + RECORD_WORDS] = records.words()
    info = np.iinfo(np.int32)
    state.sums[:8] = np.array([info.min, info.max, -1, 0, 1, -3, 1 << 20, -(1 << 20)])[:, None]
    bench.load(state)
    bench.run(vector=[item])
    vector(state, item, records)
    np.testing.assert_array_equal(bench.activations(), state.activations)
    row = state.activations[item["output_address"] :][:4, 0]
    assert row.tolist() == [lo & 255, (lo + 255) & 255, lo & 255, 0]


def test_vector_instructions_in_turn(bench: Bench) -> None:
    """Each reads what the one before wrote; modes, records and tables change in between."""
    rng = np.random.default_rng(14)
    state = State.random(bench.shape, rng)
    state.sums[:] = np.clip(state.sums, -(1 << 20), 1 << 20)
    items, all_records = [], []
    opcodes = (Opcode.DRAIN, *WINDOWS)
    for i in range(8):
        records = random_records(bench.shape.lanes, rng, top=1 << 20)
        address = 160 + RECORD_WORDS * i
        state.weights[address : address + RECORD_WORDS] = records.words()
        source, output = (0, OUTPUTS) if i % 2 == 0 else (OUTPUTS, 0)
        items.append(
            _random_vector(
                opcodes[i % 4],
                bench.shape,
                rng,
                record_address=address,
                y=2,
                window_y_stride=1,
                source_address=0 if opcodes[i % 4] is Opcode.DRAIN else source,
                source_y_stride=2,
                residual_address=source,
                residual_row_stride=4,
                output_address=output,
                table_address=i,
            )  # fmt: skip
        )
        all_records.append(records)
    bench.load(state)
    bench.run(vector=items)
    for item, records in zip(items, all_records, strict=True):
        vector(state, item, records)
    np.testing.assert_array_equal(bench.activations(), state.activations)


@pytest.mark.parametrize("jitter", [0, 3])
def test_both_units_at_once(bench: Bench, jitter: int) -> None:
    """Compute fills one half of the accumulators while vector drains the other."""
    shape = bench.shape
    rng = np.random.default_rng(15)
    drain = _random_vector(
        Opcode.DRAIN, shape, rng, y=4, x=8, source_address=shape.acc_words, residual=1
    )
    state, records = _vector_state(shape, drain, rng)
    drains = [drain] * 3
    convs = [
        _conv(
            blocks=2, y=4, x=8, x_stride=1, y_stride=3, block_stride=7, accumulate=1,
            weight_address=tile * shape.lanes * shape.groups,
        )
        for tile in range(6)
    ]  # fmt: skip
    bench.load(state)
    bench.run(convs, drains, jitter=jitter)
    for item in convs:
        compute(state, item)
    vector(state, drain, records)
    np.testing.assert_array_equal(bench.sums(), state.sums)
    np.testing.assert_array_equal(bench.activations(), state.activations)


@pytest.mark.parametrize("cycles", [1, 7, 40, 90])
def test_reset_amid_instructions(bench: Bench, cycles: int) -> None:
    """After a reset the units are idle and the next instructions are right."""
    rng = np.random.default_rng(16)
    bench.start(
        _conv(x=30, blocks=4), _random_vector(Opcode.DRAIN, bench.shape, rng, y=4, table=1), cycles
    )
    assert bench.busy() == 3
    bench.reset()
    assert bench.busy() == 0
    item = random_conv(bench.shape, rng)
    assert _check_compute(bench, [item], 17) == [_compute_latency(bench.shape, item)]
    _check_vector(bench, _random_vector(Opcode.WINDOW_MAC, bench.shape, rng), 18)
