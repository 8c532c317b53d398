"""Comparison of writes: made by the interpreter, then spoiled in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from intaglio.hw.npu_observer import EventKind, Events
from intaglio.sim import effects, isa
from intaglio.sim.divergence import IN_PROGRAM, Comparison, Divergence
from intaglio.sim.machine import Machine
from intaglio.templates.npu.isa import Instruction, Opcode, decode, encode
from intaglio.templates.npu.program import Program
from tests.sim import handmade

Streams = dict[EventKind, Events]
SHAPE = handmade.workload().tensor("x").shape
INPUTS: Mapping[str, NDArray[np.int64]] = {
    "x": np.random.default_rng(3).integers(-128, 127, SHAPE, endpoint=True)
}
GAP = 100
"""Cycles between the retirement of an instruction and the first write of the next."""
LOAD_INPUT, COMPUTE, DRAIN, STORE, POOL, POOL_STORE = 1, 2, 3, 4, 5, 6


def _events(program: Program) -> Streams:
    """What hardware without a fault does, one instruction after another, a write a cycle."""
    machine = isa.loaded(program, INPUTS)
    lists: dict[EventKind, list[Events]] = {kind: [] for kind in EventKind}
    cycle = 0
    for instruction in decode(program.instructions):
        for kind, addresses, data in _writes(machine, instruction):
            cycles = cycle + np.arange(len(addresses))
            lists[kind].append(Events(cycles, addresses, data))
        cycle += sum(len(event) for event in lists[EventKind.ACCUMULATE]) + GAP
        retire = (np.array([cycle]), np.array([int(instruction.unit)]), np.zeros((1, 0), np.uint8))
        lists[EventKind.RETIRE].append(Events(*retire))
        cycle += GAP
    return {kind: _joined(parts) for kind, parts in lists.items()}


def _joined(parts: list[Events]) -> Events:
    events = parts[0]
    for part in parts[1:]:
        events = events.then(part)
    return events


Writes = list[tuple[EventKind, NDArray[np.int64], NDArray[np.uint8]]]


def _writes(machine: Machine, instruction: Instruction) -> Writes:
    design = machine.design
    if instruction.opcode is Opcode.COMPUTE:
        return _sums(machine, instruction)
    effect = effects.execute(machine, instruction)
    assert effect is not None
    found: Writes = [(effect.kind, effect.addresses, effect.data)]
    if instruction.opcode is Opcode.DRAIN:
        words = instruction["source_address"] + np.arange(len(effect.addresses))
        sums = machine.accumulators[words].view(np.uint8)
        found.append((EventKind.ACCUMULATOR_READ, words, sums))
    assert design.groups == 1
    return found


def _sums(machine: Machine, compute: Instruction) -> Writes:
    design = machine.design
    words = effects.tile_words(compute)
    data = []
    for tile in range(effects.tiles(compute)):
        machine.execute(effects.one_tile(compute, tile, design))
        data.append(machine.accumulators[words].view(np.uint8))
    elements, rows = effects.array_reads(compute), effects.weight_rows(compute, design)
    none = np.zeros((len(elements), 0), np.uint8)
    return [
        (EventKind.ACCUMULATE, np.tile(words, len(data)), np.concatenate(data)),
        (EventKind.ARRAY_READ, elements, none),
        (EventKind.WEIGHT_FILL, rows, none[: len(rows)]),
    ]


def _compare(streams: Streams, program: Program | None = None, parts: int = 1) -> Comparison:
    """The comparison of all events, fed in `parts`."""
    comparison = Comparison(program or handmade.program(), INPUTS)
    end = 1 + max(int(events.cycles.max()) for events in streams.values())
    for part in range(parts):
        since, until = (end * edge // parts for edge in (part, part + 1))
        for kind, events in streams.items():
            first, last = np.searchsorted(events.cycles, (since, until)).tolist()
            comparison.feed(kind, events[first:last])
        comparison.advance()
    comparison.advance(end)
    return comparison


def _spoiled(kind: EventKind, write: int, *, address: int = 0, byte: int | None = None) -> Streams:
    """Events with one address moved, or one byte of data changed."""
    streams = _events(handmade.program())
    events = streams[kind]
    addresses, data = events.addresses.copy(), events.data.copy()
    addresses[write] += address
    if byte is not None:
        data[write, byte] ^= 1
    return {**streams, kind: Events(events.cycles, addresses, data)}


@pytest.mark.parametrize("parts", [1, 7, 100])
def test_equal_writes_show_no_divergence(parts: int) -> None:
    assert _compare(_events(handmade.program()), parts=parts).found is None


FAULTS = [
    (EventKind.WEIGHT_LOAD, 0, 0, "buffer addresses"),
    (EventKind.ACTIVATION_LOAD, 9, LOAD_INPUT, "buffer addresses"),
    (EventKind.ACCUMULATE, 60, COMPUTE, "accumulator addresses"),
    (EventKind.ACTIVATION_VECTOR, 3, DRAIN, "output addresses"),
    (EventKind.MEMORY_STORE, 8, STORE, "memory addresses"),
    (EventKind.ACTIVATION_WINDOW, 1, POOL, "output addresses"),
    (EventKind.MEMORY_STORE, 27, POOL_STORE, "memory addresses"),
]


@pytest.mark.parametrize("parts", [1, 50])
@pytest.mark.parametrize(("kind", "write", "index", "stage"), FAULTS)
def test_a_wrong_address_is_pinned(
    kind: EventKind, write: int, index: int, stage: str, parts: int
) -> None:
    found = _compare(_spoiled(kind, write, address=4096), parts=parts).found
    assert found is not None
    assert (found.index, found.stage, found.expected) == (index, stage, None)
    assert "expected is" in found.what


DATA = [
    (EventKind.WEIGHT_LOAD, 5, 0, "data from memory"),
    (EventKind.ACTIVATION_VECTOR, 3, DRAIN, "requantisation"),
    (EventKind.MEMORY_STORE, 8, STORE, "data from the buffer"),
    (EventKind.ACTIVATION_WINDOW, 1, POOL, "window and requantisation"),
]


@pytest.mark.parametrize(("kind", "write", "index", "stage"), DATA)
def test_a_wrong_byte_is_pinned(kind: EventKind, write: int, index: int, stage: str) -> None:
    found = _compare(_spoiled(kind, write, byte=1)).found
    assert found is not None
    assert (found.index, found.stage, found.lane) == (index, stage, 1)
    assert found.expected is not None
    assert found.got is not None
    assert abs(found.expected - found.got) == 1


@pytest.mark.parametrize(("lo", "signed"), [(-128, True), (-129, False), (0, False)])
def test_the_low_byte_of_a_wide_result_has_no_sign(lo: int, signed: bool) -> None:
    items = list(decode(handmade.program().instructions))
    old = items[DRAIN]
    fields = {**old.fields, "lo": lo}
    items[DRAIN] = Instruction(old.opcode, fields, old.pop, old.push, old.layer, old.mark)
    program = replace(handmade.program(), instructions=encode(items))
    streams, kind = _events(program), EventKind.ACTIVATION_VECTOR
    data = streams[kind].data.copy()
    data[3, 1] ^= 128
    wrong = Events(streams[kind].cycles, streams[kind].addresses, data)
    found = _compare({**streams, kind: wrong}, program).found
    assert found is not None
    assert (found.expected, found.got) != (None, None)
    assert (min(found.expected or 0, found.got or 0) < 0) is signed


def test_the_sum_of_a_right_accumulator_clears_compute() -> None:
    found = _compare(_spoiled(EventKind.ACTIVATION_VECTOR, 3, byte=1)).found
    assert found is not None
    assert found.accumulator is not None
    expected, got = found.accumulator
    assert expected == got


def test_an_accumulator_that_is_read_wrong_is_told_apart() -> None:
    streams = _spoiled(EventKind.ACTIVATION_VECTOR, 3, byte=1)
    wrong = _spoiled(EventKind.ACCUMULATOR_READ, 3, byte=4)
    kind = EventKind.ACCUMULATOR_READ
    found = _compare({**streams, kind: wrong[kind]}).found
    assert found is not None
    assert found.stage == "accumulator reads"
    assert found.accumulator is not None
    assert abs(found.accumulator[0] - found.accumulator[1]) == 1
    moved = _spoiled(EventKind.ACCUMULATOR_READ, 3, address=2)
    found = _compare({**streams, kind: moved[kind]}).found
    assert found is not None
    assert found.stage == "accumulator addresses"
    assert found.what.endswith("from accumulator word 5, expected is 3")


def _wrong_sums(first_tile: int) -> Streams:
    """Sums of pixel 2 that are one too many in column 1 from a tile on."""
    streams = _events(handmade.program())
    events = streams[EventKind.ACCUMULATE]
    data = events.data.copy().view(np.int32)
    pixels = handmade.SIZE**2
    data[first_tile * pixels + 2 :: pixels, 1] += 1
    spoiled = Events(events.cycles, events.addresses, data.view(np.uint8))
    return {**streams, EventKind.ACCUMULATE: spoiled}


@pytest.mark.parametrize("tile", [0, 4, 8])
def test_a_wrong_sum_is_pinned_to_its_weight_tile(tile: int) -> None:
    found = _compare(_wrong_sums(tile)).found
    assert found is not None
    assert (found.index, found.stage) == (COMPUTE, "multipliers and accumulators")
    assert divmod(found.write, handmade.SIZE**2) == (tile, 2)
    assert found.lane == 1
    assert found.expected is not None
    assert found.got == found.expected + 1


def test_a_wrong_operand_address_is_blamed_before_the_sum() -> None:
    streams = _wrong_sums(4)
    for kind, stage in (
        (EventKind.ARRAY_READ, "activation addresses"),
        (EventKind.WEIGHT_FILL, "weight addresses"),
    ):
        wrong = {**streams, kind: _spoiled(kind, 10, address=1)[kind]}
        found = _compare(wrong).found
        assert found is not None
        assert (found.index, found.stage) == (COMPUTE, stage)
        assert found.cycle == streams[kind].cycles[10]


def _cut(streams: Streams, kind: EventKind, write: int) -> Streams:
    """Events without one."""
    events = streams[kind]
    keep = np.arange(len(events)) != write
    return {**streams, kind: Events(events.cycles[keep], events.addresses[keep], events.data[keep])}


def test_a_write_that_is_missing_is_its_instructions() -> None:
    last_of_conv = handmade.SIZE**2 - 1
    streams = _cut(_events(handmade.program()), EventKind.ACTIVATION_VECTOR, last_of_conv)
    found = _compare(streams).found
    assert found is not None
    assert (found.index, found.write, found.stage) == (DRAIN, last_of_conv, "number of writes")
    assert found.what == "does not write word 73 of the activation buffer"


def test_a_job_that_ends_early_lacks_the_next_write() -> None:
    streams = _events(handmade.program())
    kind = EventKind.MEMORY_STORE
    found = _compare({**streams, kind: streams[kind][:27]}).found
    assert found is not None
    assert (found.index, found.stage) == (POOL_STORE, "number of writes")
    assert found.what == "does not write byte 0x6c8 of memory"


def test_a_write_too_many_is_the_earlier_instructions() -> None:
    streams = _events(handmade.program())
    kind = EventKind.ACTIVATION_VECTOR
    conv = handmade.SIZE**2
    events = streams[kind]
    last = events[conv - 1 : conv]
    again = Events(last.cycles + 1, last.addresses + 30, last.data)
    longer = events[:conv].then(again).then(events[conv:])
    found = _compare({**streams, kind: longer}).found
    assert found is not None
    assert (found.index, found.stage) == (DRAIN, "number of writes")
    assert found.what == "writes word 103 of the activation buffer after its last write"


def test_a_write_after_all_is_the_last_instructions() -> None:
    streams = _events(handmade.program())
    kind = EventKind.MEMORY_STORE
    found = _compare({**streams, kind: streams[kind].then(streams[kind][-1:])}).found
    assert found is not None
    assert (found.index, found.stage) == (POOL_STORE, "number of writes")


def test_an_instruction_that_the_interpreter_refuses_is_the_programs() -> None:
    program = handmade.program()
    items = list(decode(program.instructions))
    old = items[POOL]
    fields = {**old.fields, "y": 0}
    items[POOL] = Instruction(old.opcode, fields, old.pop, old.push, old.layer, old.mark)
    wrong = replace(program, instructions=encode(items))
    found = _compare(_events(program), wrong).found
    assert found == Divergence(POOL, 0, None, IN_PROGRAM, "has the extent 'y' of 0, the least is 1")
